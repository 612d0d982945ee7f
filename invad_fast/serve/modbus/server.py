"""Modbus/TCP: requests to registers, of hosts that are allowed; everyone else is turned away.

pymodbus knows the messages. Its own server is not used: of requests that come together it answers
only one, and it reads what a host sends before anybody can ask who that is.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from invad_fast.errors import InputError, first_line
from invad_fast.serve.modbus.register_map import UNIT

_MOST = 8  # connections; then the one that was silent longest goes: a PLC leaves dead ones behind
_FUNCTIONS = (3, 4, 6, 16, 23)  # read, write, and both in one request
_HEADER, _LONGEST = 7, 253  # bytes; of a message without its header

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Registers(Protocol):
    """What requests read and write."""

    def read(self, address: int, count: int) -> list[int] | None:
        """The registers from an address on; None where there are no such."""

    async def write(self, address: int, values: list[int]) -> bool:
        """Whether they may be written, and are."""


@dataclass(eq=False)
class _Connection:
    task: asyncio.Task[Any] | None
    writer: asyncio.StreamWriter
    heard: float = field(default_factory=time.monotonic)


class ModbusServer:
    """Answers; lives in one asyncio loop.

    Attributes:
        refused: connections of hosts that are not allowed.
        malformed: connections that were ended for what is no Modbus/TCP.

    Args:
        registers: of unit 1; any other is answered with exception 11.
        allowed: networks whose hosts may connect.
        tell: called with a line the first time that a host is turned away.
    """

    def __init__(
        self, registers: Registers, allowed: Sequence[Network], tell: Callable[[str], None]
    ) -> None:
        from pymodbus.framer import FramerSocket
        from pymodbus.pdu import DecodePDU

        self._decoder = DecodePDU(True)
        self._framer = FramerSocket(self._decoder)
        self._store = _Store(registers)
        self._allowed, self._tell = allowed, tell
        self._told: set[str] = set()
        self._connections: list[_Connection] = []
        self._server: asyncio.Server | None = None
        self.refused = self.malformed = 0

    @property
    def connections(self) -> int:
        """Hosts that are connected."""
        return len(self._connections)

    async def listen(self, host: str, port: int) -> int:
        """Takes connections; the port.

        Raises:
            InputError: where it cannot listen there.
        """
        try:
            self._server = await asyncio.start_server(self._serve, host, port)
        except OSError as error:
            more = ": ports below 1024 are the system's, see docs/modbus.md"
            why = error.strerror or error
            raise InputError(
                f"cannot listen on {host}:{port}: {why}{more if port < 1024 else ''}"
            ) from None
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Ends all connections."""
        if self._server is not None:
            self._server.close()
        for each in self._connections:
            each.writer.transport.abort()
        tasks = [each.task for each in self._connections if each.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = writer.get_extra_info("peername")[0]
        if not self._allows(host):
            self._refuse(host, writer)
            return
        if len(self._connections) == _MOST:
            min(self._connections, key=lambda each: each.heard).writer.transport.abort()
        connection = _Connection(asyncio.current_task(), writer)
        self._connections.append(connection)
        try:
            while await self._answer_one(reader, writer):
                connection.heard = time.monotonic()
        except (OSError, asyncio.IncompleteReadError):  # the host has gone
            pass
        finally:
            self._connections.remove(connection)
            writer.transport.abort()

    def _allows(self, host: str) -> bool:
        address = ipaddress.ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._allowed)

    def _refuse(self, host: str, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        self.refused += 1
        if host not in self._told and len(self._told) < 100:
            self._told.add(host)
            self._tell(f"Modbus: {host} was turned away: it is not on the list of --modbus-allow")

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        head = await reader.readexactly(_HEADER)
        length = int.from_bytes(head[4:6], "big") - 1
        if head[2:4] != b"\0\0" or not 1 <= length <= _LONGEST:
            self.malformed += 1  # where the next message begins nobody knows
            return False
        message = await reader.readexactly(length)
        answer = await self._answer(head[6], message)
        answer.transaction_id, answer.dev_id = int.from_bytes(head[:2], "big"), head[6]
        writer.write(self._framer.buildFrame(answer))
        await writer.drain()
        return True

    async def _answer(self, unit: int, message: bytes) -> Any:
        from pymodbus.constants import ExcCodes
        from pymodbus.pdu import ExceptionResponse

        function = message[0]
        if unit != UNIT:
            return ExceptionResponse(function & 0x7F, ExcCodes.GATEWAY_NO_RESPONSE)
        if function not in _FUNCTIONS:
            return ExceptionResponse(function & 0x7F, ExcCodes.ILLEGAL_FUNCTION)
        try:
            request: Any = self._decoder.decode(message)
            if request is None:
                return ExceptionResponse(function, ExcCodes.ILLEGAL_VALUE)
            return await request.datastore_update(self._store, unit)
        except Exception as error:  # a fault of ours: the PLC is told that its request failed
            self._tell(f"Modbus: a request failed: {type(error).__name__}: {first_line(error)}")
            return ExceptionResponse(function, ExcCodes.DEVICE_FAILURE)


class _Store:
    """The registers as pymodbus' messages ask for them."""

    def __init__(self, registers: Registers) -> None:
        self._registers = registers

    async def async_getValues(self, unit: int, function: int, address: int, count: int = 1) -> Any:
        from pymodbus.constants import ExcCodes

        found = self._registers.read(address, count)
        return ExcCodes.ILLEGAL_ADDRESS if found is None else found

    async def async_setValues(
        self, unit: int, function: int, address: int, values: list[int]
    ) -> Any:
        from pymodbus.constants import ExcCodes

        written = await self._registers.write(address, values)
        return None if written else ExcCodes.ILLEGAL_ADDRESS
