"""Real counterparts of the sinks on the loopback interface, and results for them."""

import functools
import http.server
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stub_engine as stub
from line_recipe import MAKER, recipe

from invad_fast.inspection import Inspector, Result
from invad_fast.serve.sinks.outlet import Outlet
from invad_fast.serve.sinks.sink import Sink
from invad_fast.serve.subscription import Subscription

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


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def listening() -> Iterator[Receiver]:
    """A receiver at work; what it takes is signed with KEY."""
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.hold.set()
            server.shutdown()
