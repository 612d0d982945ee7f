"""From a PLC to the inspector and back: a trigger opens a part, its verdict becomes a result.

    PLC ─ write ─> trigger ─> ledger: open row ─> answer
                                   └─> frames ─> inspector ─> verdict ─> result block

A thread of its own answers the PLC; it waits for no camera, no engine and no disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeVar

from invad_fast.errors import InputError, first_line
from invad_fast.inspection.part import Reason, Ticket
from invad_fast.prediction import Verdict
from invad_fast.serve.modbus.handshake import IN_A_ROW, MOST_WAITING, Handshake, Trigger
from invad_fast.serve.modbus.register_map import (
    PLC_COUNT,
    PLC_FIRST,
    STATION_COUNT,
    STATION_FIRST,
    Fault,
)
from invad_fast.serve.modbus.server import ModbusServer, Network

_BEAT = 0.1  # seconds
_WORDS = {
    Fault.THREE_IN_A_ROW: f"{IN_A_ROW} parts in a row were not inspected: see their reasons, then "
    "reset the fault at the PLC",
    Fault.PLC_SILENT: "the PLC's heartbeat is lost: look at the PLC and at the network",
    Fault.RESULTS_LOST: "the PLC did not take results in time, and rejected these parts: see that "
    "it acknowledges, then reset the fault there",
    Fault.STATION: "the station cannot inspect",
    Fault.OUT_OF_STEP: "the PLC's trigger number is not Trigger taken + 1: its triggers are not "
    "taken",
}
T = TypeVar("T")


class Triggered(Protocol):
    """What opens a part: an `Inspector`."""

    def trigger(
        self, part_id: str | None = None, views: int = 1, encoder: int | None = None
    ) -> Ticket:
        """See `Inspector.trigger`."""


@dataclass(frozen=True)
class PlcState:
    """What became of the triggers: ``acknowledged + waiting + lost + open_parts`` are all of them.

    Attributes:
        connections: hosts that are connected.
        refused, malformed: connections that were turned away, that were ended for what is no
            Modbus/TCP.
        faults: in words.
    """

    address: str
    connections: int
    refused: int
    malformed: int
    triggers: int
    open_parts: int
    waiting: int
    acknowledged: int
    lost: int
    faults: list[str]


class PlcLink:
    """Serves one PLC, from entering on.

    Args:
        inspector: that is running.
        listen: "host:port" of the interface that the PLC is on.
        allow: addresses or networks of hosts that may connect.
        frames: called with each ticket, in a thread of its own; it hands in the frames, or says
            that they do not come, and returns. A trigger that comes meanwhile is NOT_INSPECTED:
            the part would be pictured too late. None where frames come by another way.
        views: pictures of a part.
        able: whether the station can inspect, now.
        tell: called with a line for each fault that comes up.

    Raises:
        InputError: for no such address; on entering, where it cannot listen there.
    """

    def __init__(
        self,
        inspector: Triggered,
        listen: str,
        allow: Sequence[str],
        *,
        frames: Callable[[Ticket], None] | None = None,
        views: int = 1,
        able: Callable[[], bool] = lambda: True,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        try:
            import pymodbus  # noqa: F401
        except ImportError:
            raise InputError("Modbus needs pymodbus: pip install 'invad-fast[modbus]'") from None
        self._host, self._port = _address(listen)
        networks = _networks(allow)
        self._inspector, self._frames, self._views = inspector, frames, views
        self._able, self._tell = able, tell
        self.handshake = Handshake()
        self._server = ModbusServer(self, networks, tell)
        self._writing = asyncio.Lock()
        self._opening = ThreadPoolExecutor(1, "modbus-triggers")
        self._picturing = ThreadPoolExecutor(1, "modbus-frames")
        self._camera = threading.Lock()  # held while frames are taken
        self._is_able = False
        self._told = Fault(0)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="modbus", daemon=True)

    def __enter__(self) -> PlcLink:
        self._thread.start()
        try:
            self._port = self._call(self._begin())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections: without an answer the PLC rejects. Parts that are open go on."""
        if self._loop.is_closed():
            return
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._opening.shutdown()
        self._picturing.shutdown()

    @property
    def address(self) -> str:
        """Where it listens."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    @property
    def state(self) -> PlcState:
        """As it is now."""
        held, server = self.handshake, self._server
        return PlcState(
            self.address, server.connections, server.refused, server.malformed, held.triggers,
            held.open_parts, held.waiting, held.acknowledged, held.lost, _words(held.faults),
        )  # fmt: skip

    # ---- its thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _begin(self) -> int:
        port = await self._server.listen(self._host, self._port)
        self._start(self._beat())
        return port

    async def _end(self) -> None:
        await self._server.close()  # a trigger that is being opened stays one
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _beat(self) -> None:
        while True:
            try:
                self._is_able = self._able()
            except Exception:  # it cannot even tell
                self._is_able = False
            self.handshake.beat(time.monotonic(), self._is_able)
            faults = self.handshake.faults
            for line in _words(faults & ~self._told):
                self._tell(f"Modbus: {line}")
            self._told = faults
            await asyncio.sleep(_BEAT)

    # ---- what requests read and write

    def read(self, address: int, count: int) -> list[int] | None:
        """See `server.Registers.read`."""
        held = self.handshake
        if address >= PLC_FIRST and address + count <= PLC_FIRST + PLC_COUNT:
            return held.read_plc()[address - PLC_FIRST :][:count]
        if address >= STATION_FIRST and address + count <= STATION_FIRST + STATION_COUNT:
            # Each open part may become a result before the next is taken.
            room = held.waiting + held.open_parts < MOST_WAITING
            held.ready = self._is_able and room and not self._camera.locked()
            return held.read_station()[address - STATION_FIRST :][:count]
        return None

    async def write(self, address: int, values: list[int]) -> bool:
        """See `server.Registers.write`; a trigger is answered when its part is on record."""
        if not values or not PLC_FIRST <= address <= PLC_FIRST + PLC_COUNT - len(values):
            return False
        async with self._writing:
            trigger = self.handshake.write(address - PLC_FIRST, values, time.monotonic())
            if trigger is not None:
                opened = self._loop.run_in_executor(self._opening, self._open, trigger)
                ticket = await opened
                self.handshake.took(trigger)
                self._start(self._answer(trigger, ticket))
        return True

    async def _answer(self, trigger: Trigger, ticket: Ticket | None) -> None:
        verdict, reason = Verdict.NOT_INSPECTED, Reason.STOPPED
        if ticket is not None:
            with contextlib.suppress(Exception):  # the inspector has failed: no verdict is a reject
                result = await ticket
                self.handshake.decided(trigger, result.verdict, result.reason)
                return
        self.handshake.decided(trigger, verdict, reason)

    # ---- in threads of their own

    def _open(self, trigger: Trigger) -> Ticket | None:
        """The part; None where the inspector takes none."""
        try:
            ticket = self._inspector.trigger(str(trigger.part_id), self._views, trigger.encoder)
        except InputError:
            return None
        if self._frames is None:
            return ticket
        if self._camera.acquire(blocking=False):
            self._picturing.submit(self._picture, ticket)
        else:
            self._give_up(ticket, Reason.OVERFLOW, "triggered while the one before was pictured")
        return ticket

    def _picture(self, ticket: Ticket) -> None:
        assert self._frames is not None
        try:
            self._frames(ticket)
        except Exception as error:
            self._give_up(ticket, Reason.CAMERA, first_line(error))
        finally:
            self._camera.release()

    def _give_up(self, ticket: Ticket, reason: Reason, detail: str) -> None:
        for view in range(ticket.views):
            with contextlib.suppress(InputError):  # a view that came
                ticket.no_frame(view, reason, detail)


def _words(faults: Fault) -> list[str]:
    return [words for fault, words in _WORDS.items() if fault in faults]


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is None or address.is_unspecified or not port.isascii() or not port.isdigit():
        raise InputError(
            f"Modbus listens on one interface: give its address and the port, as 192.168.0.5:502, "
            f"not {listen!r}"
        )
    if int(port) > 0xFFFF:
        raise InputError(f"a port is at most 65535, not {port}")
    return host, int(port)


def _networks(allow: Sequence[str]) -> list[Network]:
    if not allow:
        raise InputError("Modbus has no password: say which hosts may connect, --modbus-allow")
    found: list[Network] = []
    for each in allow:
        try:
            found.append(ipaddress.ip_network(each))
        except ValueError as error:
            raise InputError(f"--modbus-allow takes addresses and networks: {error}") from None
    return found
