"""A service for days: requests that are right, nearly right, or none, from several at once."""

import os
from pathlib import Path

import pytest
from fuzzed_http import LIMITS, check_ledger, fuzz
from served_station import served

from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.ledger.verify import verify
from invad_fast.serve.users import Users
from soak.rounds import Rounds
from soak.test_line import GROWTH, resident

REQUESTS = 2_000  # a round


@pytest.mark.soak(f"{REQUESTS:,} HTTP requests, right, nearly right or none", weight=6)
def test_requests(rounds: Rounds, tmp_path: Path) -> None:
    """Each has a clear answer, no part is unaccounted for, memory and open files are flat."""
    users = Users(tmp_path / "users.json")
    users.add("olga", "operator", "correct horse battery")
    token, last, after_first, files_first = users.new_token("olga", "fuzz"), 0, 0, 0
    with served(tmp_path, users, LIMITS) as line:
        for number, rng in enumerate(rounds):
            tally = fuzz(line, token, rng.getrandbits(64), REQUESTS)
            assert line.station.inspector.wait_for_room(1, 60)
            last = check_ledger(line.station.ledger, tally, last)
            for what, times in tally.outcomes.items():
                rounds.came(what, times)
            if number == 1:
                after_first, files_first = resident(), len(os.listdir("/proc/self/fd"))
        accounts = line.station.inspector.accounts
        assert accounts.close and accounts.engine_restarts == 0 and not line.station.faults
        if after_first:
            assert resident() - after_first < GROWTH
            assert len(os.listdir("/proc/self/fd")) < files_first + 100
    found = totals(tmp_path / "line.db")
    assert found.triggered == accounts.triggered == accounts.decided and found.open == 0
    assert verify(tmp_path / "line.db")[0] == []
