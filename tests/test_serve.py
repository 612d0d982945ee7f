"""The station over HTTP: parts in, results out, each in the ledger; what is no picture is a 4xx."""

import io
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import httpx
import jsonschema
import numpy as np
import pytest
from fuzzed_http import LIMITS, check_ledger, fuzz
from PIL import Image
from served_station import BAD, GOOD, Served, png, served
from stub_engine import IS_SLOW, NAN, RAISES, picture
from websockets.sync.client import connect

from invad_fast.errors import InputError
from invad_fast.serve.client import Client
from invad_fast.serve.doors import Limits
from invad_fast.serve.request_frame import raw_frame
from invad_fast.serve.users import Users

SCHEMA = json.loads((files("invad_fast") / "result.schema.json").read_text())


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as station:
        yield station


def post(line: Served, content: bytes, **query: object) -> httpx.Response:
    return httpx.post(f"{line.url}/inspect", params=query, content=content, timeout=30)


def test_a_part_has_one_verdict_and_its_row(line: Served) -> None:
    answer = post(line, BAD, part_id="Ü/<b>1</b>", encoder=-7)
    row = answer.json()
    assert answer.status_code == 200
    jsonschema.validate(row, SCHEMA)
    assert (row["verdict"], row["part_id"], row["encoder"]) == ("REJECT", "Ü/<b>1</b>", -7)
    assert row["regions"]
    held = httpx.get(f"{line.url}/parts/{row['id']}").json()
    assert (held["verdict"], held["part_id"]) == ("REJECT", "Ü/<b>1</b>")
    assert post(line, GOOD).json()["verdict"] == "PASS"
    totals = httpx.get(f"{line.url}/totals").json()
    assert (totals["triggered"], totals["passed"], totals["rejected"]) == (2, 1, 1)
    assert httpx.get(f"{line.url}/parts/999").status_code == 404
    assert httpx.get(f"{line.url}/parts/-1").status_code == 404
    assert httpx.get(f"{line.url}/parts/{10**30}").status_code in (404, 422)


def test_every_way_to_send_a_picture_has_the_same_score(line: Served) -> None:
    pixels = picture(200)
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "TIFF")
    scores = [post(line, BAD).json()["score"], post(line, jpeg.getvalue()).json()["score"]]
    form = httpx.post(f"{line.url}/inspect", files={"image": ("x.png", BAD)})
    raw = {"width": 8, "height": 8}
    scores += [form.json()["score"]]
    scores += [post(line, pixels.tobytes(), pixel_format="RGB8", **raw).json()["score"]]
    bgr = pixels[..., ::-1].tobytes()
    scores += [post(line, bgr, pixel_format="BGR8", **raw).json()["score"]]
    with Client(line.url) as client:
        scores += [client.inspect(pixels)["score"], client.inspect(BAD)["score"]]
    assert len(set(scores)) == 1


@pytest.mark.parametrize(
    "name, width, expected",
    [("Mono8", 4, (2, 4)), ("Mono16", 4, (2, 4)), ("BayerRG8", 4, (2, 4)),
     ("YUV422_8", 4, (2, 4, 2)), ("BGRa8", 4, (2, 4, 4)),
     ("Mono12p", 4, (2, 6)), ("Mono10p", 4, (2, 5))],
)  # fmt: skip
def test_raw_frames_have_their_formats_shape(name: str, width: int, expected: tuple) -> None:
    size = int(np.prod(expected)) * (2 if name == "Mono16" else 1)
    assert raw_frame(bytes(size), name, width, 2).shape == expected
    with pytest.raises(InputError, match=f"are {size} bytes, not {size + 1}"):
        raw_frame(bytes(size + 1), name, width, 2)


