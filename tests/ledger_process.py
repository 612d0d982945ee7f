"""A process that writes a ledger as fast as it can, and says what was acknowledged.

`python ledger_process.py LEDGER` prints "open ID" and "done ID" a line each, flushed before it goes
on: what is printed is committed.
"""

import subprocess
import sys
import time
from pathlib import Path

from invad_fast.inspection.ledger import Decision, Ledger, ViewRow

HOUR = 3_600_000_000  # microseconds


def decision(id_: int, verdict: str = "PASS", score: float = 0.1) -> Decision:
    """Of one view."""
    reason = "late" if verdict == "NOT_INSPECTED" else None
    view = ViewRow(0, verdict, reason, "", score, 0.5, "a")
    now = time.time_ns() // 1000
    return Decision(id_, now, verdict, reason, score, 0.5, "a", 1234, (view,))


def told_by(process: subprocess.Popen[bytes]) -> list[list[bytes]]:
    """The words of each line that a process printed until it ended; a torn last one is none."""
    assert process.stdout is not None
    whole = process.stdout.read().rpartition(b"\n")[0]
    process.wait()
    process.stdout.close()
    return [line.split() for line in whole.splitlines()]


def fill(path: Path, verdicts: str = "PRN") -> None:
    """A part a letter: P, R, N, or O for one that stays open."""
    names = {"P": "PASS", "R": "REJECT", "N": "NOT_INSPECTED"}
    with Ledger(path) as ledger:
        for number, letter in enumerate(verdicts):
            id_, recorded = ledger.open_part(
                f"p{number}", number * HOUR, "recipe", "digest", number
            )
            assert recorded
            if letter != "O":
                assert ledger.decide(decision(id_, names[letter], 0.9 if letter == "R" else 0.1))


def main() -> None:
    assert "torch" not in sys.modules
    with Ledger(sys.argv[1]) as ledger:
        print("ready", flush=True)
        while True:
            id_, recorded = ledger.open_part(None, time.time_ns() // 1000, "r", "d")
            print("open" if recorded else "lost", id_, flush=True)
            if ledger.decide(decision(id_)):
                print("done", id_, flush=True)


if __name__ == "__main__":
    main()
