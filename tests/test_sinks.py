"""Sinks: what is delivered, what is lost and told, and that none of them delays a result."""

import functools
import http.server
import json
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import stub_engine as stub
from line_recipe import MAKER, recipe
from PIL import Image
from refusals import one_line

from invad_fast.errors import InputWarning
from invad_fast.inspection import Inspector, Result
from invad_fast.inspection.pictures import Pictured
from invad_fast.serve.sinks.json_lines import JsonLines
from invad_fast.serve.sinks.mqtt import PASSWORD, Mqtt
from invad_fast.serve.sinks.outlet import Outlet, Undelivered
from invad_fast.serve.sinks.overlays import Overlays, rejects
from invad_fast.serve.sinks.sink import Sink
from invad_fast.serve.sinks.webhook import SECRET, Webhook
from invad_fast.serve.subscription import Subscription

SCHEMA = json.loads((files("invad_fast") / "result.schema.json").read_text())
NEVER = threading.Event()
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@functools.cache
def sample() -> Result:
    """A result of a line."""
    import tempfile

    with (
        tempfile.TemporaryDirectory() as folder,
        Inspector(recipe(Path(folder)), Path(folder) / "l.db", engine=MAKER, in_process=True) as i,
    ):
        return i.inspect(stub.picture(200), "part 1", pixel_format="RGB8", encoder=5)


def results(count: int) -> list[Result]:
    """So many, each with its own id."""
    return [replace(sample(), id=number, part_id=f"p{number}") for number in range(1, count + 1)]


def run(outlet: Outlet, given: list[Result], capacity: int = 1000, patience: float = 10.0):
    """What became of them."""
    queue = Subscription(capacity)
    sink = Sink(outlet, queue)
    for each in given:
        queue.offer(each)
    return sink.close(patience)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---- JSON lines


def test_json_lines_of_a_line(tmp_path: Path) -> None:
    queue = Subscription(100)
    sink = Sink(JsonLines(tmp_path / "results.jsonl"), queue)
    made = recipe(tmp_path)
    with Inspector(
        made, tmp_path / "line.db", engine=MAKER, in_process=True, on_result=queue.offer
    ) as line:
        given = [
            line.inspect(stub.picture(red, does), pixel_format="RGB8")
            for red, does in ((100, 0), (200, 0), (100, stub.NAN), (100, stub.IS_B))
        ]
    state = sink.close()
    assert (state.delivered, state.lost, state.waiting, state.fault) == (4, 0, 0, "")
    rows = lines(tmp_path / "results.jsonl")
    assert rows == json.loads(json.dumps([each.row() for each in given]))
    for row in rows:
        jsonschema.validate(row, SCHEMA)


def test_json_lines_go_on_and_are_rotated(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    size = len(json.dumps(sample().row())) + 1
    given = results(25)
    for some in (given[:7], given[7:]):
        assert run(JsonLines(path, largest=5 * (size + 10), files=3), some).lost == 0
    kept = [
        *lines(tmp_path / "results.jsonl.2"),
        *lines(tmp_path / "results.jsonl.1"),
        *lines(path),
    ]
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "results.jsonl", "results.jsonl.1", "results.jsonl.2"
    ]  # fmt: skip
    ids = [row["id"] for row in kept]
    assert ids == list(range(ids[0], 26)) and len(ids) > 10
    for each in tmp_path.iterdir():
        assert each.stat().st_size <= 5 * (size + 10)
    assert run(JsonLines(path, largest=size, files=1), given).delivered == 25
    assert len(lines(path)) == 1


