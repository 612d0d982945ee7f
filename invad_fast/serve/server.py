"""The service's process: it listens, says when it is ready, and ends after the last part."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invad_fast.errors import InputError
from invad_fast.serve.doors import is_loopback


@dataclass(frozen=True)
class Address:
    """Where it listens.

    Attributes:
        host, port: of the interface; port 0 takes a free one.
        cert, key: PEM files for TLS; None for none.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    cert: Path | None = None
    key: Path | None = None

    @property
    def secure(self) -> bool:
        """Whether it is reached by TLS."""
        return self.cert is not None


def check_address(address: Address, users: bool, insecure: bool) -> None:
    """What would be open to the network without a lock is refused.

    Args:
        users: whether there is a file of users.
        insecure: whether the person has said that the network may read along.

    Raises:
        InputError: with the option that is missing.
    """
    if (address.cert is None) != (address.key is None):
        raise InputError("--tls-cert and --tls-key: give both, or none")
    for file in (address.cert, address.key):
        if file is not None and not file.is_file():
            raise InputError(f"no file {file}")
    if is_loopback(address.host):
        return
    if not users:
        raise InputError(
            f"--host {address.host} is reached from the network: give --users, a file that "
            "`invad-fast user add` makes"
        )
    if not address.secure and not insecure:
        raise InputError(
            f"--host {address.host} without TLS sends passwords and pictures in the clear: give "
            "--tls-cert and --tls-key, or --insecure-network if the network is your own"
        )


def run(
    app: Any,
    address: Address,
    connections: int,
    ready: Callable[[str], None],
    healthy: Callable[[], bool],
) -> None:
    """Serves until SIGINT or SIGTERM, then answers what has begun.

    Args:
        connections: at most so many at once.
        ready: called with the URL when it listens.
        healthy: asked for systemd's watchdog, in a thread of its own.

    Raises:
        InputError: where it cannot listen.
    """
    import uvicorn

    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"cannot listen on {address.host} port {address.port}: {error.strerror or error}"
        ) from None
    config = uvicorn.Config(
        app,
        ssl_certfile=address.cert,
        ssl_keyfile=address.key,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
        limit_concurrency=2 * connections,  # who sends no request holds a connection all the same
        ws_max_size=2**16,
        ws_ping_interval=20,
    )
    try:
        config.load()
    except OSError as error:
        listener.close()
        raise InputError(f"--tls-cert or --tls-key: {error}") from None
    host = f"[{address.host}]" if ":" in address.host else address.host
    url = f"{'https' if address.secure else 'http'}://{host}:{listener.getsockname()[1]}"
    server = uvicorn.Server(config)
    server_startup = server.startup

    async def startup(*given: Any, **named: Any) -> None:
        await server_startup(*given, **named)
        watchdog.begin()
        ready(url)

    server.startup = startup  # type: ignore[method-assign]
    with _Watchdog(healthy) as watchdog, _signals_end_only_the_server():
        server.run([listener])


@contextlib.contextmanager
def _signals_end_only_the_server() -> Iterator[None]:
    """uvicorn raises once more what has ended it; what is in the queue is still to be decided."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _Watchdog:
    """Tells systemd that the service is up, and goes on telling while it is well (sd_notify(3))."""

    def __init__(self, healthy: Callable[[], bool]) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        period = os.environ.get("WATCHDOG_USEC", "")
        self._period = int(period) / 2e6 if period.isdigit() else None
        self._healthy, self._ended = healthy, threading.Event()

    def __enter__(self) -> _Watchdog:
        return self

    def begin(self) -> None:
        """It listens."""
        if self._address:
            self._notify("READY=1")
            if self._period:
                threading.Thread(target=self._beat, name="watchdog", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._address:
            self._notify("STOPPING=1")

    def _beat(self) -> None:
        while not self._ended.wait(self._period):
            if self._healthy():
                self._notify("WATCHDOG=1")

    def _notify(self, line: str) -> None:
        name = self._address
        name = "\0" + name[1:] if name.startswith("@") else name
        # Where it fails, systemd is told again, or ends the process.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to,
        ):
            to.sendto(line.encode(), name)
