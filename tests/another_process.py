"""Tests of a file run again in another process: some variables are read when a process starts."""

from __future__ import annotations

import os
import subprocess
import sys


def run_again(file: str, names: str, environment: dict[str, str]) -> None:
    """The tests of ``file`` whose names ``names`` selects (pytest's -k), with these variables."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", names, file],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        cwd=os.path.dirname(file),
    )
    assert done.returncode == 0, done.stdout[-3000:]
