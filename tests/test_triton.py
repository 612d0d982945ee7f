"""The Triton kernels' values, in the interpreter; machine code: bench/test_machine_code.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_values_in_the_interpreter() -> None:
    """Another process: Triton reads the variable when it is imported."""
    pytest.importorskip("triton", reason="triton is not installed: it comes with torch's builds")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "triton_interpreted.py"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
