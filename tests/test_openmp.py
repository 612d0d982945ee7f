"""How long waiting threads look for work: said before torch is loaded, unless the user has."""

import os
import subprocess
import sys

from invad_fast.openmp import spin_briefly

_TOLD = """
import os, sys
sys.argv = ["invad-fast", "--version"]
from invad_fast.cli.app import main
assert "torch" not in sys.modules
try:
    main()
except SystemExit:
    print(os.environ.get("GOMP_SPINCOUNT"))
"""


def told(**given: str) -> str:
    own = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", _TOLD], env=own | given, text=True,
                          capture_output=True, check=True)  # fmt: skip
    return done.stdout.splitlines()[-1]


def test_the_program_says_so_before_torch_is_there() -> None:
    assert told() == "10000"
    assert told(GOMP_SPINCOUNT="7") == "7"
    assert told(OMP_WAIT_POLICY="active") == "None"


def test_an_engines_environment() -> None:
    own = {"PATH": "x"}
    spin_briefly(own)
    assert own == {"PATH": "x", "GOMP_SPINCOUNT": "10000"}
