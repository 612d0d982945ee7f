"""A station with the stub engine, served on the loopback interface."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvicorn
from line_recipe import MAKER, recipe
from PIL import Image
from stub_engine import picture

from invad_fast.serve.app import make_app
from invad_fast.serve.doors import Doors, Limits
from invad_fast.serve.station import Station
from invad_fast.serve.users import Users


@dataclass
class Served:
    """Where it is, and what stands behind it."""

    port: int
    station: Station
    doors: Doors

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def png(pixels: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return held.getvalue()


GOOD, BAD = png(picture(100)), png(picture(200))


@contextmanager
def served(
    folder: Path,
    users: Users | None = None,
    limits: Limits | None = None,
    names: tuple[str, ...] = ("line",),
    **changes: object,
) -> Iterator[Served]:
    recipes = [recipe(folder, name=name, **changes) for name in names]
    with Station(recipes, folder / "line.db", engine=MAKER, in_process=True) as station:
        doors = Doors(users)
        app = make_app(station, doors, limits)
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        until = time.monotonic() + 30
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        try:
            yield Served(listener.getsockname()[1], station, doors)
        finally:
            server.should_exit = True
            thread.join(30)
