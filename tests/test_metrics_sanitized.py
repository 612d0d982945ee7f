"""The metrics' core under AddressSanitizer, UBSan and ThreadSanitizer."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("sanitizers, samples", [("address,undefined", 20), ("thread", 4)])
def test_core(sanitizers: str, samples: int, tmp_path: Path) -> None:
    core = CHECKOUT / "csrc" / "scores"
    sources = [s for s in sorted(core.glob("*.cpp")) if s.name != "python_module.cpp"]
    program = tmp_path / "sanitized"
    flags = ["-std=c++17", "-O1", "-g1", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    command = [COMPILER, *flags, "-I", core, CHECKOUT / "tests" / "sanitized_scores.cpp", *sources]
    built = subprocess.run(
        [*map(str, command), "-o", str(program), "-pthread"],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode and "cannot find" in built.stderr:
        pytest.skip(f"the compiler has no library for -fsanitize={sanitizers}")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([str(program), str(samples)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "all right" in done.stdout, done.stdout + done.stderr