def test_json_lines_of_a_full_disk(tmp_path: Path) -> None:
    """No half a line stays, and it goes on when there is room."""
    outlet = JsonLines(tmp_path / "results.jsonl")
    first, second, third = results(3)
    outlet.send(first, NEVER)
    held = (tmp_path / "results.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (held + 50, before[1]))
    try:
        with pytest.raises(Undelivered, match="File too large"):
            outlet.send(second, NEVER)
        assert (tmp_path / "results.jsonl").stat().st_size == held
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    outlet.send(third, NEVER)
    outlet.close(0)
    assert [row["id"] for row in lines(tmp_path / "results.jsonl")] == [1, 3]


def test_json_lines_of_a_process_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    one, two = (json.dumps(each.row()) for each in results(2))
    path.write_text(f"{one}\n{two[:30]}")
    run(JsonLines(path), results(3)[2:])
    assert [row["id"] for row in lines(path)] == [1, 3]
    path.write_text(one[:30])
    run(JsonLines(path), results(1))
    assert [row["id"] for row in lines(path)] == [1]


def test_json_lines_that_are_moved_away(tmp_path: Path) -> None:
    """As logrotate does."""
    path = tmp_path / "results.jsonl"
    outlet = JsonLines(path)
    first, second, third = results(3)
    outlet.send(first, NEVER)
    path.rename(tmp_path / "moved")
    outlet.send(second, NEVER)
    path.unlink()
    outlet.send(third, NEVER)
    outlet.close(0)
    assert [row["id"] for row in (*lines(tmp_path / "moved"), *lines(path))] == [1, 3]


def test_json_lines_are_written_into_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "line.yaml").write_text("recipe_version: 1\n")
    (tmp_path / "half").write_text("no line's end")
    (tmp_path / "other.jsonl").write_text('{"level": "info"}\n')
    for name in ("line.yaml", "half", "other.jsonl"):
        before = (tmp_path / name).read_text()
        one_line("something else", functools.partial(JsonLines, tmp_path / name))
        assert (tmp_path / name).read_text() == before
    one_line("is a folder", lambda: JsonLines(tmp_path))
    one_line("cannot write", lambda: JsonLines(tmp_path / "no" / "folder"))


# ---- what all sinks have in common


