"""The core of metrics and frames under AddressSanitizer, UBSan and ThreadSanitizer."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("sanitizers, samples", [("address,undefined", 20), ("thread", 4)])
def test_core(sanitizers: str, samples: int, tmp_path: Path) -> None:
    core = CHECKOUT / "csrc" / "scores"
    sources = [s for s in sorted(core.rglob("*.cpp")) if s.name != "python_module.cpp"]
    sources += (CHECKOUT / "csrc" / "frames").glob("*.cpp")
    program = tmp_path / "sanitized"
    flags = ["-std=c++17", "-O1", "-g1", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all",
             "-DINVAD_CLONES="]  # fmt: skip

    def run(*command: object) -> subprocess.CompletedProcess:
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)

    programs = [CHECKOUT / "tests" / f"sanitized_{name}.cpp" for name in ("frames", "scores")]

    def compiled(source: Path) -> Path:
        to = tmp_path / f"{source.stem}.o"
        done = run(COMPILER, *flags, "-I", core, "-c", source, "-o", to)
        assert done.returncode == 0, done.stderr
        return to

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a compiler for each core
        objects = list(pool.map(compiled, [*programs, *sources]))
    built = run(COMPILER, *flags, *objects, "-o", program, "-pthread")
    if built.returncode and "cannot find" in built.stderr:
        pytest.skip(f"the compiler has no library for -fsanitize={sanitizers}")
    assert built.returncode == 0, built.stderr
    done = run(program, samples)
    assert done.returncode == 0 and "all right" in done.stdout, done.stdout + done.stderr
