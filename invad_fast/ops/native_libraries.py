"""Loads the native libraries that setup.py built, and remembers why one is not there."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parents[1] / "lib"
LIBRARIES = ("cpu", "cuda")

_failures: dict[str, str] = {}
_cpu_capability: str | None = None


def path_of(name: str) -> Path:
    """Where the library ``cpu`` or ``cuda`` is installed, if it is."""
    return FOLDER / f"invad_fast_{name}.so"


def load() -> None:
    """Loads each library; loading one twice does nothing."""
    global _cpu_capability
    for name in LIBRARIES:
        try:
            if not path_of(name).is_file():
                note = path_of(name).with_suffix(".txt")
                raise OSError(note.read_text().strip() if note.is_file() else "it was not built")
            torch.ops.load_library(str(path_of(name)))
            _failures.pop(name, None)
        except OSError as error:
            _failures[name] = str(error).splitlines()[0]
    _cpu_capability = None if failure("cpu") else _capability_of_library()


def refuse(reason: str) -> None:
    """Gives ``reason`` for not loading any library."""
    _failures.update(dict.fromkeys(LIBRARIES, reason))


def failure(name: str) -> str | None:
    """Why the library could not be loaded; None where it was."""
    return _failures.get(name)


def cpu_capability() -> str | None:
    """What the CPU ops run with: "AVX-512 with BF16", "AVX-512", "AVX2" or "plain"."""
    return _cpu_capability  # asked for once: torch.compile cannot look into the library


def _capability_of_library() -> str:
    function = ctypes.CDLL(str(path_of("cpu"))).invad_fast_cpu_capability
    function.restype = ctypes.c_char_p
    return function().decode()


def has_avx512() -> bool:
    """Whether the CPU ops run with AVX-512."""
    return (cpu_capability() or "").startswith("AVX-512")


def has_bf16() -> bool:
    """Whether they multiply bfloat16 with instructions for it."""
    return (cpu_capability() or "").endswith("BF16")