def test_a_folder_that_goes_is_counted_and_told_once(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    outlet = JsonLines(tmp_path / "there" / "results.jsonl")
    (tmp_path / "there").rename(tmp_path / "gone")
    queue = Subscription(100)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        sink = Sink(outlet, queue)
        for each in results(5):
            queue.offer(each)
        wait_until(lambda: sink.state.lost == 5)
        assert "No such file" in sink.state.fault
        (tmp_path / "gone").rename(tmp_path / "there")
        queue.offer(sample())
        wait_until(lambda: sink.state.delivered == 1)
        assert sink.state.fault == ""
        state = sink.close()
    assert (state.delivered, state.lost, state.waiting) == (1, 5, 0)
    assert [str(each.message) for each in told if each.category is InputWarning] == [
        f"JSON lines {outlet.where}: {lost} lost: cannot write {outlet.where}: "
        "No such file or directory"
        for lost in ("1 result", "5 results")
    ]


def test_the_queue_is_bounded() -> None:
    queue = Subscription(3)
    for each in results(10):
        queue.offer(each)
    assert (queue.waiting, queue.lost) == (3, 7)
    assert [queue.get(0).id for _ in range(3)] == [1, 2, 3] and queue.get(0) is None
    queue.close()
    queue.offer(sample())
    assert queue.get(60) is None and queue.lost == 7


# ---- overlay pictures


def overlaid(folder: Path, parts: int, gib: float = 1.0, side: int = 40, **changes):
    """What became of so many rejects, and as many passes, on frames twice as wide as high."""
    queue: Subscription[Pictured] = Subscription(16)
    sink = Sink(Overlays(folder / "overlays", gib), queue)
    offered = []

    def offer(pictured: Pictured) -> None:
        if rejects(pictured):
            offered.append(pictured.result)
            queue.offer(pictured)

    with Inspector(
        recipe(folder, **changes), folder / "line.db", engine=MAKER, in_process=True,
        on_pictured=offer,
    ) as line:  # fmt: skip
        for _ in range(parts):
            for red in (100, 200):
                frame = np.full((side, 2 * side, 3), (red, 0, 0), np.uint8)
                line.inspect(frame, pixel_format="RGB8")
            wait_until(lambda: not queue.waiting)
    return offered, sink.close()


def test_overlays(tmp_path: Path) -> None:
    offered, state = overlaid(tmp_path, 3)
    assert (state.delivered, state.lost, state.fault) == (3, 0, "")
    found = sorted((tmp_path / "overlays").rglob("*.*"))
    day = time.strftime("%Y-%m-%d", time.gmtime(offered[0].decided_at / 1e6))
    assert [each.relative_to(tmp_path / "overlays").as_posix() for each in found] == [
        f"{day}/{each.id:010d}-0.jpg" for each in offered
    ]
    with Image.open(found[0]) as picture:
        assert picture.size == (80, 40)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert abs(pixels[20, 40] - (200, 0, 0)).max() > 40  # the map lies over it


def test_overlays_of_large_frames(tmp_path: Path) -> None:
    overlaid(tmp_path, 1, side=1000)
    with Image.open(next((tmp_path / "overlays").rglob("*.jpg"))) as picture:
        assert picture.size == (1280, 640)


def test_overlays_have_a_quota(tmp_path: Path) -> None:
    first, _ = overlaid(tmp_path, 4)
    folder = tmp_path / "overlays"
    size = max(each.stat().st_size for each in folder.rglob("*.jpg"))
    old = folder / "2020-01-01"
    old.mkdir()
    (old / "0000000001-0.jpg").write_bytes(bytes(size))
    (folder / "notes.jpg").write_text("mine")
    (old / "holiday.jpg").write_text("mine")
    last, state = overlaid(tmp_path, 3, gib=4.5 * size / 2**30)
    assert state.delivered == 3 and state.lost == 0
    left = sorted(each.name for each in folder.rglob("*.jpg"))
    expected = [f"{each.id:010d}-0.jpg" for each in (*first, *last)[-4:]]
    assert left == sorted([*expected, "notes.jpg", "holiday.jpg"])


def test_overlays_of_a_full_disk(tmp_path: Path) -> None:
    """A folder whose name is taken by a file: nothing can be written, no result is delayed."""
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / time.strftime("%Y-%m-%d", time.gmtime())).write_text("a file")
    with pytest.warns(InputWarning, match="overlay pictures .* lost"):
        offered, state = overlaid(tmp_path, 2)
    assert (state.delivered, state.lost) == (0, 2) and len(offered) == 2
    one_line(
        "is a file", lambda: Overlays(tmp_path / "overlays" / os.listdir(tmp_path / "overlays")[0])
    )


