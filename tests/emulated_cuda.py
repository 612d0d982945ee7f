"""Compiles csrc/cuda with g++ against tests/cuda_emulation and runs it under invad_fast's ops.

See cuda_emulation/README.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils.cpp_extension import include_paths

from invad_fast.ops.dispatch import NAMESPACE, ops

ROOT = Path(__file__).resolve().parents[1]
EMULATION = ROOT / "tests" / "cuda_emulation"
SOURCES = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
EMULATED = "invad_fast_emulated"
TORCH_FLAGS = ["-DUSE_CUDA", "-DTORCH_TARGET_VERSION=0x020a000000000000"]
FLAGS = [
    *("-std=c++17", "-O1", "-g1", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing"),
    *("-U_FORTIFY_SOURCE", "-Wall", "-Wno-unknown-pragmas", *TORCH_FLAGS),
]


def compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))


def build(folder: Path, sources: list[Path] = SOURCES, options: tuple[str, ...] = ()) -> Path:
    """The library of the emulated ops, a compiler for each core."""
    includes = [f"-I{EMULATION}", *(f"-isystem{path}" for path in include_paths())]
    seam = ["-include", str(EMULATION / "torch_seam.h")]
    common = [str(compiler()), *FLAGS, *options, *includes]

    def compile_one(source: Path) -> str:
        to = str(folder / f"{source.stem}.o")
        run([*common, *seam, "-x", "c++", "-c", str(source), "-o", to])
        return to

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, [*sources, *sorted(EMULATION.glob("*.cpp"))]))
    library = folder / "invad_fast_emulated.so"
    torch_libraries = Path(torch.__file__).parent / "lib"
    run([*common, "-shared", *objects, f"-L{torch_libraries}", "-ltorch_cpu", "-o", str(library)])
    return library


def nvcc_command(nvcc: str, source: Path, to: Path, architecture: str) -> list[str]:
    """As setup.py calls it, with the compiler's report of registers and spills."""
    target = f"arch=compute_{architecture},code=sm_{architecture}"
    flags = ["-std=c++17", "-O3", "-Xcompiler", "-fPIC", "-gencode", target, "-Xptxas", "-v"]
    includes = [f"-isystem={path}" for path in include_paths()]
    return [nvcc, *flags, *TORCH_FLAGS, *includes, "-c", str(source), "-o", str(to)]


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def load(library: Path) -> list[str]:
    """Loads it; the ops that it has."""
    # Kept for as long as the process lives, as the library is.
    declared = torch.library.Library(EMULATED, "FRAGMENT")
    load.declared = declared  # type: ignore[attr-defined]
    for op in ops():
        schema = str(getattr(getattr(torch.ops, NAMESPACE), op).default._schema)
        declared.define(schema.removeprefix(f"{NAMESPACE}::"))
    torch.ops.load_library(str(library))
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return [op for op in ops() if has(f"{EMULATED}::{op}", "CPU")]


@contextmanager
def emulated(having: list[str], order: str = "forward") -> Iterator[None]:
    """Inside, the ops run the CUDA sources on CPU tensors; uninitialised memory holds NaN.

    Args:
        having: what ``load`` returned.
        order: of lanes, warps and blocks: "forward" or "reversed". A GPU promises neither.
    """
    override = torch.library.Library(NAMESPACE, "IMPL")
    deterministic = torch.are_deterministic_algorithms_enabled()
    os.environ["INVAD_CUDA_EMULATION_ORDER"] = order
    try:
        for op in having:
            kernel = getattr(getattr(torch.ops, EMULATED), op).default
            override.impl(op, kernel, "CPU", allow_override=True)
        torch.use_deterministic_algorithms(True)  # fills torch.empty
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        del os.environ["INVAD_CUDA_EMULATION_ORDER"]
        override._destroy()
