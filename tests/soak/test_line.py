"""Lines for hours: parts at a rate, lines and ledgers that are killed."""

import os
import time
from pathlib import Path

import pytest
import stub_engine as stub
from line_recipe import MAKER, recipe
from test_inspector_kills import check_ledger, kill_a_line
from test_ledger import kill_at_random

from invad_fast.inspection import Inspector, Result
from invad_fast.inspection.ledger import Ledger
from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.ledger.verify import verify
from invad_fast.prediction import Verdict
from soak.rounds import Rounds

RATE, DEADLINE = 200, 50.0  # parts a second; milliseconds
SECONDS = 10  # of a round
GROWTH = 24 * 2**20  # bytes that the first rounds may still grow by: caches, arenas


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.soak(f"parts at {RATE} a second, 2 ms each, within {DEADLINE:.0f} ms", weight=12)
def test_parts_at_a_rate(rounds: Rounds, tmp_path: Path) -> None:
    """None is unaccounted for, p99.9 is within the deadline, memory is flat."""
    results: list[Result] = []
    made = recipe(tmp_path, deadline_ms=DEADLINE, queue={"capacity": 8})
    after_first = triggered = 0
    latencies: list[float] = []
    with Inspector(made, tmp_path / "line.db", engine=MAKER, on_result=results.append) as line:
        for number, _ in enumerate(rounds):
            due = time.monotonic()
            for _ in range(RATE * SECONDS):
                line.submit(stub.picture(100, stub.IS_FAST), pixel_format="RGB8")
                due += 1 / RATE
                time.sleep(max(0.0, due - time.monotonic()))
            assert line.wait_for_room(1, 10)
            triggered += RATE * SECONDS
            while len(results) < RATE * SECONDS:
                time.sleep(0.01)
            for result in results:
                latencies.append(result.latency_ms)
                rounds.came(result.verdict.value if result.reason is None else result.reason.value)
            results.clear()
            if number == 1:
                after_first = resident()
        accounts = line.accounts
        assert accounts.close and accounts.decided == triggered
        assert accounts.engine_restarts == 0 and not line.faults
        if after_first:
            assert resident() - after_first < GROWTH + 16 * len(latencies)
    found = totals(tmp_path / "line.db")
    assert found.triggered == triggered and found.passed == accounts.verdicts[Verdict.PASS]
    latencies.sort()
    share = latencies[int(0.999 * len(latencies))]
    rounds.came(f"p99.9 of the latencies: {share:.1f} ms")
    assert share <= DEADLINE
    assert verify(tmp_path / "line.db")[0] == []


@pytest.mark.soak("lines killed at random moments", weight=2)
def test_killed_lines(rounds: Rounds, tmp_path: Path) -> None:
    for rng in rounds:
        rounds.came("results that had left a killed line", kill_a_line(tmp_path, rng))
    check_ledger(tmp_path / "line.db")


@pytest.mark.soak("ledgers whose writer is killed at random moments", weight=2)
def test_killed_writers(rounds: Rounds, tmp_path: Path) -> None:
    for rng in rounds:
        opened, decided = kill_at_random(tmp_path / "line.db", rng)
        rounds.came("parts acknowledged as open", opened)
        rounds.came("of these as decided", decided)
    with Ledger(tmp_path / "line.db"):
        pass
    assert verify(tmp_path / "line.db")[0] == [] and totals(tmp_path / "line.db").open == 0