# ---- MQTT


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Broker:
    """A mosquitto on the loopback interface."""

    def __init__(self, port: int, folder: Path, *more: str) -> None:
        found = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
        if found is None:
            pytest.skip("no MQTT broker: apt-get install mosquitto")
        self.port, self._file = port, folder / "mosquitto.conf"
        more = more or ("allow_anonymous true",)
        user = f"user {os.environ.get('USER', 'root')}"  # it would become another's
        self._file.write_text("\n".join((f"listener {port} 127.0.0.1", user, *more)) + "\n")
        self._words = [found, "-c", str(self._file)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(how)
        self.process.wait()


@pytest.fixture
def broker(port: int, tmp_path: Path) -> Iterator[Broker]:
    made = Broker(port, tmp_path)
    yield made
    made.stop()


@contextmanager
def subscribed(port: int, topic: str = "plant/line/#") -> Iterator[list]:
    """(topic, payload) of what comes."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    came: list[tuple[str, str]] = []
    ready = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, f"reader-{secrets.token_hex(4)}", False)
    client.on_connect = lambda *_: client.subscribe(topic, qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda *given: came.append((given[2].topic, given[2].payload.decode()))
    client.connect_async("127.0.0.1", port)
    client.loop_start()
    try:
        assert ready.wait(30)
        yield came
    finally:
        client.disconnect()
        client.loop_stop()


def ids(came: list[tuple[str, str]]) -> list[int]:
    return [json.loads(payload)["id"] for topic, payload in came if topic == "plant/line"]


def states(came: list[tuple[str, str]]) -> list[str]:
    return [payload for topic, payload in came if topic == "plant/line/state"]


def test_mqtt(broker: Broker) -> None:
    given = results(200)
    with subscribed(broker.port) as came:
        state = run(Mqtt(f"mqtt://127.0.0.1:{broker.port}/plant/line"), given)
        assert (state.delivered, state.lost, state.fault) == (200, 0, "")
        wait_until(lambda: len(came) == 202)
    assert ids(came) == list(range(1, 201)) and states(came) == ["online", "offline"]
    row = next(json.loads(payload) for topic, payload in came if topic == "plant/line")
    jsonschema.validate(row, SCHEMA)
    assert row == json.loads(json.dumps(given[0].row()))
    with subscribed(broker.port) as late:
        wait_until(lambda: late == [("plant/line/state", "offline")])


_STATION = """
import sys, time
from invad_fast.serve.sinks.mqtt import Mqtt
Mqtt(sys.argv[1])
time.sleep(600)
"""


def test_mqtt_last_will(broker: Broker) -> None:
    """A station that is killed says nothing: the broker does."""
    url = f"mqtt://127.0.0.1:{broker.port}/plant/line"
    with subscribed(broker.port) as came:
        station = subprocess.Popen([sys.executable, "-c", _STATION, url])
        wait_until(lambda: states(came) == ["online"])
        station.kill()
        station.wait()
        wait_until(lambda: states(came) == ["online", "offline"])


def test_mqtt_broker_that_is_started_late_and_again(port: int, tmp_path: Path) -> None:
    queue = Subscription(1000)
    sink = Sink(Mqtt(f"mqtt://127.0.0.1:{port}/plant/line"), queue)
    given = results(150)
    for each in given[:50]:
        queue.offer(each)
    wait_until(lambda: "Connection refused" in sink.state.fault)
    assert sink.state.delivered == 0 and sink.state.waiting == 50
    keeps = ("persistence true", f"persistence_location {tmp_path}/", "allow_anonymous true")
    broker = Broker(port, tmp_path, *keeps)
    with subscribed(port) as came:
        wait_until(lambda: sink.state.delivered == 50)
        assert sink.state.fault == ""
        broker.stop(signal.SIGTERM)  # it keeps who had subscribed
        for each in given[50:]:
            queue.offer(each)
        wait_until(lambda: "lost" in sink.state.fault or "reach" in sink.state.fault)
        broker.start()
        wait_until(lambda: sink.state.delivered == 150)
        wait_until(lambda: set(ids(came)) >= set(range(51, 151)))
    state = sink.close()
    broker.stop()
    assert (state.delivered, state.lost) == (150, 0)


def test_a_stalled_broker_delays_no_result(broker: Broker, tmp_path: Path) -> None:
    queue = Subscription(30)
    sink = Sink(Mqtt(f"mqtt://127.0.0.1:{broker.port}/plant/line"), queue)
    wait_until(lambda: sink.state.fault == "")
    broker.process.send_signal(signal.SIGSTOP)
    with (
        pytest.warns(InputWarning, match=r"MQTT 127.0.0.1:\d+/plant/line: \d+ results lost"),
        Inspector(
            recipe(tmp_path), tmp_path / "line.db", engine=MAKER, in_process=True,
            on_result=queue.offer,
        ) as line,
    ):  # fmt: skip
        for _ in range(100):
            line.inspect(stub.picture(100), pixel_format="RGB8")
        assert line.accounts.decided == 100
        wait_until(lambda: sink.state.lost + sink.state.waiting == 100)
        assert sink.state.waiting <= 51 and sink.state.fault
        broker.process.send_signal(signal.SIGCONT)
        wait_until(lambda: sink.state.waiting == 0)
        state = sink.close()
    assert state.delivered + state.lost == 100 and state.delivered >= 50 and state.lost


def test_mqtt_at_the_end(broker: Broker) -> None:
    """What a stalled broker did not confirm in time is lost, and told."""
    queue = Subscription(100)
    sink = Sink(Mqtt(f"mqtt://127.0.0.1:{broker.port}/plant/line"), queue)
    wait_until(lambda: sink.state.fault == "")
    broker.process.send_signal(signal.SIGSTOP)
    for each in results(30):
        queue.offer(each)
    with pytest.warns(InputWarning, match="30 results lost"):
        state = sink.close(0.5)
    broker.process.send_signal(signal.SIGCONT)
    assert (state.delivered, state.lost, state.waiting) == (0, 30, 0)


def test_mqtt_password(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("no mosquitto_passwd: apt-get install mosquitto")
    subprocess.run([tool, "-c", "-b", tmp_path / "users", "line", "right"], check=True)
    broker = Broker(port, tmp_path, "allow_anonymous false", f"password_file {tmp_path / 'users'}")
    url = f"mqtt://line@127.0.0.1:{port}/plant/line"
    (tmp_path / "secret").write_text("right\n")
    monkeypatch.setenv(f"{PASSWORD}_FILE", str(tmp_path / "secret"))
    assert run(Mqtt(url), results(3)).delivered == 3
    monkeypatch.delenv(f"{PASSWORD}_FILE")
    monkeypatch.setenv(PASSWORD, "wrong")
    with pytest.warns(InputWarning, match="3 results lost"):
        state = run(Mqtt(url), results(3), patience=1.0)
    broker.stop()
    assert state.lost == 3 and state.fault == "the broker refuses: Not authorized"


WRONG_BROKERS = {
    "http://host/topic": "mqtt://",
    "mqtt://host": "a topic",
    "mqtt://host/": "a topic",
    "mqtt:///topic": "mqtt://",
    "mqtt://host/a/#": "a topic",
    "mqtt://host/a/+/b": "a topic",
    "mqtt://host:x/topic": "mqtt://",
    "mqtt://host:99999/topic": "mqtt://",
    "mqtt://user:secret@host/topic": "no password",
}


@pytest.mark.parametrize("url", WRONG_BROKERS)
def test_wrong_brokers(url: str) -> None:
    assert "secret" not in one_line(WRONG_BROKERS[url], lambda: Mqtt(url))


# ---- webhook


class Receiver(http.server.ThreadingHTTPServer):
    """Takes what is signed as it should be; answers as it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.taken: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.answers: list[int] = []  # the next ones; then 204
        self.hold = threading.Event()
        self.hold.set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/results"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        from standardwebhooks.webhooks import Webhook as Verifier

        body = self.rfile.read(int(self.headers["content-length"]))
        row = Verifier(KEY).verify(body, dict(self.headers.items()))  # raises where it is not
        self.server.hold.wait()
        self.server.ids.append(self.headers["webhook-id"])
        status = self.server.answers.pop(0) if self.server.answers else 204
        if status < 300:
            self.server.taken.append(row)
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    pytest.importorskip("standardwebhooks", reason="pip install standardwebhooks")
    monkeypatch.setenv(SECRET, KEY)
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.hold.set()
        server.shutdown()


def test_webhook(receiver: Receiver) -> None:
    given = results(20)
    state = run(Webhook(receiver.url, "station 1"), given)
    assert (state.delivered, state.lost, state.fault) == (20, 0, "")
    assert receiver.taken == json.loads(json.dumps([each.row() for each in given]))
    assert len(set(receiver.ids)) == 20


def test_webhook_is_tried_again(receiver: Receiver) -> None:
    receiver.answers += [500, 503, 429, 204, 408]
    state = run(Webhook(receiver.url, "s", pause=0.01), results(2))
    assert (state.delivered, state.lost) == (2, 0) and len(receiver.taken) == 2
    assert len(receiver.ids) == 6 and len(set(receiver.ids)) == 2  # the same result, the same id


def test_webhook_gives_up(receiver: Receiver) -> None:
    receiver.answers += [500] * 3
    with pytest.warns(InputWarning, match="1 result lost: it answers 500"):
        state = run(Webhook(receiver.url, "s", tries=3, pause=0.01), results(2))
    assert (state.delivered, state.lost, state.fault) == (1, 1, "")
    assert [row["id"] for row in receiver.taken] == [2]


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404])
def test_webhook_does_not_repeat_what_is_refused(receiver: Receiver, status: int) -> None:
    receiver.answers += [status]
    with pytest.warns(InputWarning, match=f"it answers {status}"):
        state = run(Webhook(receiver.url, "s"), results(2))
    assert (state.delivered, state.lost) == (1, 1) and len(receiver.ids) == 2


