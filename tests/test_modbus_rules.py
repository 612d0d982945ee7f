"""What the registers say when; and the table of the docs, which says it too."""

import re
from pathlib import Path

import pytest

from invad_fast.inspection.part import Reason
from invad_fast.prediction import Verdict
from invad_fast.serve.modbus import register_map as at
from invad_fast.serve.modbus.handshake import MOST_WAITING, PLC_SILENCE, Handshake, Trigger
from invad_fast.serve.modbus.register_map import Code, Fault, Status, following, words

PAGE = Path(__file__).resolve().parents[1] / "docs/modbus.md"


class Plc:
    """Reads and writes the registers of a handshake."""

    def __init__(self) -> None:
        self.held, self.now = Handshake(), 0.0

    def read(self, address: int, count: int = 1) -> int:
        found = self.held.read_station()[address - at.STATION_FIRST :][:count]
        return found[0] if count == 1 else found[0] << 16 | found[1]

    @property
    def status(self) -> Status:
        return Status(self.read(at.STATUS))

    @property
    def faults(self) -> Fault:
        return Fault(self.read(at.FAULTS))

    def write(self, address: int, *values: int) -> Trigger | None:
        return self.held.write(address, list(values), self.now)

    def trigger(self, part_id: int = 1, encoder: int = 0) -> Trigger:
        number = following(self.read(at.TRIGGER_TAKEN))
        found = self.write(at.TRIGGER_NUMBER, number, *words(part_id), *words(encoder))
        assert found is not None
        self.held.took(found)
        return found

    def part(self, verdict: Verdict = Verdict.PASS, reason: Reason | None = None, **given) -> None:
        self.held.decided(self.trigger(**given), verdict, reason)

    def acknowledge(self) -> None:
        self.write(at.ACKNOWLEDGED, self.read(at.RESULT_NUMBER))


def test_the_page_has_the_table() -> None:
    rows = [
        f"| {each.address} | {each.count} | {each.name} | {each.meaning} |" for each in at.REGISTERS
    ]
    text = PAGE.read_text(encoding="utf-8")
    table = re.search(r"\| address .*\n\|---.*\n((?:\|.*\n)+)", text)
    assert table is not None and table[1].splitlines() == rows
    reasons = ", ".join(f"{code} {reason.value}" for reason, code in at.REASON_CODE.items())
    assert f"Reasons: {reasons}." in " ".join(text.split())


def test_the_table_is_the_code() -> None:
    """Every register has one row, and every constant begins one."""
    plc, station = [], []
    for each in at.REGISTERS:
        held = plc if each.address < at.STATION_FIRST else station
        held += range(each.address, each.address + each.count)
    assert plc == [*range(at.PLC_FIRST, at.PLC_FIRST + at.PLC_COUNT)]
    assert station == [*range(at.STATION_FIRST, at.STATION_FIRST + at.STATION_COUNT)]
    beginnings = [each.address for each in at.REGISTERS]
    named = [
        at.PLC_HEARTBEAT, at.ACKNOWLEDGED, at.FAULT_RESET, at.TRIGGER_NUMBER, at.TRIGGER_PART_ID,
        at.TRIGGER_ENCODER, at.STATUS, at.HEARTBEAT, at.TRIGGER_TAKEN, at.RESULT_NUMBER,
        at.RESULT_PART_ID, at.RESULT_CODE, at.RESULT_REASON, at.RESULT_ENCODER, at.RESULTS_WAITING,
        at.FAULTS, at.RESULTS_LOST, at.MAP_VERSION,
    ]  # fmt: skip
    assert named == beginnings
    assert len(Handshake().read_station()) == at.STATION_COUNT


def test_every_reason_has_a_code() -> None:
    assert set(at.REASON_CODE) == set(Reason) and set(at.CODE_OF) == set(Verdict)
    assert len(set(at.REASON_CODE.values())) == len(Reason) and 0 not in at.REASON_CODE.values()


def test_a_part() -> None:
    plc = Plc()
    assert not plc.status & (Status.READY | Status.BUSY | Status.RESULT_VALID)
    plc.held.ready = True
    trigger = plc.trigger(part_id=0xFFFE0001, encoder=0x80000002)
    assert (trigger.part_id, trigger.encoder) == (0xFFFE0001, 0x80000002)
    assert plc.status == Status.READY | Status.BUSY and plc.read(at.RESULT_CODE) == Code.NONE
    plc.held.decided(trigger, Verdict.NOT_INSPECTED, Reason.LATE)
    assert plc.status == Status.READY | Status.RESULT_VALID
    assert plc.read(at.RESULT_PART_ID, 2) == 0xFFFE0001
    assert plc.read(at.RESULT_ENCODER, 2) == 0x80000002
    assert plc.read(at.RESULT_CODE) == Code.NOT_INSPECTED and plc.read(at.RESULT_REASON) == 1
    plc.acknowledge()
    assert plc.status == Status.READY and plc.held.read_station()[3:10] == [0] * 7


