"""A PLC at the station: every rule of docs/modbus.md over real sockets, and who is turned away."""

import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import stub_engine as stub
from camera_servers import gige_camera, need_aravis
from modbus_line import (
    READ,
    Pictures,
    answer_of,
    ask,
    connect,
    finish,
    fuzz,
    linked,
    message,
    plc_of,
    run_parts,
)
from refusals import one_line

from invad_fast.inspection.cameras.triggered import TriggeredCameras
from invad_fast.inspection.ledger.part_rows import part_rows
from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.part import Ticket
from invad_fast.inspection.recipe import CameraSettings
from invad_fast.serve.modbus.plc_link import PlcLink
from invad_fast.serve.modbus.register_map import Code, Status
from invad_fast.serve.modbus.simulated_plc import SimulatedPlc


def wait_until(condition: Callable[[], bool], scan: Callable[[], object] = lambda: None) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        scan()
        time.sleep(0.005)


def test_parts_and_reconnects(tmp_path: Path) -> None:
    """The short form of `soak/test_modbus.py`."""
    pictures = Pictures()
    with linked(tmp_path, pictures) as (line, link):
        plc = run_parts(link, pictures, random.Random(0), range(400), pulls=0.03)
        assert plc.reconnects > 10
        state, accounts = link.state, line.accounts
    assert state.triggers == state.acknowledged == accounts.triggered == 400
    assert state.waiting == state.lost == state.open_parts == 0
    rows = {row["part_id"]: row for row in part_rows(tmp_path / "line.db", limit=1000)}
    outputs = {str(each.part_id): each for each in plc.outputs}
    assert set(rows) == set(outputs)
    for part_id, output in outputs.items():
        assert rows[part_id]["verdict"] == output.code.name
        assert rows[part_id]["encoder"] == output.encoder
        assert output.passes == (rows[part_id]["verdict"] == "PASS")


def test_parts_that_overtake_each_other(tmp_path: Path) -> None:
    """The first trigger's picture comes last: results are matched by id."""
    tickets: list[Ticket] = []
    with linked(tmp_path, tickets.append) as (_, link):
        plc = plc_of(link)
        for part_id in (7, 5, 6):
            plc.part(part_id, 100 + part_id)
        wait_until(lambda: len(tickets) == 3, plc.scan)
        for ticket in reversed(tickets):
            red = 200 if ticket.part_id == "5" else 100
            ticket.frame(stub.picture(red), 0, "RGB8").result(10)
        finish(plc)
    assert [(each.part_id, each.encoder, each.passes) for each in plc.outputs] == [
        (6, 106, True), (5, 105, False), (7, 107, True)
    ]  # fmt: skip


def test_ready_while_there_is_room(tmp_path: Path) -> None:
    """Whoever heeds it loses no result, however many come at once."""
    tickets: list[Ticket] = []
    with linked(tmp_path, tickets.append) as (_, link):
        plc = plc_of(link)
        for part_id in range(20):
            plc.part(part_id, 0)
        wait_until(lambda: len(tickets) == 8, plc.scan)
        for _ in range(20):
            plc.scan()
        assert len(tickets) == 8 and Status.READY not in plc.status and not plc.outputs
        for ticket in tickets[:]:
            ticket.frame(stub.picture(100), 0, "RGB8").result(10)
        wait_until(lambda: len(tickets) == 16, plc.scan)
        assert link.state.lost == 0


def test_a_belt(tmp_path: Path) -> None:
    pictures = Pictures(dict.fromkeys(range(1, 1000), Code.PASS))
    stop = threading.Event()
    with linked(tmp_path, pictures) as (_, link):
        plc = plc_of(link)
        belt = threading.Thread(target=plc.run, args=(50, stop))
        belt.start()
        wait_until(lambda: len(plc.outputs) >= 20)
        stop.set()
        belt.join()
    assert all(each.passes and each.encoder == 1000 * each.part_id for each in plc.outputs)


