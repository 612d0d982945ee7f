"""POST /inspect beside the same inspector asked in its own process: parts a second.

Four callers each way, raw frames of 256×256. The service's clients are one process of their own,
whose processor time is printed: on two cores it is the engine's loss too.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from test_inspector import frame, recipe
from timing import Rounds, timed

from invad_fast.inspection import Inspector
from invad_fast.serve.app import make_app
from invad_fast.serve.doors import Doors, Limits
from invad_fast.serve.station import Station

CLIENTS, PARTS = 4, 25  # of each
WAYS = ("in its process", "POST /inspect")
# Sends for each line that it reads, and says when it is through.
SENDER = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from invad_fast.serve.client import Client

url, file, clients, parts = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
frame, held = np.load(file), [Client(url) for _ in range(clients)]

def send(client):
    for _ in range(parts):
        assert client.inspect(frame, pixel_format="BGR8")["verdict"] == "PASS"

with ThreadPoolExecutor(clients) as pool:
    for _ in sys.stdin:
        list(pool.map(send, held))
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(used.ru_utime + used.ru_stime, flush=True)
"""


@contextmanager
def served(station: Station) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    app = make_app(station, Doors(None), Limits(rate=1e6))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("way", WAYS)
def test_serve(way: str, tmp_path: Path, benchmark) -> None:
    made, ledger = recipe(tmp_path, "process"), tmp_path / "line.db"
    group, rounds = f"serve-{CLIENTS * PARTS}-parts", Rounds(20, 3, 7)
    if way == WAYS[0]:
        with Inspector(made, ledger) as line, ThreadPoolExecutor(CLIENTS) as pool:

            def ask(_: int) -> None:
                for _ in range(PARTS):
                    line.inspect(frame(), pixel_format="BGR8")

            def asked() -> None:
                list(pool.map(ask, range(CLIENTS)))

            asked()
            timed(benchmark, group, way, WAYS[0], asked, rounds)
        return
    file = tmp_path / "frame.npy"
    np.save(file, frame())
    with Station([made], ledger) as station, served(station) as url:
        words = [url, str(file), str(CLIENTS), str(PARTS)]
        with subprocess.Popen(
            [sys.executable, "-c", SENDER, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as clients:  # fmt: skip
            spent: list[float] = []

            def sent() -> None:
                assert clients.stdin is not None and clients.stdout is not None
                clients.stdin.write("go\n")
                clients.stdin.flush()
                spent.append(float(clients.stdout.readline()))

            sent()
            timed(benchmark, group, way, WAYS[0], sent, rounds)
            assert clients.stdin is not None
            clients.stdin.close()
    a_part = 1e3 * (spent[-1] - spent[0]) / (len(spent) - 1) / (CLIENTS * PARTS)
    print(f"\nthe clients' own processor time: {a_part:.2f} ms a part")