def test_what_is_no_picture_is_told_and_counted(line: Served) -> None:
    damaged = GOOD[: len(GOOD) // 2]
    for content in (damaged, b"no image", b"\x89PNG\r\n\x1a\n"):
        answer = post(line, content, part_id="x")
        assert answer.status_code == 422 and "/proc" not in answer.text
        row = answer.json()["result"]
        assert (row["verdict"], row["reason"].split(":")[0]) == ("NOT_INSPECTED", "damaged frame")
    for query, status, told in (
        ({"pixel_format": "RGB9", "width": 8, "height": 8}, 400, "no pixel format 'RGB9'"),
        ({"pixel_format": "RGB8", "width": 8, "height": 9}, 400, "are 216 bytes, not"),
        ({"pixel_format": "RGB8"}, 400, "needs width and height"),
        ({"pixel_format": "RGB8", "width": "x", "height": 9}, 422, "width: "),
        ({"pixel_format": "RGB8", "width": 10**6, "height": 10**6}, 413, "pixels"),
        ({"recipe": "other"}, 400, "no recipe 'other'"),
        ({"part_id": "x" * 1001}, 422, "part_id: "),
        ({"encoder": 2**70}, 422, "encoder: "),
    ):
        answer = post(line, GOOD, **query)
        assert answer.status_code == status and told in answer.json()["error"], answer.text
    assert post(line, b"").status_code == 400
    empty = httpx.post(f"{line.url}/inspect", files={"other": ("x.png", BAD)})
    assert empty.status_code == 400 and "`image`" in empty.json()["error"]
    totals = httpx.get(f"{line.url}/totals").json()
    assert totals["triggered"] == totals["not_inspected"] == 3 and totals["open"] == 0


def test_an_engine_that_fails_is_a_verdict_too(line: Served) -> None:
    for does in (RAISES, NAN):
        answer = post(line, png(picture(100, does)))
        assert answer.status_code == 200 and answer.json()["verdict"] == "NOT_INSPECTED"


def test_limits_are_told_and_leave_no_part(tmp_path: Path) -> None:
    limits = Limits(most_bytes=5000, most_pixels=100, seconds=0.5, rate=20, connections=3)
    with served(tmp_path, limits=limits) as line:
        large = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        assert post(line, png(large)).status_code == 413
        bomb = post(line, png(np.zeros((200, 200, 3), np.uint8)))
        assert bomb.status_code == 413 and "200×200" in bomb.json()["error"]
        # Without a length that says so: it is cut off on its way.
        chunked = httpx.post(f"{line.url}/inspect", content=iter([bytes(3000)] * 9))
        assert chunked.status_code == 413
        with socket.create_connection(("127.0.0.1", line.port)) as slow:
            slow.sendall(
                b"POST /inspect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nx"
            )
            assert b" 408 " in slow.recv(1000)
        with socket.create_connection(("127.0.0.1", line.port)) as gone:
            gone.sendall(
                b"POST /inspect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nx"
            )
        assert httpx.get(f"{line.url}/totals").json()["triggered"] == 0
        time.sleep(1)
        with httpx.Client() as client:
            codes = [client.get(f"{line.url}/healthz").status_code for _ in range(400)]
        assert codes[0] == 200 and codes[-1] == 429


def test_malformed_http_disturbs_nobody(line: Served) -> None:
    for rubbish in (
        b"\x00\xff" * 100,
        b"GET\r\n\r\n",
        b"POST /inspect HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"x" * 70000,
    ):
        with socket.create_connection(("127.0.0.1", line.port)) as other:
            other.settimeout(10)
            other.sendall(rubbish)
            other.shutdown(socket.SHUT_WR)
            other.recv(1000)
    assert post(line, GOOD).json()["verdict"] == "PASS"


def test_a_client_that_leaves_leaves_a_whole_part(line: Served) -> None:
    content = png(picture(100, IS_SLOW))
    head = f"POST /inspect HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", line.port)) as gone:
        gone.sendall(head.encode() + content)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        totals = httpx.get(f"{line.url}/totals").json()
        if totals["triggered"] == totals["passed"] == 1:
            return
        time.sleep(0.05)
    raise AssertionError(totals)


def test_results_arrive_as_they_are_decided(line: Served) -> None:
    with connect(f"ws://127.0.0.1:{line.port}/results") as socket_:
        time.sleep(0.2)
        sent = [post(line, GOOD, part_id=str(n)).json()["id"] for n in range(5)]
        rows = [json.loads(socket_.recv(timeout=20)) for _ in range(5)]
    assert [row["id"] for row in rows] == sent
    jsonschema.validate(rows[0], SCHEMA)


def test_a_listener_that_reads_nothing_delays_nobody(line: Served) -> None:
    with connect(f"ws://127.0.0.1:{line.port}/results", max_queue=1) as idle:
        for _ in range(50):
            assert post(line, BAD).status_code == 200
        assert idle is not None
    assert post(line, GOOD).status_code == 200


def test_many_at_once_are_all_accounted_for(line: Served) -> None:
    codes: list[int] = []

    def send(number: int) -> None:
        with httpx.Client() as client:
            for n in range(20):
                url = f"{line.url}/inspect?part_id={number}-{n}"
                codes.append(client.post(url, content=GOOD, timeout=60).status_code)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    totals = httpx.get(f"{line.url}/totals").json()
    assert codes == [200] * 80 and totals["passed"] == totals["triggered"] == 80
    text = httpx.get(f"{line.url}/metrics").text
    assert 'verdict="PASS"' in text and "invad_fast_parts_total{" in text and "80.0" in text
    assert "invad_fast_latency_seconds_bucket" in text and "invad_fast_ready" in text


def test_readiness_and_the_description(line: Served) -> None:
    assert httpx.get(f"{line.url}/readyz").json() == {"ready": True, "faults": []}
    line.station.watch(lambda: ["camera (view 0): unplugged"])
    answer = httpx.get(f"{line.url}/readyz")
    assert answer.status_code == 503 and "unplugged" in answer.json()["faults"][0]
    described = httpx.get(f"{line.url}/openapi.json").json()
    assert {"/inspect", "/parts/{id}", "/totals", "/metrics"} <= set(described["paths"])
    assert "image/*" in described["paths"]["/inspect"]["post"]["requestBody"]["content"]


def test_the_service_imports_no_torch() -> None:
    code = (
        "import sys, invad_fast.serve.app, invad_fast.serve.station, invad_fast.serve.server\n"
        "import invad_fast.cli.serve, invad_fast.data.images\n"
        "print('torch' in sys.modules or 'timm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_fuzzed_requests(tmp_path: Path) -> None:
    """The short form of `soak/test_http.py`."""
    users = Users(tmp_path / "users.json")
    users.add("olga", "operator", "correct horse battery")
    with served(tmp_path, users, LIMITS) as line:
        tally = fuzz(line, users.new_token("olga", "fuzz"), 1, 600)
        assert line.station.inspector.wait_for_room(1, 60)
        assert check_ledger(line.station.ledger, tally, 0) >= len(tally.parts) > 50
        accounts = line.station.inspector.accounts
        assert accounts.close and accounts.triggered == accounts.decided and not line.station.faults