def test_late_is_a_reject_and_three_a_fault(tmp_path: Path) -> None:
    def frames(ticket) -> None:
        late = int(ticket.part_id) < 3
        ticket.frame(stub.picture(100, stub.IS_SLOW if late else stub.NOTHING), 0, "RGB8")

    with linked(tmp_path, frames, deadline_ms=100) as (line, link):
        plc = plc_of(link)
        for part_id in range(3):
            plc.part(part_id, 0)
            finish(plc)
        assert [each.code for each in plc.outputs] == [Code.NOT_INSPECTED] * 3
        assert Status.FAULT in plc.status
        assert "3 parts in a row" in link.state.faults[0]
        wait_until(lambda: any("3 parts in a row" in each for each in link.told))
        wait_until(lambda: not line.faults)
        time.sleep(2 * stub.SLOW)  # the engine is through with what is of no use any more
        plc.part(3, 0)
        finish(plc)
        assert plc.outputs[-1].passes and Status.FAULT in plc.status  # latched
        plc.reset_fault()
        plc.scan()
        assert Status.FAULT not in plc.status
    assert totals(tmp_path / "line.db").by_reason == {"late": 3}


def test_what_the_plc_has_given_up_changes_nothing(tmp_path: Path) -> None:
    pictures = Pictures({1: Code.PASS, 2: Code.PASS}, hold=threading.Event())
    with linked(tmp_path, pictures) as (_, link):
        plc = plc_of(link, patience=0.2)
        plc.part(1, 5)
        finish(plc)
        assert plc.outputs[0].code is Code.NONE and not plc.outputs[0].passes
        pictures.hold.set()
        wait_until(lambda: plc.late == 1, plc.scan)
        plc.patience = 5.0
        plc.part(2, 6)
        finish(plc)
        assert [each.passes for each in plc.outputs] == [False, True]
        assert (plc.late, plc.wrong) == (1, 0)


def test_a_trigger_while_a_picture_is_taken(tmp_path: Path) -> None:
    """The belt has moved on: a picture taken later would be of another place."""
    pictures = Pictures({1: Code.PASS, 2: Code.PASS}, hold=threading.Event())
    with linked(tmp_path, pictures) as (_, link):
        plc = plc_of(link, heedless=True)
        wait_until(lambda: Status.READY in plc.status, plc.scan)
        plc.part(1, 0)
        wait_until(lambda: pictures.taken == 1, plc.scan)
        plc.scan()
        assert plc.status == Status.BUSY
        plc.part(2, 0)
        wait_until(lambda: len(plc.outputs) == 1, plc.scan)
        assert (plc.outputs[0].part_id, plc.outputs[0].code) == (2, Code.NOT_INSPECTED)
        pictures.hold.set()
        finish(plc)
        assert plc.outputs[1].passes and pictures.taken == 1
    assert totals(tmp_path / "line.db").by_reason == {"overflow": 1}


def test_a_camera_that_fails(tmp_path: Path) -> None:
    def frames(ticket) -> None:
        raise RuntimeError("no camera")

    with linked(tmp_path, frames) as (_, link):
        plc = plc_of(link)
        plc.part(1, 0)
        finish(plc)
    assert plc.outputs[0].code is Code.NOT_INSPECTED
    row = next(part_rows(tmp_path / "line.db"))
    assert (row["verdict"], row["reason"]) == ("NOT_INSPECTED", "camera")


def test_real_cameras(tmp_path: Path) -> None:
    """Aravis' simulated one, and it is unplugged."""
    need_aravis()
    settings = CameraSettings(kind="genicam", address="127.0.0.1", trigger="software",
                              pixel_format="Mono8", timeout_ms=500)  # fmt: skip
    with (
        gige_camera("P1") as camera,
        TriggeredCameras([settings]) as cameras,
        linked(tmp_path, cameras, queue={"capacity": 4}) as (_, link),
    ):
        plc = plc_of(link)
        for part_id in range(4):
            plc.part(part_id, part_id)
            finish(plc)
        assert {each.code for each in plc.outputs} <= {Code.PASS, Code.REJECT}
        camera.unplug()
        wait_until(lambda: bool(cameras.faults))
        plc.part(4, 4)
        finish(plc)
    assert plc.outputs[-1].code is Code.NOT_INSPECTED
    assert totals(tmp_path / "line.db").by_reason == {"camera": 1}


def test_frames_by_another_way(tmp_path: Path) -> None:
    """The trigger opens the part; nobody is asked for its picture."""
    with linked(tmp_path, None, deadline_ms=50) as (_, link):
        plc = plc_of(link)
        plc.part(1, 0)
        finish(plc)
    assert plc.outputs[0].code is Code.NOT_INSPECTED
    assert totals(tmp_path / "line.db").by_reason == {"camera": 1}


