"""Compiles csrc/cuda with g++ against tests/cuda_emulation and runs it under invad_fast's ops.

See cuda_emulation/README.md. csrc/cpu is compiled likewise, to run it with a sanitizer. As a
script, `emulated_cuda.py LIBRARY [MISTAKE...]` runs a library that was built with SANITIZERS, once
over small samples of every op, or some of the mistakes.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
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
TO_BUILD = [*SOURCES, *sorted(EMULATION.glob("*.cu")), *sorted(EMULATION.glob("*.cpp"))]
# What of the metrics' core the ops use.
CPU_SOURCES = [
    *sorted((ROOT / "csrc" / "cpu").glob("*.cpp")),
    *(ROOT / "csrc" / "scores" / f"{name}.cpp" for name in ("connected_regions", "histogram")),
]
EMULATED = "invad_fast_emulated"
TORCH_FLAGS = ["-DTORCH_TARGET_VERSION=0x020a000000000000"]
FLAGS = [
    *("-std=c++17", "-O1", "-g1", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing"),
    *("-U_FORTIFY_SOURCE", "-Wall", "-Wno-unknown-pragmas", *TORCH_FLAGS),
]
# Address: beyond a tensor, the end. Alignment, bounds: unaligned vectors, beyond an array; "runtime
# error" is printed.
SANITIZERS = ("-O0", "-fsanitize=address,alignment,bounds")


def compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))


def build(folder: Path, options: tuple[str, ...] = ()) -> Path:
    """The library of the emulated ops."""
    seam = [f"-I{EMULATION}", "-include", str(EMULATION / "torch_seam.h"), "-DUSE_CUDA"]
    return _build(folder, TO_BUILD, [*seam, *options])


def build_cpu(folder: Path, options: tuple[str, ...]) -> Path:
    """The library of csrc/cpu, its ops in the namespace of the emulated ones."""
    return _build(folder, CPU_SOURCES, [f"-D{NAMESPACE}={EMULATED}", "-fopenmp-simd", *options])


def _build(folder: Path, sources: list[Path], options: list[str]) -> Path:
    """A compiler for each core."""
    includes = [f"-isystem{path}" for path in include_paths()]
    common = [str(compiler()), *FLAGS, *options, *includes]

    def compile_one(source: Path) -> str:
        to = str(folder / f"{source.parent.name}_{source.stem}.o")
        run([*common, "-x", "c++", "-c", str(source), "-o", to])
        return to

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    library = folder / f"{EMULATED}.so"
    torch_libraries = Path(torch.__file__).parent / "lib"
    run([*common, "-shared", *objects, f"-L{torch_libraries}", "-ltorch_cpu", "-o", str(library)])
    return library


def nvcc_command(nvcc: str, source: Path, to: Path, architecture: str) -> list[str]:
    """As setup.py calls it, with the compiler's report of registers and spills."""
    target = f"arch=compute_{architecture},code=sm_{architecture}"
    flags = ["-std=c++17", "-O3", "-Xcompiler", "-fPIC", "-gencode", target, "-Xptxas", "-v"]
    flags.append("-DUSE_CUDA")
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


def run_mistake(library: Path, which: int, to: torch.Tensor) -> str:
    """What is thrown by one of the kernels of mistakes.cu, given ``to``, 64 floats."""
    function = ctypes.CDLL(str(library)).run_mistake
    function.restype, function.argtypes = ctypes.c_char_p, (ctypes.c_int, ctypes.c_void_p)
    return function(which, to.data_ptr()).decode()


def run_sanitized(*arguments: str, script: str = __file__) -> subprocess.CompletedProcess:
    """A script, this one, in a process into which the sanitizer's runtime is loaded first."""
    libraries = [
        subprocess.check_output([str(compiler()), f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def main(library: str, *mistakes: str) -> None:
    from op_cases import samples
    from ops import VARIANTS

    having = load(Path(library))
    for mistake in mistakes:
        run_mistake(Path(library), int(mistake), torch.zeros(64))
    if mistakes:
        return
    for variant in VARIANTS.values():
        if variant.op not in having:
            continue
        for shape in ((2, 3, 5, 7), (1, 16, 9, 4)):
            for dtype in (torch.float32, torch.bfloat16):
                layouts = ("channels first", "channels last", "strided")
                for _, sample in samples(variant, shape, dtype, layouts=layouts, values=("usual",)):
                    with emulated(having):
                        sample.gradients(None)


if __name__ == "__main__":
    main(*sys.argv[1:])
