"""Builds the native libraries of csrc/ with ninja; installs without them where it cannot.

The op libraries use LibTorch's stable ABI and no Python: one binary serves every torch from 2.10
on. `python setup.py build_native` rebuilds them in place, for a checkout installed with `-e`.

    INVAD_FAST_NATIVE=0        build nothing native
    INVAD_FAST_CUDA=0|1        never, or in any case, build csrc/cuda (default: where nvcc and a
                               torch with CUDA are found)
    INVAD_FAST_CUDA_ARCHS      architectures, default "80;90+PTX": binaries for 8.x and 9.0, and
                               intermediate code that the driver compiles for anything newer; some
                               13 s of one core an op. "80;86;89;90;100;120+PTX" for a wheel
    CXX, NVCC                  the compilers
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Command, Distribution, find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
TORCH_TARGET = "-DTORCH_TARGET_VERSION=0x020a000000000000"  # torch 2.10
COMPILE = (
    "-std=c++17 -O3 -fPIC -fvisibility=hidden -fno-math-errno -fno-trapping-math -fopenmp-simd "
    "-Wall -Wno-unknown-pragmas"
)


class NotBuilt(Exception):
    """Why a native library cannot be built here."""


def build_libraries(package: Path, work: Path) -> None:
    """Writes the libraries into the package; where one cannot be built, a .txt that says why."""
    notes = package / "lib"
    notes.mkdir(parents=True, exist_ok=True)
    libraries = {
        "cpu": (cpu_library, notes / "invad_fast_cpu.so"),
        "cuda": (cuda_library, notes / "invad_fast_cuda.so"),
        "scores": (scores_module, package / f"_scores{sysconfig.get_config_var('EXT_SUFFIX')}"),
    }
    for name, (build, library) in libraries.items():
        note = notes / f"invad_fast_{name}.txt"
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            if os.environ.get("INVAD_FAST_NATIVE") == "0":
                raise NotBuilt("INVAD_FAST_NATIVE=0 when it was installed")
            ninja(build(folder), folder)
            # Whoever has the old file open keeps it.
            os.replace(folder / "library.so", library)
            note.unlink(missing_ok=True)
            say(f"{name}: built {library.name}")
        except NotBuilt as reason:
            library.unlink(missing_ok=True)
            note.write_text(f"{reason}\n")
            say(f"{name}: not built: {reason}")


def cpu_library(work: Path) -> str:
    """The ninja file of the ops' CPU library."""
    compiler = cxx()
    _, includes, lib = torch_paths()
    say(f"cpu: {compiler}; AVX-512, AVX2 or plain code is chosen at run time")
    flags = " ".join([COMPILE, TORCH_TARGET, *includes])
    return ninja_file(
        [*sorted((ROOT / "csrc/cpu").glob("*.cpp")), *score_sources()],
        work,
        f"{compiler} -MMD -MF $out.d {flags} -c $in -o $out",
        f"{compiler} -shared -o $out $in -L{lib} -ltorch_cpu",
    )


def cuda_library(work: Path) -> str:
    """The ninja file of the ops' CUDA library."""
    wanted = os.environ.get("INVAD_FAST_CUDA", "auto")
    sources = sorted((ROOT / "csrc/cuda").glob("*.cu"))
    nvcc = os.environ.get("NVCC") or shutil.which("nvcc")
    if not sources:
        raise NotBuilt("there are no CUDA sources yet: CUDA devices run the PyTorch reference")
    if wanted == "0":
        raise NotBuilt("INVAD_FAST_CUDA=0 when it was installed")
    if not nvcc:
        raise NotBuilt("nvcc was not found when it was installed")
    torch, includes, lib = torch_paths()
    if torch.version.cuda is None and wanted != "1":
        raise NotBuilt("the torch it was built with has no CUDA (INVAD_FAST_CUDA=1 builds anyway)")
    if not (lib / "libtorch_cuda.so").exists():
        lib = torch_cuda_stub(work)
    archs = os.environ.get("INVAD_FAST_CUDA_ARCHS", "80;90+PTX").split(";")
    say(f"cuda: {nvcc}, architectures {' '.join(archs)}")
    flags = " ".join(
        [
            "-std=c++17 -O3 -Xcompiler -fPIC,-fvisibility=hidden -DUSE_CUDA",
            TORCH_TARGET,
            *map(gencode, archs),
            *includes,
        ]
    )
    return ninja_file(
        sources,
        work,
        f"{nvcc} -MD -MF $out.d {flags} -c $in -o $out",
        f"{nvcc} -shared -o $out $in -L{lib} -L{torch_paths()[2]} -ltorch_cpu -ltorch_cuda",
    )


def gencode(arch: str) -> str:
    """nvcc's options for "90" or "90+PTX"."""
    number = arch.strip().removesuffix("+PTX")
    binary = f"-gencode arch=compute_{number},code=sm_{number}"
    ptx = f" -gencode arch=compute_{number},code=compute_{number}"
    return binary + (ptx if arch.strip().endswith("+PTX") else "")