def test_webhook_without_a_server(receiver: Receiver, port: int) -> None:
    with pytest.warns(InputWarning, match="Connection refused"):
        state = run(Webhook(f"http://127.0.0.1:{port}/", "s", tries=2, pause=0.01), results(2))
    assert (state.delivered, state.lost) == (0, 2)


def test_a_stalled_webhook_delays_no_result(receiver: Receiver, tmp_path: Path) -> None:
    receiver.hold.clear()
    queue = Subscription(10)
    sink = Sink(Webhook(receiver.url, "s"), queue)
    with Inspector(
        recipe(tmp_path), tmp_path / "line.db", engine=MAKER, in_process=True,
        on_result=queue.offer,
    ) as line:  # fmt: skip
        for _ in range(100):
            line.inspect(stub.picture(100), pixel_format="RGB8")
        assert line.accounts.decided == 100
    wait_until(lambda: sink.state.lost + sink.state.waiting == 100)
    assert sink.state.waiting <= 11 and sink.state.fault == "it does not keep up"
    receiver.hold.set()
    with pytest.warns(InputWarning, match="results lost"):
        state = sink.close()
    assert state.delivered == len(receiver.taken) and state.delivered + state.lost == 100


def test_a_webhook_that_hangs_at_the_end(receiver: Receiver) -> None:
    receiver.hold.clear()
    started = time.monotonic()
    with pytest.warns(InputWarning, match="5 results lost"):
        state = run(Webhook(receiver.url, "s"), results(5), patience=0.3)
    assert (state.delivered, state.lost, state.waiting) == (0, 5, 0)
    assert time.monotonic() - started < 8