def test_an_inspector_that_was_stopped(tmp_path: Path) -> None:
    """No part can be opened: the PLC is told so, and rejects."""
    pictures = Pictures()
    with linked(tmp_path, pictures) as (line, link):
        plc = plc_of(link, heedless=True)
        plc.scan()
        line.close()
        plc.part(1, 0)
        finish(plc)
        assert plc.outputs[0].code is Code.NOT_INSPECTED and not pictures.taken
        assert link.state.acknowledged == 1
    assert totals(tmp_path / "line.db").triggered == 0


def test_a_station_that_is_started_anew(tmp_path: Path) -> None:
    """The PLC goes on from what the new one says; the part in between is a reject."""
    pictures = Pictures({1: Code.PASS, 2: Code.PASS, 3: Code.PASS})
    with linked(tmp_path, pictures) as (_, link):
        plc = plc_of(link, patience=0.3)
        plc.part(1, 0)
        finish(plc)
    plc.part(2, 0)
    wait_until(lambda: len(plc.outputs) == 2, plc.scan)
    assert plc.outputs[1].code is Code.NONE
    with linked(tmp_path, pictures) as (_, link):
        plc.port = plc_of(link).port
        plc.patience = 5.0
        plc.part(3, 0)
        finish(plc)
        assert plc.outputs[2].passes and link.state.triggers == 1


def test_a_silent_plc(tmp_path: Path) -> None:
    with linked(tmp_path, Pictures()) as (_, link):
        plc = plc_of(link)
        plc.scan()
        plc.disconnect()
        wait_until(lambda: any("heartbeat" in each for each in link.told))
        assert "heartbeat" in link.state.faults[0]
        wait_until(plc.scan)
        plc.scan()
        assert not link.state.faults and Status.FAULT not in plc.status


def test_not_ready_while_it_cannot_inspect(tmp_path: Path) -> None:
    class Never:
        def trigger(self, *_: object, **__: object) -> None: ...

    able = threading.Event()
    link = PlcLink(Never(), "127.0.0.1:0", ["127.0.0.1"], able=able.is_set)
    with link:
        plc = plc_of(link)
        wait_until(lambda: Status.FAULT in plc.status, plc.scan)
        assert Status.READY not in plc.status
        able.set()
        wait_until(lambda: plc.status == Status.READY, plc.scan)


def test_who_may_connect(tmp_path: Path) -> None:
    with linked(tmp_path, Pictures()) as (_, link):
        with connect(link, "127.0.0.2") as stranger:
            assert ask(stranger, READ) == b""
        for _ in range(3):
            with connect(link, "127.0.0.3") as stranger:
                assert ask(stranger, READ) == b""
        with connect(link) as plc:
            assert len(ask(plc, READ)) == 2 + 28
        wait_until(lambda: link.state.refused == 4)
        assert [each for each in link.told if "127.0.0.3" in each] == [
            "Modbus: 127.0.0.3 was turned away: it is not on the list of --modbus-allow"
        ]
    host, _, port = link.address.rpartition(":")
    with pytest.raises(OSError):
        socket.create_connection((host, int(port)), 1)


