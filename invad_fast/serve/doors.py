"""Who is let in: credentials, sessions, where a browser may come from, how much and how often."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from invad_fast.serve.users import Role, Users

COOKIE = "invad_fast_session"
SESSION_HOURS = 12.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TRIES, _PAUSE = 5, 30.0  # wrong passwords in a row of one name or host; seconds until the next


@dataclass(frozen=True)
class Limits:
    """What one request, and one host, may ask for.

    Attributes:
        most_bytes: of a body.
        most_pixels: of an image.
        seconds: in which a body has to be there.
        rate: requests a second of one host, in the mean over ten seconds.
        connections: of all hosts together, WebSockets included.
    """

    most_bytes: int = 64 * 2**20
    most_pixels: int = 50_000_000
    seconds: float = 10.0
    rate: float = 500.0
    connections: int = 64


@dataclass(frozen=True)
class Caller:
    """Who asks; ``name`` stands in the audit trail."""

    name: str
    role: Role

    @property
    def is_engineer(self) -> bool:
        """Whether they may change recipes."""
        return self.role == "engineer"


ANYBODY = Caller("operator at this machine", "operator")
"""Who asks where there is no file of users: the service then listens to its own machine alone, and
nobody is an engineer."""


@dataclass
class _Session:
    name: str
    until: float
    mark: str


@dataclass
class Doors:
    """Tells who a request is from.

    Attributes:
        users: None lets everybody on this machine in as an operator.
        hosts: names under which the service may be asked for; a page of another name that leads
            here (DNS rebinding) is turned away.
    """

    users: Users | None
    hosts: tuple[str, ...] = _LOOPBACK
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _failures: dict[str, list[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def knows_host(self, header: str | None) -> bool:
        """Whether the Host header names this service."""
        if header is None:
            return False
        try:
            parts = urlsplit(f"//{header}")
            name, plain = parts.hostname, "@" not in parts.netloc and (parts.port or 1) > 0
        except ValueError:  # its port is none
            return False
        return plain and name is not None and name.lower() in self.hosts

    def same_origin(self, origin: str | None, host: str | None) -> bool:
        """Whether a browser's request comes from this service's own pages; programs say nothing."""
        if origin is None:
            return True
        try:
            return host is not None and urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            return False

    def caller(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Caller | None:
        """Who it is by token or session; None for nobody who is known."""
        if self.users is None:
            return ANYBODY
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            found = self.users.by_token(token.strip())
            return None if found is None else Caller(*found)
        return self._of_session(cookies.get(COOKIE))

    def sign_in(self, name: str, password: str, host: str) -> str | None:
        """A new session's key; None for a wrong password, and after too many, for half a minute."""
        if self.users is None or not self._may_try(name, host):
            return None
        found = self.users.by_password(name, password)
        with self._lock:
            for whose in (f"name {name[:64]}", f"host {host}"):
                if found is None:
                    self._failures.setdefault(whose, []).append(time.monotonic())
                else:
                    self._failures.pop(whose, None)
            if found is None:
                return None
            key = secrets.token_urlsafe(32)
            until = time.monotonic() + 3600 * SESSION_HOURS
            self._sessions[key] = _Session(name, until, self.users.password_mark(name))
            return key

    def sign_out(self, key: str | None) -> None:
        """The session ends; a copy of its cookie is worth nothing."""
        with self._lock:
            self._sessions.pop(key or "", None)

    def _may_try(self, name: str, host: str) -> bool:
        since = time.monotonic() - _PAUSE
        with self._lock:
            for whose, times in list(self._failures.items()):  # old ones are forgotten
                self._failures[whose] = [at for at in times if at > since]
                if not self._failures[whose]:
                    del self._failures[whose]
            return all(
                len(self._failures.get(whose, ())) < _TRIES
                for whose in (f"name {name[:64]}", f"host {host}")
            )

    def _of_session(self, key: str | None) -> Caller | None:
        assert self.users is not None
        with self._lock:
            session = self._sessions.get(key or "")
            if session is None:
                return None
            role = self.users.role_of(session.name)
            fresh = self.users.password_mark(session.name) == session.mark
            if role is None or not fresh or time.monotonic() > session.until:
                self._sessions.pop(key or "", None)
                return None
        return Caller(session.name, role)


class RateLimit:
    """A bucket a host: so many requests a second, saved up for ten seconds."""

    SAVED = 10.0

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._held: dict[str, tuple[float, float]] = {}  # host → (how many it may, when that was)

    def allows(self, host: str) -> bool:
        """Takes one from the host's bucket, where there is one."""
        now, most = time.monotonic(), self._rate * self.SAVED
        if len(self._held) > 10_000:  # full buckets need not be remembered
            self._held = {k: v for k, v in self._held.items() if now - v[1] < self.SAVED}
        had, at = self._held.get(host, (most, now))
        may = min(most, had + (now - at) * self._rate)
        self._held[host] = (may - 1 if may >= 1 else may, now)
        return may >= 1


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
