"""HTTP requests that are right, nearly right, or none; what each was answered, and the ledger."""

import contextlib
import io
import json
import random
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPException, HTTPResponse
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import jsonschema
from PIL import Image
from served_station import BAD, GOOD, Served, png
from soak.damage import any_value, damaged
from stub_engine import NAN, RAISES, picture

from invad_fast.inspection.ledger.reading import reading
from invad_fast.serve.client import Client
from invad_fast.serve.doors import Limits

LIMITS = Limits(most_bytes=100_000, most_pixels=10_000, seconds=2.0, rate=1e6, connections=500)
CALLERS = 4  # at once
_ANSWER = 60.0  # seconds
_PATHS = ("/inspect", "/parts/1", "/parts/-1", "/parts/1e9", "/totals", "/state", "/recipe",
          "/session", "/healthz", "/readyz", "/metrics", "/results", "/openapi.json", "/",
          "/../../etc/passwd", "/parts/..%2f..%2fetc%2fpasswd", "//inspect", "/inspect/", "*",
          "/parts/" + "9" * 400, "/%00", "/\xff", "/docs")  # fmt: skip
_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE")


@dataclass
class Tally:
    """What callers were answered.

    Attributes:
        outcomes: how often which status, in a few words.
        parts: id → verdict of every part that an answer told of.
        unread: requests whose answer nobody read, each of which may have left a part.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    parts: dict[int, str] = field(default_factory=dict)
    unread: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def fuzz(line: Served, token: str, seed: int, requests: int) -> Tally:
    """Sends so many from a few callers at once; between them an honest client gets its verdict.

    Raises:
        AssertionError: for an answer that is no clear one.
    """
    tally, failures = Tally(), []

    def call(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        try:
            with _Caller(line, token, rng, tally) as caller, Client(line.url, token) as honest:
                for n in range(requests // CALLERS):
                    caller.request()
                    if n % 25 == 24:
                        _ask_honestly(honest, tally, rng)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(CALLERS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if failures:
        raise failures[0]
    return tally


def check_ledger(ledger: Path, tally: Tally, after: int) -> int:
    """Every part that was told of is in it with that verdict; of others, no more than unread ones.

    Args:
        after: id of the last part before the fuzzing.

    Returns:
        id of its last part.
    """
    with reading(ledger) as connection:
        rows = connection.execute("SELECT id, verdict FROM parts WHERE id > ?", (after,)).fetchall()
    held = {row["id"]: row["verdict"] for row in rows}
    assert None not in held.values(), "a part without a verdict"
    told = {id_: held.get(id_) for id_ in tally.parts}
    assert told == tally.parts
    assert len(held) <= len(tally.parts) + tally.unread, "parts that nobody asked for"
    return max(held, default=after)


def _ask_honestly(honest: Client, tally: Tally, rng: random.Random) -> None:
    bad = rng.random() < 0.5
    row = honest.inspect(BAD if bad else GOOD, "honest")
    assert row["verdict"] == ("REJECT" if bad else "PASS"), row
    assert honest.part(row["id"])["verdict"] == row["verdict"]
    _told(tally, row, "an honest client's parts")


class _Caller:
    """Sends strange requests, over one connection for as long as the service keeps it."""

    def __init__(self, line: Served, token: str, rng: random.Random, tally: Tally) -> None:
        self._line, self._token, self._rng, self._tally = line, token, rng, tally
        self._socket: socket.socket | None = None
        self._slow: list[socket.socket] = []

    def __enter__(self) -> "_Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()
        for each in self._slow:
            each.close()

    def request(self) -> None:
        """One of any kind."""
        kinds = (
            *(self._inspect, self._inspect, self._raw, self._form, self._json, self._anywhere),
            *(self._stranger, self._broken, self._leave, self._slow_one, self._listen),
        )
        self._rng.choice(kinds)()

    def _inspect(self) -> None:
        rng = self._rng
        content = rng.choice(_images())
        kind = rng.randrange(8)
        if kind < 4:
            content = damaged(content, rng)
        elif kind == 4:
            content = rng.randbytes(rng.choice((0, 1, 100, 5000)))
        elif kind == 5:
            content += rng.randbytes(LIMITS.most_bytes)
        elif kind == 6:
            content = png(picture(200, rng.choice((RAISES, NAN))))
        self._ask("POST", f"/inspect{self._query()}", content)

    def _raw(self) -> None:
        rng = self._rng
        name = rng.choice(("RGB8", "BGR8", "Mono8", "Mono12p", "YUV422_8", "RGB9", "", "../x"))
        size = rng.choice(("8", "8", "8", "0", "-1", "1e3", "4096", "9" * 30, "x"))
        query = f"?pixel_format={quote(name)}&width={size}&height=8"
        self._ask("POST", f"/inspect{query}", bytes(rng.choice((64, 96, 128, 192, 192, 193))))

    def _form(self) -> None:
        rng = self._rng
        name = rng.choice(("image", "image", "image", "other", "", "x" * 3000))
        file = rng.choice(("a.png", "../../x", "<b>.png", '"', "\r\n", ""))
        part = f'--edge\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n\r\n'
        content = part.encode() * rng.choice((1, 1, 1, 3)) + GOOD + b"\r\n--edge--\r\n"
        if rng.random() < 0.6:
            content = damaged(content, rng)
        edge = rng.choice(("edge", "edge", "edge", "other", "", "x" * 300))
        kind = f"multipart/form-data; boundary={edge}"
        self._ask("POST", "/inspect", content, {"Content-Type": kind})

    def _json(self) -> None:
        rng = self._rng
        method, path = rng.choice((("PUT", "/recipe"), ("POST", "/session")))
        fields = ("name", "password", "x")
        value = {each: any_value(rng) for each in fields if rng.random() < 0.8}
        content = json.dumps(value if rng.random() < 0.8 else any_value(rng)).encode()
        if rng.random() < 0.3:
            content = damaged(content, rng)
        self._ask(method, path, content, {"Content-Type": "application/json"})

    def _anywhere(self) -> None:
        rng = self._rng
        method, path = rng.choice(_METHODS), rng.choice(_PATHS)
        content = b"" if method in ("GET", "HEAD") else rng.choice((b"", GOOD, rng.randbytes(30)))
        self._ask(method, path + (self._query() if path != "*" else ""), content)

    def _stranger(self) -> None:
        """With another name, from another page, or with another's credentials."""
        wrong = {
            "Host": ("evil.example", "", "localhost:x", "[::1", "localhost@evil.example"),
            "Origin": ("http://evil.example", "null", "http://[", "http://localhost:1"),
            "Authorization": ("Bearer ", "Basic x", f"Bearer {self._token}x", "Bearer \xff", ""),
        }
        name = self._rng.choice(list(wrong))
        headers = {name: self._rng.choice(wrong[name])}
        told = self._ask("POST", "/inspect", GOOD, headers)
        assert told is None or told in (400, 401, 403, 421), (headers, told)

    def _broken(self) -> None:
        """Bytes that are no request, or not the one that its length says."""
        rng = self._rng
        whole = self._head("POST", "/inspect", {"Content-Length": str(len(GOOD))}) + GOOD
        kind = rng.randrange(4)
        if kind == 0:
            whole = rng.randbytes(rng.choice((1, 30, 3000)))
        elif kind == 1:
            whole = damaged(whole, rng)
        elif kind == 2:
            length = rng.choice(("-1", "x", "0x10", "9" * 30, "1, 2", "", "+8", "\xb2"))
            whole = self._head("POST", "/inspect", {"Content-Length": length}) + GOOD
        else:
            chunks = damaged(b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD), rng)
            whole = self._head("POST", "/inspect", {"Transfer-Encoding": "chunked"}) + chunks
        self._tally.unread += 1
        with self._connected() as own, contextlib.suppress(ConnectionError, TimeoutError):
            own.settimeout(0.02)
            own.sendall(whole)
            self._came("broken requests", own.recv(100)[9:12].decode("latin-1"))

    def _leave(self) -> None:
        """Goes before the answer, or in the middle of the body."""
        rng = self._rng
        whole = self._head("POST", "/inspect", {"Content-Length": str(len(GOOD))}) + GOOD
        if rng.random() < 0.5:
            whole = whole[: rng.randrange(len(whole))]
        with self._connected() as own, contextlib.suppress(ConnectionError):
            own.sendall(whole)
            if rng.random() < 0.5:  # the other side is told by a reset
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._tally.unread += 1
        self._came("clients that went")

    def _slow_one(self) -> None:
        """Holds a connection open while it says almost nothing."""
        own = self._connected()
        with contextlib.suppress(ConnectionError):
            head = self._head("POST", "/inspect", {"Content-Length": str(len(GOOD))}) + GOOD[:5]
            own.sendall(head[: self._rng.randrange(len(head) + 1)])
        self._slow.append(own)
        if len(self._slow) > 20:
            self._slow.pop(0).close()
        self._came("slow clients")

    def _listen(self) -> None:
        """A WebSocket of results, whose messages are odd."""
        rng = self._rng
        asked = {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }  # fmt: skip
        if rng.random() < 0.3:
            asked[rng.choice(list(asked))] = rng.choice(("", "x", "9" * 99))
        if rng.random() < 0.2:
            asked["Authorization"] = "Bearer x"
        with self._connected() as own, contextlib.suppress(ConnectionError):
            own.sendall(self._head("GET", "/results", asked))
            status = own.recv(12)[9:12].decode("latin-1")
            assert not status.startswith("5"), (asked, status)
            for _ in range(rng.randrange(4)):
                own.sendall(rng.randbytes(rng.choice((1, 2, 20, 2000))))
            self._came("sockets", status)

    def _query(self) -> str:
        rng = self._rng
        odd = ("", "x", "<script>alert(1)</script>", "é\u202e", "\0", "../../x", "-1", "9" * 40,
               "NaN", "x" * 1001, "line", "1", "' OR 1=1 --")  # fmt: skip
        names = ("part_id", "recipe", "encoder", "since", "until", "width", "odd")
        given = {each: rng.choice(odd) for each in names if rng.random() < 0.15}
        return "?" + "&".join(f"{name}={quote(value)}" for name, value in given.items())

    def _ask(
        self, method: str, target: str, content: bytes, headers: dict[str, str] | None = None
    ) -> int | None:
        """The status of a request that is HTTP; None where the service cut off its sending."""
        asked = f"{method} {target}"[:200]
        if self._socket is None:
            self._socket = self._connected()
        head = self._head(method, target, {"Content-Length": str(len(content))} | (headers or {}))
        try:
            self._socket.sendall(head + content)
            answer = HTTPResponse(self._socket, method=method)
            answer.begin()
            body = answer.read()
        except (ConnectionError, HTTPException):
            # What is too large is refused before it is read, and the answer may be lost by that.
            assert len(content) > LIMITS.most_bytes, f"{asked}: the connection was cut"
            self._hang_up()
            self._came("cut off, for too much")
            return None
        if answer.will_close:
            self._hang_up()
        self._check(asked, answer, body)
        return answer.status

    def _check(self, asked: str, answer: HTTPResponse, body: bytes) -> None:
        status, where = answer.status, f"{asked}: {answer.status} {body[:300]!r}"
        self._came("answers", str(status))
        assert 200 <= status < 500 or (status == 503 and "/readyz" in asked), where
        if asked.startswith("HEAD") or body == b"Invalid HTTP request received.":
            return
        if answer.headers.get_content_type() != "application/json":
            assert status == 200 and "/metrics" in asked, where
            return
        held = json.loads(body)
        if 400 <= status < 500:
            line = held.get("error")
            assert line and "\n" not in line and "Traceback" not in line, where
            assert "/proc" not in line and len(line) < 1500, where
        row = held.get("result", held) if asked.startswith("POST /inspect") else {}
        if "verdict" in row:
            _validator().validate(row)
            _told(self._tally, row, "parts")

    def _head(self, method: str, target: str, headers: dict[str, str]) -> bytes:
        held = {"Host": f"localhost:{self._line.port}", "Authorization": f"Bearer {self._token}"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in (held | headers).items())
        return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._line.port), _ANSWER)

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _came(self, what: str, status: str = "") -> None:
        with self._tally.lock:
            self._tally.outcomes[f"{what} {status}".strip()] += 1


def _told(tally: Tally, row: dict, what: str) -> None:
    with tally.lock:
        assert row["id"] not in tally.parts, "one part, two answers"
        tally.parts[row["id"]] = row["verdict"]
        tally.outcomes[f"{what} {row['verdict']}"] += 1


@cache
def _images() -> tuple[bytes, ...]:
    made = [GOOD, BAD]
    for kind in ("JPEG", "TIFF", "BMP", "GIF", "WEBP"):
        held = io.BytesIO()
        Image.fromarray(picture(200)).save(held, kind)
        made.append(held.getvalue())
    return tuple(made)


@cache
def _validator() -> jsonschema.protocols.Validator:
    text = (files("invad_fast") / "result.schema.json").read_text(encoding="utf-8")
    return jsonschema.validators.validator_for(json.loads(text))(json.loads(text))
