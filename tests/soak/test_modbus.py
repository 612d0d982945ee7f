"""A PLC for days: parts with every verdict, cables that are pulled, messages that are none."""

from pathlib import Path

import pytest
from modbus_line import Pictures, fuzz, linked, run_parts

from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.ledger.verify import verify
from soak.rounds import Rounds
from soak.test_line import GROWTH, resident

PARTS = MESSAGES = 10_000  # a round


@pytest.mark.soak(f"{PARTS:,} parts of a PLC whose cable is pulled", weight=4)
def test_parts(rounds: Rounds, tmp_path: Path) -> None:
    pictures, after_first = Pictures(), 0
    with linked(tmp_path, pictures) as (line, link):
        for number, rng in enumerate(rounds):
            plc = run_parts(link, pictures, rng, range(number * PARTS, (number + 1) * PARTS))
            pictures.wanted.clear()
            for each in plc.outputs:
                rounds.came(each.code.name)
            rounds.came("reconnects", plc.reconnects)
            after_first = after_first or resident()
        state, accounts, tried = link.state, line.accounts, rounds.tried * PARTS
        assert state.triggers == state.acknowledged == accounts.triggered == tried
        assert accounts.close and not state.lost and not line.faults
        assert resident() - after_first < GROWTH
    assert totals(tmp_path / "line.db").triggered == tried
    assert verify(tmp_path / "line.db")[0] == []


@pytest.mark.soak(f"{MESSAGES:,} Modbus messages, nearly right or none", weight=2)
def test_messages(rounds: Rounds, tmp_path: Path) -> None:
    pictures, after_first = Pictures(), 0
    with linked(tmp_path, pictures) as (line, link):
        for number, rng in enumerate(rounds):
            fuzz(link, rng, MESSAGES)
            parts = range(number * 100, (number + 1) * 100)
            run_parts(link, pictures, rng, parts, pulls=0)  # an honest PLC, after all that
            after_first = after_first or resident()
        state = link.state
        assert state.open_parts == 0 and line.accounts.close
        assert state.triggers == line.accounts.triggered
        assert state.triggers == state.acknowledged + state.waiting + state.lost
        rounds.came("connections ended for what is no Modbus", state.malformed)
        rounds.came("triggers among them", state.triggers - 100 * rounds.tried)
        assert resident() - after_first < GROWTH
    assert totals(tmp_path / "line.db").triggered == state.triggers
