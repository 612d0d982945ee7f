"""A script in another process that has the package's files, but not what its __init__ brings."""

import subprocess
import sys
from pathlib import Path

import invad_fast

BARE = f"""
import sys, types
package = types.ModuleType("invad_fast")
package.__path__ = [{str(Path(invad_fast.__file__).parent)!r}]
sys.modules["invad_fast"] = package
"""


def run_without_torch(script: str) -> str:
    """What ``script`` prints."""
    done = subprocess.run([sys.executable, "-c", BARE + script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
