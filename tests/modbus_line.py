"""A line with a PLC: parts whose pictures say what becomes of them, cables that are pulled."""

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import stub_engine as stub
from line_recipe import MAKER, recipe

from invad_fast.inspection import Inspector
from invad_fast.inspection.part import Ticket
from invad_fast.serve.modbus.plc_link import PlcLink
from invad_fast.serve.modbus.register_map import Code, Status, following
from invad_fast.serve.modbus.simulated_plc import SimulatedPlc

_PICTURES = {Code.PASS: stub.picture(100), Code.REJECT: stub.picture(200)}


@dataclass
class Pictures:
    """A camera that knows of each part what its verdict must be; another one takes no picture."""

    wanted: dict[int, Code] = field(default_factory=dict)
    taken: int = 0
    hold: threading.Event | None = None

    def __call__(self, ticket: Ticket) -> None:
        self.taken += 1
        if self.hold is not None:
            assert self.hold.wait(30)
        picture = _PICTURES.get(self.wanted[int(ticket.part_id)])
        if picture is None:
            ticket.no_frame()
        else:
            ticket.frame(picture, 0, "RGB8")


@contextmanager
def linked(
    folder: Path, frames: Callable[[Ticket], None] | None, **changes
) -> Iterator[tuple[Inspector, PlcLink]]:
    """An inspector with the stub engine, and its PLC link on the loopback interface."""
    told: list[str] = []
    with (
        Inspector(
            recipe(folder, **changes), folder / "line.db", engine=MAKER, in_process=True
        ) as line,
        PlcLink(line, "127.0.0.1:0", ["127.0.0.1"], frames=frames, tell=told.append) as link,
    ):
        link.told = told
        yield line, link


def plc_of(link: PlcLink, **given) -> SimulatedPlc:
    """A PLC for it."""
    host, _, port = link.address.rpartition(":")
    return SimulatedPlc(host, int(port), **given)


def finish(plc: SimulatedPlc, seconds: float = 60) -> None:
    """Scans until every part is settled, and its result acknowledged."""
    until = time.monotonic() + seconds
    while plc.pending:
        assert time.monotonic() < until, f"{plc.pending} parts are not settled"
        plc.scan()
    assert plc.scan()


def run_parts(
    link: PlcLink, pictures: Pictures, rng: random.Random, ids: range, pulls: float = 0.01
) -> SimulatedPlc:
    """Parts with every verdict, of a PLC whose cable is pulled now and then, in mid-request too."""
    plc = plc_of(link, patience=30.0)
    while plc.scan() and Status.RESULT_VALID in plc.status:
        pass  # of parts that somebody else triggered
    plc.late = 0
    for part_id in ids:
        pictures.wanted[part_id] = rng.choices(
            (Code.PASS, Code.REJECT, Code.NOT_INSPECTED), (80, 15, 5)
        )[0]
        plc.part(part_id, rng.randrange(2**32))
        for _ in range(rng.choice((0, 1, 1, 2, 5))):
            plc.scan()
            if rng.random() < pulls:
                plc.disconnect()
            elif rng.random() < pulls:
                plc.lose_answer()
    finish(plc)
    outputs = {each.part_id: each for each in plc.outputs}
    assert len(outputs) == len(plc.outputs) == len(ids), "a part has two outputs, or none"
    assert plc.wrong == plc.late == 0
    wrong = [outputs[i] for i in ids if outputs[i].code is not pictures.wanted[i]]
    assert not wrong, f"other verdicts than their pictures: {wrong[:5]}"
    plc.disconnect()
    return plc


def message(payload: bytes, unit: int = 1, number: int = 1, protocol: int = 0) -> bytes:
    """Modbus/TCP around a function and its data."""
    head = number.to_bytes(2, "big") + protocol.to_bytes(2, "big")
    return head + (len(payload) + 1).to_bytes(2, "big") + bytes([unit]) + payload


def connect(link: PlcLink, source: str = "127.0.0.1") -> socket.socket:
    """A bare connection."""
    host, _, port = link.address.rpartition(":")
    return socket.create_connection((host, int(port)), 10, (source, 0))


def ask(connection: socket.socket, payload: bytes, **given: int) -> bytes:
    """The answer to one message, its function first; nothing where the connection ended."""
    connection.sendall(message(payload, **given))
    return answer_of(connection)


def answer_of(connection: socket.socket) -> bytes:
    """The next answer; nothing where the connection ended."""
    found = b""
    wanted = 7
    while len(found) < wanted:
        try:
            more = connection.recv(wanted - len(found))
        except ConnectionError:
            return b""
        if not more:
            return b""
        found += more
        if len(found) == 7:
            wanted = 6 + int.from_bytes(found[4:6], "big")
    return found[7:]


READ = bytes([4, 0, 100, 0, 14])


def fuzzed(rng: random.Random, taken: int) -> bytes:
    """A message that is nearly right, right, or none at all.

    Args:
        taken: the number of the trigger that was taken last.
    """
    kind = rng.randrange(7)
    if kind == 6:
        trigger = following(taken).to_bytes(2, "big") + rng.randbytes(8)
        return message(bytes([16, 0, 3, 0, 5, 10]) + trigger)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 300))
    function = rng.choice((1, 2, 3, 4, 5, 6, 8, 15, 16, 20, 21, 22, 23, 24, 43, rng.randrange(256)))
    if kind == 1:
        return message(bytes([function]) + rng.randbytes(rng.randrange(0, 60)))
    address = rng.choice((0, 3, 4, 7, 8, 99, 100, 113, 114, rng.randrange(2**16)))
    count = rng.choice((0, 1, 2, 5, 8, 14, 125, 126, 2**16 - 1))
    first = address.to_bytes(2, "big") + count.to_bytes(2, "big")
    values = rng.randbytes(2 * min(count, 10))
    bodies = {
        3: first, 4: first, 6: first,
        16: first + bytes([rng.choice((len(values), rng.randrange(256)))]) + values,
        23: b"\0\x64\0\x0e" + first + bytes([len(values)]) + values,
    }  # fmt: skip
    function = rng.choice(list(bodies))
    whole = bytearray(message(bytes([function]) + bodies[function], rng.choice((1, 1, 1, 0, 255))))
    if kind == 2:
        whole[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
    if kind == 3:
        del whole[rng.randrange(len(whole)) :]
    return bytes(whole)


def fuzz(link: PlcLink, rng: random.Random, messages: int) -> None:
    """Sends so many, and after every few asks, as a PLC does."""
    sent = 0
    honest = connect(link)
    taken = 0
    while sent < messages:
        strange = connect(link)
        with strange, contextlib.suppress(ConnectionError):  # it is ended after what is no Modbus
            for _ in range(rng.randrange(1, 30)):
                strange.sendall(fuzzed(rng, taken))
                sent += 1
        answer = ask(honest, READ)
        assert answer[:2] == bytes([4, 28]), "an honest PLC gets no answer"
        taken = int.from_bytes(answer[6:8], "big")
    honest.close()