WRONG_SECRETS = {
    "none": (None, "a webhook is signed"),
    "empty": ("", "is empty"),
    "no prefix": ("c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "must be whsec_"),
    "short": ("whsec_c2VjcmV0", "24 to 64 bytes"),
    "no base64": ("whsec_***", "24 to 64 bytes"),
}


@pytest.mark.parametrize("name", WRONG_SECRETS)
def test_wrong_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value, why = WRONG_SECRETS[name]
    if value is None:
        monkeypatch.delenv(SECRET, raising=False)
    else:
        monkeypatch.setenv(SECRET, value)
    line = one_line(why, lambda: Webhook("https://host/", "s"))
    assert not value or value not in line


def test_secrets_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    monkeypatch.setenv(f"{SECRET}_FILE", str(tmp_path / "key"))
    Webhook("https://host/", "s").close(0)
    monkeypatch.setenv(SECRET, KEY)
    one_line("not both", lambda: Webhook("https://host/", "s"))
    monkeypatch.delenv(SECRET)
    monkeypatch.setenv(f"{SECRET}_FILE", str(tmp_path / "none"))
    one_line("cannot read", lambda: Webhook("https://host/", "s"))
    (tmp_path / "key").write_text("\n")
    monkeypatch.setenv(f"{SECRET}_FILE", str(tmp_path / "key"))
    one_line("is empty", lambda: Webhook("https://host/", "s"))


@pytest.mark.parametrize("url", ["ftp://host/", "host/path", "https:///path", "https://u:p@host/"])
def test_wrong_webhooks(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, KEY)
    one_line("webhook's address", lambda: Webhook(url, "s"))
