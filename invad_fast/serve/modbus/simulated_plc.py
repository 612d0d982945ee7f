"""A PLC as an integrator would program it: one scan after the other, each one request.

It keeps the rules of `docs/modbus.md` and holds the station to them. A part passes if a result with
its id and its encoder count says so within its time; anything else is a reject.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from invad_fast.serve.modbus.register_map import (
    MAP_VERSION,
    PLC_FIRST,
    RESULT_CODE,
    RESULT_ENCODER,
    RESULT_NUMBER,
    RESULT_PART_ID,
    STATION_COUNT,
    STATION_FIRST,
    STATUS,
    TRIGGER_NUMBER,
    TRIGGER_TAKEN,
    UNIT,
    VERSION,
    Code,
    Status,
    following,
    number_of,
    words,
)

_SCAN = 0.01  # seconds


@dataclass(frozen=True)
class Output:
    """What the PLC made of a part.

    Attributes:
        code: of its result; NONE where none came in time.
        since: seconds of the monotonic clock at which its trigger was sent.
    """

    part_id: int
    encoder: int
    code: Code
    since: float

    @property
    def passes(self) -> bool:
        """Whether the rejector lets it go by."""
        return self.code is Code.PASS


@dataclass
class SimulatedPlc:
    """One connection at a time; call `scan` again and again.

    Attributes:
        outputs: of the parts, in the order that they were settled.
        late: results of parts that had been given up, or that came twice: they change nothing.
        wrong: results whose id is known and whose encoder count is another.
        status: that was read last.
        reconnects: how often the connection was lost and came back.

    Args:
        patience: seconds after a trigger in which its result must come.
        heedless: triggers whether the station is Ready or not.
    """

    host: str
    port: int
    patience: float = 5.0
    heedless: bool = False
    outputs: list[Output] = field(default_factory=list)
    late: int = 0
    wrong: int = 0
    status: Status = Status(0)
    reconnects: int = 0
    _client: Any = None
    _queue: deque[tuple[int, int]] = field(default_factory=deque)
    _open: dict[int, tuple[int, float]] = field(default_factory=dict)
    _sent: tuple[int, int, int] | None = None  # number, part id, encoder: not yet seen to be taken
    _taken: int | None = None
    _heartbeat: int = 0
    _acknowledged: int = 0
    _reset: bool = False

    @property
    def pending(self) -> int:
        """Parts that are not settled."""
        return len(self._queue) + len(self._open)

    def part(self, part_id: int, encoder: int) -> None:
        """A part is in front of the camera: it is triggered with the next scan."""
        self._queue.append((part_id, encoder))

    def scan(self) -> bool:
        """One round: settles, acknowledges, triggers; whether the station answered."""
        self._give_up(time.monotonic())
        if not self._connect():
            return False
        self._heartbeat = following(self._heartbeat)
        trigger = self._next_trigger()
        values = [self._heartbeat, self._acknowledged, int(self._reset)]
        if trigger is not None:
            values += [trigger[0], *words(trigger[1]), *words(trigger[2])]
        found = self._exchange(values)
        if found is None:
            return False
        self._reset = False
        self._see(found)
        return True

    def run(self, rate: float, stop: threading.Event, every: int = 1000) -> None:
        """A belt: so many parts a second until ``stop`` is set, scanned every 10 ms.

        Args:
            every: encoder counts between two parts.
        """
        started, parts = time.monotonic(), 0
        while not stop.wait(_SCAN):
            if time.monotonic() >= started + parts / rate:
                parts += 1
                self.part(parts, every * parts & 0xFFFFFFFF)
            self.scan()

    def reset_fault(self) -> None:
        """The operator presses the button: with the next scan latched faults go."""
        self._reset = True

    def disconnect(self) -> None:
        """The cable is pulled."""
        if self._client is not None:
            self._client.close()
            self._client = None
            self.reconnects += 1

    def lose_answer(self) -> None:
        """The cable is pulled after a scan's request has left: what it did is not known."""
        if self._client is not None:
            trigger = self._next_trigger()
            if trigger is not None:
                values = [trigger[0], *words(trigger[1]), *words(trigger[2])]
                self._client.write_registers(
                    TRIGGER_NUMBER, values, device_id=UNIT, no_response_expected=True
                )
            self.disconnect()

    def _connect(self) -> bool:
        from pymodbus.client import ModbusTcpClient

        if self._client is None:
            client = ModbusTcpClient(self.host, port=self.port, timeout=2, retries=0)
            if not client.connect():
                return False
            self._client = client
            found = self._read()
            if found is None:
                return False
            assert found[MAP_VERSION - STATION_FIRST] == VERSION, "another register map"
            self._see(found)
        return True

    def _read(self) -> list[int] | None:
        return self._answered(
            lambda: self._client.read_input_registers(
                STATION_FIRST, count=STATION_COUNT, device_id=UNIT
            )
        )

    def _exchange(self, values: list[int]) -> list[int] | None:
        return self._answered(
            lambda: self._client.readwrite_registers(
                read_address=STATION_FIRST, read_count=STATION_COUNT, write_address=PLC_FIRST,
                values=values, device_id=UNIT,
            )
        )  # fmt: skip

    def _answered(self, request: Any) -> list[int] | None:
        from pymodbus.exceptions import ModbusException

        try:
            answer = request()
        except (ModbusException, OSError):
            self.disconnect()
            return None
        assert not answer.isError(), answer
        return list(answer.registers)

    def _next_trigger(self) -> tuple[int, int, int] | None:
        may = self.heedless or Status.READY in self.status
        if self._sent is None and self._queue and may and self._taken is not None:
            part_id, encoder = self._queue.popleft()
            self._sent = following(self._taken), part_id, encoder
            self._open[part_id] = encoder, time.monotonic()
        return self._sent

    def _see(self, found: list[int]) -> None:
        def at(address: int, count: int = 1) -> list[int]:
            return found[address - STATION_FIRST :][:count]

        self.status = Status(at(STATUS)[0])
        self._taken = at(TRIGGER_TAKEN)[0]
        if self._sent is not None and self._sent[0] == self._taken:
            self._sent = None
        elif self._sent is not None and self._sent[0] != following(self._taken):
            self._sent = None  # the station was started anew; the part is rejected in its time
        number = at(RESULT_NUMBER)[0]
        if Status.RESULT_VALID in self.status and number != self._acknowledged:
            self._acknowledged = number
            part_id, encoder = number_of(at(RESULT_PART_ID, 2)), number_of(at(RESULT_ENCODER, 2))
            self._settle(part_id, encoder, Code(at(RESULT_CODE)[0]))

    def _settle(self, part_id: int, encoder: int, code: Code) -> None:
        held = self._open.pop(part_id, None)
        if held is None:
            self.late += 1
            return
        if held[0] != encoder:
            self.wrong += 1
            code = Code.NONE
        self.outputs.append(Output(part_id, held[0], code, held[1]))

    def _give_up(self, now: float) -> None:
        for part_id, (encoder, since) in list(self._open.items()):
            if now - since > self.patience:
                del self._open[part_id]
                self.outputs.append(Output(part_id, encoder, Code.NONE, since))
                if self._sent is not None and self._sent[1] == part_id:
                    self._sent = None