ILLEGAL = {
    "a coil": (bytes([1, 0, 0, 0, 1]), 0x81, 1),
    "a file": (bytes([20, 7, 6, 0, 4, 0, 1, 0, 2]), 0x94, 1),
    "listen only": (bytes([8, 0, 4, 0, 0]), 0x88, 1),
    "no such function": (bytes([99]), 0xE3, 1),
    "beyond the map": (bytes([3, 0, 100, 0, 15]), 0x83, 2),
    "between": (bytes([3, 0, 7, 0, 2]), 0x83, 2),
    "too many": (bytes([3, 0, 0, 0, 126]), 0x83, 3),
    "what the station writes": (bytes([6, 0, 100, 0, 1]), 0x86, 2),
    "half in, half out": (bytes([16, 0, 7, 0, 2, 4, 0, 0, 0, 0]), 0x90, 2),
    "fewer than it says": (bytes([16, 0, 0, 0, 2, 4, 0, 0]), 0x90, 3),
    "nothing": (bytes([16, 0, 0, 0, 0, 0]), 0x90, 3),
    "cut": (bytes([16, 0]), 0x90, 3),
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_illegal_requests(name: str, tmp_path: Path) -> None:
    payload, function, code = ILLEGAL[name]
    with linked(tmp_path, Pictures()) as (_, link), connect(link) as plc:
        assert ask(plc, payload) == bytes([function, code])
        assert ask(plc, READ)[:2] == bytes([4, 28])
        assert ask(plc, READ, unit=2) == bytes([0x84, 11])


def test_requests_that_come_together_and_in_pieces(tmp_path: Path) -> None:
    with linked(tmp_path, Pictures()) as (_, link), connect(link) as plc, connect(link) as half:
        half.sendall(message(READ)[:9])
        plc.sendall(message(READ, number=1) + message(bytes([3, 0, 0, 0, 8]), number=2))
        assert answer_of(plc)[:2] == bytes([4, 28]) and answer_of(plc)[:2] == bytes([3, 16])
        for byte in message(READ):
            plc.sendall(bytes([byte]))
        assert answer_of(plc)[:2] == bytes([4, 28])
        half.sendall(message(READ)[9:])
        assert answer_of(half)[:2] == bytes([4, 28])


@pytest.mark.parametrize("what", [message(READ, protocol=7), bytes(6), b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_modbus(what: bytes, tmp_path: Path) -> None:
    with linked(tmp_path, Pictures()) as (_, link), connect(link) as stranger:
        stranger.sendall(what + bytes(10))
        assert answer_of(stranger) == b""
        wait_until(lambda: link.state.connections == 0)


def test_dead_connections_make_room(tmp_path: Path) -> None:
    with linked(tmp_path, Pictures()) as (_, link):
        held = [connect(link) for _ in range(8)]
        for each in (*held[1:], held[0]):
            assert ask(each, READ)
        new = connect(link)
        assert ask(new, READ) and ask(held[0], READ)
        assert answer_of(held[1]) == b""  # it was silent longest
        wait_until(lambda: link.state.connections == 8)
        for each in (new, *held):
            each.close()


def test_fuzzed_messages(tmp_path: Path) -> None:
    """The short form of `soak/test_modbus.py`."""
    pictures = Pictures()
    with linked(tmp_path, pictures) as (line, link):
        fuzz(link, random.Random(1), 800)
        wait_until(lambda: link.state.open_parts == 0)
        assert link.state.triggers == line.accounts.triggered > 0 and link.state.malformed > 0
        run_parts(link, pictures, random.Random(2), range(10**6, 10**6 + 20), pulls=0)


def test_cameras_that_trigger_themselves() -> None:
    settings = CameraSettings(kind="genicam", address="127.0.0.1", trigger="hardware")
    one_line("trigger: software", lambda: TriggeredCameras([settings]))
    one_line("no cameras", lambda: TriggeredCameras([]))


REFUSED = {
    "no port": ("192.168.0.5", ["10.0.0.1"], "192.168.0.5:502"),
    "every interface": ("0.0.0.0:502", ["10.0.0.1"], "one interface"),
    "every interface, IPv6": ("[::]:502", ["10.0.0.1"], "one interface"),
    "a name": ("plc:502", ["10.0.0.1"], "one interface"),
    "a large port": ("127.0.0.1:70000", ["10.0.0.1"], "at most 65535"),
    "nobody": ("127.0.0.1:502", [], "--modbus-allow"),
    "a host's name": ("127.0.0.1:502", ["plc"], "--modbus-allow"),
    "bits of a host in a network": ("127.0.0.1:502", ["10.0.0.1/24"], "--modbus-allow"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_options(name: str) -> None:
    listen, allow, why = REFUSED[name]
    one_line(why, lambda: PlcLink(None, listen, allow))


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        link = PlcLink(None, f"127.0.0.1:{port}", ["127.0.0.1"])
        one_line(f"cannot listen on 127.0.0.1:{port}", link.__enter__)


def test_a_plc_that_finds_no_station() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    plc = SimulatedPlc("127.0.0.1", port, patience=0.1)
    plc.part(1, 0)
    assert not plc.scan() and plc.pending == 1
