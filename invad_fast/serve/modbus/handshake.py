"""What the registers say when: triggers, results, acknowledgements, heartbeats, faults.

No socket, no clock and no thread of its own: one thread calls it. Requests come one after the
other, so whatever a request reads belongs together.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from invad_fast.inspection.part import Reason
from invad_fast.prediction import Verdict
from invad_fast.serve.modbus.register_map import (
    ACKNOWLEDGED,
    CODE_OF,
    FAULT_RESET,
    PLC_COUNT,
    PLC_HEARTBEAT,
    REASON_CODE,
    TRIGGER_ENCODER,
    TRIGGER_NUMBER,
    TRIGGER_PART_ID,
    VERSION,
    Fault,
    Status,
    following,
    number_of,
    words,
)

MOST_WAITING = 8  # results; then the oldest, which is past the rejector, makes room
IN_A_ROW = 3  # parts without a verdict: a fault
PLC_SILENCE = 2.0  # seconds
_LATCHED = Fault.THREE_IN_A_ROW | Fault.RESULTS_LOST


@dataclass(frozen=True)
class Trigger:
    """What came with a trigger; both are 32 bits."""

    number: int
    part_id: int
    encoder: int


@dataclass(frozen=True)
class _Shown:
    number: int
    registers: list[int]  # part id, code, reason, encoder count


class Handshake:
    """The registers, and the rules by which they change.

    Attributes:
        faults: that stand now.
        ready: a trigger now would be inspected.
        open_parts: triggers without a result.
        triggers, results: how many came, and how many were made; ``acknowledged``, ``lost`` and
            ``waiting`` of the results add up to them.
        plc_seen: seconds of the caller's clock at which the PLC's heartbeat changed; None for
            never.
    """

    def __init__(self) -> None:
        self._plc = [0] * PLC_COUNT
        self._waiting: deque[_Shown] = deque()
        # Numbers that a PLC still writes, of before a restart of the station, mean nothing now.
        self._taken = random.randint(1, 0xFFFF)
        self._last_number = random.randint(1, 0xFFFF)
        self._heartbeat = self._missed = 0
        self.faults = Fault(0)
        self.ready = False
        self.open_parts = self.triggers = self.results = self.acknowledged = self.lost = 0
        self.plc_seen: float | None = None

    @property
    def waiting(self) -> int:
        """Results that the PLC has not taken yet."""
        return len(self._waiting)

    # ---- what the PLC does

    def read_plc(self) -> list[int]:
        """The registers that the PLC writes."""
        return list(self._plc)

    def read_station(self) -> list[int]:
        """The registers that the station writes: a result and its status together."""
        status = Status(0)
        if self.ready:
            status |= Status.READY
        if self.open_parts:
            status |= Status.BUSY
        if self.faults:
            status |= Status.FAULT
        block = [0] * 7
        if self._waiting:
            first = self._waiting[0]
            block = [first.number, *first.registers]
            status |= Status.RESULT_VALID
        return [
            status, self._heartbeat, self._taken, *block, len(self._waiting), self.faults,
            self.lost & 0xFFFF, VERSION,
        ]  # fmt: skip

    def write(self, first: int, values: list[int], now: float) -> Trigger | None:
        """Takes what the PLC writes; the trigger, where it is one: `took` it before the next.

        Args:
            first: address of the first value.
            now: seconds of a clock that is never set.
        """
        before = list(self._plc)
        self._plc[first : first + len(values)] = values
        written = range(first, first + len(values))
        if self._plc[PLC_HEARTBEAT] != before[PLC_HEARTBEAT]:
            self.plc_seen = now
            self.faults &= ~Fault.PLC_SILENT
        if ACKNOWLEDGED in written:
            self._acknowledge(self._plc[ACKNOWLEDGED])
        if self._plc[FAULT_RESET] and not before[FAULT_RESET]:
            self.faults &= ~_LATCHED
            self._missed = 0
        return self._trigger() if TRIGGER_NUMBER in written else None

    def _acknowledge(self, number: int) -> None:
        if self._waiting and self._waiting[0].number == number:
            self._waiting.popleft()
            self.acknowledged += 1

    def _trigger(self) -> Trigger | None:
        number = self._plc[TRIGGER_NUMBER]
        if number in (0, self._taken):  # nothing new: an answer was lost, or it is written always
            self.faults &= ~Fault.OUT_OF_STEP
            return None
        if number != following(self._taken):
            self.faults |= Fault.OUT_OF_STEP
            return None
        self.faults &= ~Fault.OUT_OF_STEP
        part_id, encoder = (
            number_of(self._plc[at : at + 2]) for at in (TRIGGER_PART_ID, TRIGGER_ENCODER)
        )
        return Trigger(number, part_id, encoder)

    # ---- what the station does

    def took(self, trigger: Trigger) -> None:
        """The part is on record; a result follows."""
        self._taken = trigger.number
        self.triggers += 1
        self.open_parts += 1

    def decided(self, trigger: Trigger, verdict: Verdict, reason: Reason | None) -> None:
        """Queues a part's result: the block first, and Result valid with it."""
        self.open_parts -= 1
        self.results += 1
        self._last_number = following(self._last_number)
        code = 0 if reason is None else REASON_CODE[reason]
        block = [*words(trigger.part_id), CODE_OF[verdict], code, *words(trigger.encoder)]
        if len(self._waiting) == MOST_WAITING:
            self._waiting.popleft()
            self.lost += 1
            self.faults |= Fault.RESULTS_LOST
        self._waiting.append(_Shown(self._last_number, block))
        self._missed = self._missed + 1 if verdict is Verdict.NOT_INSPECTED else 0
        if self._missed >= IN_A_ROW:
            self.faults |= Fault.THREE_IN_A_ROW

    def beat(self, now: float, able: bool) -> None:
        """Ten times a second: the station's heartbeat, and whether the PLC's still comes.

        Args:
            able: the station can inspect.
        """
        self._heartbeat = self._heartbeat + 1 & 0xFFFF
        if self.plc_seen is not None and now - self.plc_seen > PLC_SILENCE:
            self.faults |= Fault.PLC_SILENT
        self.faults = self.faults & ~Fault.STATION if able else self.faults | Fault.STATION
