"""A process that writes a ledger as fast as it can, and says what was acknowledged.

`python ledger_process.py LEDGER` prints "open ID" and "done ID" a line each, flushed before it goes
on: what is printed is committed.
"""

import sys
import time

from invad_fast.inspection.ledger import Decision, Ledger, ViewRow


def decision(id_: int, verdict: str = "PASS", score: float = 0.1) -> Decision:
    """Of one view."""
    reason = "late" if verdict == "NOT_INSPECTED" else None
    view = ViewRow(0, verdict, reason, "", score, 0.5, "a")
    now = time.time_ns() // 1000
    return Decision(id_, now, verdict, reason, score, 0.5, "a", 1234, (view,))


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