def torch_cuda_stub(work: Path) -> Path:
    """An empty libtorch_cuda.so, so that a CPU-only torch can link what a CUDA one will load."""
    stub = ["-shared", "-Wl,-soname,libtorch_cuda.so", "-o", str(work / "libtorch_cuda.so")]
    subprocess.run([*cxx().split(), *stub, "-x", "c++", os.devnull], check=True)
    return work


def scores_module(work: Path) -> str:
    """The ninja file of invad_fast._scores: the metrics' core for NumPy arrays, without torch."""
    module = ROOT / "csrc/scores/python_module.cpp"
    if not module.is_file():
        raise NotBuilt("csrc/scores/ has no python_module.cpp yet")
    compiler = cxx()
    try:
        from pybind11 import get_include
    except ImportError:
        raise NotBuilt("pybind11 was not found when it was installed") from None
    python = sysconfig.get_path("include")
    if not (Path(python) / "Python.h").is_file():
        raise NotBuilt(f"Python's headers were not found when it was installed ({python})")
    say(f"scores: {compiler}, Python {sysconfig.get_python_version()}")
    # Costs of cells are compared: to the last bit what NumPy computes, on any processor.
    flags = f"{COMPILE} -ffp-contract=off -isystem {get_include()} -isystem {python}"
    undefined = " -undefined dynamic_lookup" if sys.platform == "darwin" else ""
    return ninja_file(
        [module, *score_sources()],
        work,
        f"{compiler} -MMD -MF $out.d {flags} -c $in -o $out",
        f"{compiler} -shared{undefined} -o $out $in",
    )


def score_sources() -> list:
    """The core of metrics and frames, which knows neither Python nor torch."""
    sources = [
        *sorted((ROOT / "csrc/scores").rglob("*.cpp")),
        *(ROOT / "csrc/frames").glob("*.cpp"),
    ]
    return [source for source in sources if source.name != "python_module.cpp"]


def cxx() -> str:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler or not shutil.which(compiler.split()[0]):
        raise NotBuilt("no C++ compiler was found when it was installed (g++ or clang++)")
    return compiler


def torch_paths():
    """(torch, include options, folder of its libraries)."""
    try:
        import torch
        from torch.utils.cpp_extension import include_paths
    except ImportError as error:
        raise NotBuilt(f"torch was not there to build against ({error})") from None
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10):
        raise NotBuilt(f"torch {torch.__version__} was there to build against: 2.10 is needed")
    includes = [f"-isystem {path}" for path in include_paths()]
    say(f"torch {torch.__version__}, stable ABI of 2.10")
    return torch, includes, Path(torch.__file__).parent / "lib"


def ninja_file(sources: list, work: Path, compile_command: str, link_command: str) -> str:
    # Rooms may hold files of one name: csrc/scores/streaming/x.cpp is scores_streaming_x.cpp.o.
    objects = [work / f"{'_'.join(s.relative_to(ROOT / 'csrc').parts)}.o" for s in sources]
    lines = [f"rule compile\n  command = {compile_command}\n  depfile = $out.d\n  deps = gcc"]
    lines.append(f"rule link\n  command = {link_command}")
    lines += [f"build {o}: compile {s}" for o, s in zip(objects, sources)]
    lines.append(f"build {work / 'library.so'}: link {' '.join(map(str, objects))}\n")
    return "\n".join(lines)


def ninja(text: str, work: Path) -> None:
    (work / "build.ninja").write_text(text)
    try:
        from ninja import BIN_DIR

        program = str(Path(BIN_DIR) / "ninja")
    except ImportError:
        program = shutil.which("ninja") or ""
    if not program:
        raise NotBuilt("ninja was not found when it was installed")
    done = subprocess.run([program, "-C", work], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout[-6000:])
        lines = [line for line in done.stdout.splitlines() if "error" in line.lower()]
        raise NotBuilt(f"compilation failed: {lines[0] if lines else done.stdout[-200:]}")


def say(text: str) -> None:
    print(f"invad_fast build: {text}", file=sys.stderr)


class BuildWithNative(build_py):
    def run(self) -> None:
        super().run()
        editable = getattr(self, "editable_mode", False)
        target = ROOT if editable else Path(self.build_lib)
        build_libraries((target / "invad_fast").resolve(), ROOT / "build" / "native")


class BuildNative(Command):
    description = "rebuild the native libraries in place"
    user_options: list = []

    def initialize_options(self) -> None: ...

    def finalize_options(self) -> None: ...

    def run(self) -> None:
        build_libraries(ROOT / "invad_fast", ROOT / "build" / "native")


class BinaryDistribution(Distribution):
    """The wheel holds machine code, though no extension that setuptools knows of."""

    def has_ext_modules(self) -> bool:
        return True


setup(
    packages=[*find_packages(include=["invad_fast", "invad_fast.*"]), "invad_fast.kernels"],
    package_dir={"invad_fast.kernels": "kernels"},
    cmdclass={"build_py": BuildWithNative, "build_native": BuildNative},
    distclass=BinaryDistribution,
)
