"""What the benchmarks stand on, tested where it lies: nothing here imports from bench/."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.mark.parametrize("name", ["test_grouped_invad", "test_machine_code", "test_op_costs"])
def test_in_its_own_room(name: str) -> None:
    """Another process: both rooms have a package ``ops``."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{name}.py"]
    done = subprocess.run(command, cwd=BENCH, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