def test_a_trigger_is_taken_once() -> None:
    plc = Plc()
    number = following(plc.read(at.TRIGGER_TAKEN))
    first = plc.write(at.TRIGGER_NUMBER, number, 0, 7, 0, 0)
    assert first is not None
    assert plc.write(at.TRIGGER_NUMBER, number, 0, 7, 0, 0) is not None  # it is not taken yet
    plc.held.took(first)
    assert plc.read(at.TRIGGER_TAKEN) == number and plc.held.triggers == 1
    assert plc.write(at.TRIGGER_NUMBER, number, 0, 7, 0, 0) is None  # its answer was lost
    assert plc.write(at.TRIGGER_NUMBER, number, 0, 8, 0, 0) is None  # the next id, too early
    assert plc.write(at.TRIGGER_PART_ID, 0, 9) is None
    assert plc.write(at.PLC_HEARTBEAT, 1) is None
    assert not plc.faults


@pytest.mark.parametrize("ahead", [-1, 2, 1000])
def test_a_number_out_of_step(ahead: int) -> None:
    """As a PLC writes that does not know that the station was started anew."""
    plc = Plc()
    plc.trigger()
    number = (plc.read(at.TRIGGER_TAKEN) + ahead - 1) % 0xFFFF + 1
    assert plc.write(at.TRIGGER_NUMBER, number) is None
    assert plc.faults == Fault.OUT_OF_STEP and Status.FAULT in plc.status
    plc.trigger()
    assert not plc.faults and plc.held.triggers == 2


def test_numbers_go_round() -> None:
    assert following(1) == 2 and following(0xFFFE) == 0xFFFF and following(0xFFFF) == 1
    assert following(0) == 1
    plc = Plc()
    seen = set()
    for _ in range(0xFFFF + 2):
        plc.part()
        seen.add((plc.read(at.TRIGGER_TAKEN), plc.read(at.RESULT_NUMBER)))
        plc.acknowledge()
    assert len(seen) == 0xFFFF and all(a and b for a, b in seen)
    assert plc.held.acknowledged == plc.held.results == 0xFFFF + 2


def test_several_wait_and_are_acknowledged_one_by_one() -> None:
    plc = Plc()
    triggers = [plc.trigger(part_id) for part_id in range(3)]
    for trigger in reversed(triggers):  # the last is through first
        plc.held.decided(trigger, Verdict.REJECT, None)
    first = plc.read(at.RESULT_NUMBER)
    for left, part_id in ((3, 2), (2, 1), (1, 0)):
        assert plc.read(at.RESULTS_WAITING) == left and plc.read(at.RESULT_PART_ID, 2) == part_id
        for other in (0, first - 1 or 0xFFFF, following(plc.read(at.RESULT_NUMBER))):
            plc.write(at.ACKNOWLEDGED, other)  # what was acknowledged before, what is not yet there
            assert plc.read(at.RESULTS_WAITING) == left
        plc.acknowledge()
    assert Status.RESULT_VALID not in plc.status and plc.held.acknowledged == 3


def test_results_that_are_not_taken() -> None:
    plc = Plc()
    for part_id in range(MOST_WAITING + 3):
        plc.part(part_id=part_id)
    assert plc.read(at.RESULTS_WAITING) == MOST_WAITING and plc.read(at.RESULTS_LOST) == 3
    assert plc.read(at.RESULT_PART_ID, 2) == 3  # the newest are still of use
    assert plc.faults == Fault.RESULTS_LOST
    while plc.held.waiting:
        plc.acknowledge()
    assert plc.faults == Fault.RESULTS_LOST  # latched
    plc.write(at.FAULT_RESET, 1)
    assert not plc.faults
    held = plc.held
    assert held.acknowledged + held.lost + held.waiting == held.results == held.triggers


def test_three_in_a_row() -> None:
    plc = Plc()
    lost = {"verdict": Verdict.NOT_INSPECTED, "reason": Reason.LATE}
    for verdict in (Verdict.PASS, Verdict.REJECT):
        plc.part(**lost)
        plc.part(**lost)
        plc.part(verdict)
    assert not plc.faults & Fault.THREE_IN_A_ROW
    for _ in range(3):
        plc.part(**lost)
    plc.part()
    assert Fault.THREE_IN_A_ROW in plc.faults
    plc.write(at.FAULT_RESET, 1)
    assert Fault.THREE_IN_A_ROW not in plc.faults
    for _ in range(3):
        plc.part(**lost)
    plc.write(at.FAULT_RESET, 1)  # as it was: a PLC that writes it always resets nothing
    assert Fault.THREE_IN_A_ROW in plc.faults
    plc.write(at.FAULT_RESET, 0)
    plc.write(at.FAULT_RESET, 1)
    assert Fault.THREE_IN_A_ROW not in plc.faults


def test_heartbeats() -> None:
    plc = Plc()
    before = plc.read(at.HEARTBEAT)
    plc.held.beat(100.0, able=True)
    assert plc.read(at.HEARTBEAT) == before + 1 and not plc.faults  # no PLC was there yet
    plc.now = 100.0
    plc.write(at.PLC_HEARTBEAT, 5)
    plc.held.beat(100.0 + PLC_SILENCE, able=True)
    assert not plc.faults
    plc.now = 101.0
    plc.write(at.PLC_HEARTBEAT, 5)  # the same: it stands still
    plc.held.beat(100.1 + PLC_SILENCE, able=True)
    assert plc.faults == Fault.PLC_SILENT
    plc.write(at.PLC_HEARTBEAT, 6)
    assert not plc.faults


def test_the_station_cannot_inspect() -> None:
    plc = Plc()
    plc.held.beat(0.0, able=False)
    assert plc.faults == Fault.STATION
    plc.held.beat(0.1, able=True)
    assert not plc.faults
