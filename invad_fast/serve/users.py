"""Who may use a station: named users with a role, a password of their own, and tokens of their own.

One JSON file that its owner alone may read. Passwords and tokens are not in it: of a password its
scrypt hash (RFC 7914) with a salt of its own, of a token, which nobody could guess, its SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from invad_fast.checked import unknown_name
from invad_fast.errors import InputError
from invad_fast.files import write_whole

Role = Literal["operator", "engineer"]
ROLES: tuple[Role, ...] = ("operator", "engineer")
"""An operator sees and inspects; an engineer changes recipes too."""

LEAST_PASSWORD = 10  # characters
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}  # 16 MiB, some 50 ms
# One thread hashes: the memory of many at once would stay with as many threads.
_HASHING = ThreadPoolExecutor(1, "passwords")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_STRANGER = {"role": "", "salt": "00" * 16, "password": "", "tokens": {}}


class Users:
    """The users of a file, read again when it has changed.

    Args:
        path: the file; for `add` it need not be there.

    Raises:
        InputError: for a file that is none of users, and one that others may read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._state: tuple[int, int] | None = None
        self._held: dict[str, Any] = {}
        if self.path.exists():
            self._read()

    @property
    def roles(self) -> dict[str, Role]:
        """Name → role."""
        self._read()
        return {name: user["role"] for name, user in sorted(self._held.items())}

    def add(self, name: str, role: str, password: str) -> None:
        """A new user, or another role and password for one; tokens of before are worth nothing."""
        if not _NAME.fullmatch(name):
            raise InputError(
                f"a user's name is 1 to 64 letters, digits and . _ @ -, not {name!r:.80}"
            )
        if role not in ROLES:
            raise InputError(unknown_name("role", role, ROLES))
        if len(password) < LEAST_PASSWORD:
            raise InputError(f"the password must have at least {LEAST_PASSWORD} characters")
        self._read()
        salt = secrets.token_hex(16)
        self._held[name] = {
            "role": role, "salt": salt, "password": _hashed(password, salt), "tokens": {}
        }  # fmt: skip
        self._write()

    def remove(self, name: str) -> None:
        """Raises InputError where there is no such user."""
        self._user(name)
        del self._held[name]
        self._write()

    def new_token(self, name: str, label: str) -> str:
        """A token for a program of the user's, which is shown this once.

        Args:
            label: what it is for; one that is there is replaced, so that the old one ends.
        """
        token = secrets.token_urlsafe(32)
        self._user(name)["tokens"][label] = hashlib.sha256(token.encode()).hexdigest()
        self._write()
        return token

    def revoke(self, name: str, label: str) -> None:
        """Raises InputError where there is no such token."""
        tokens = self._user(name)["tokens"]
        if label not in tokens:
            raise InputError(unknown_name("token", label, tokens))
        del tokens[label]
        self._write()

    def by_password(self, name: str, password: str) -> tuple[str, Role] | None:
        """(name, role) where the password is right; takes as long where there is no such user."""
        self._read()
        user = self._held.get(name, _STRANGER)
        given = _HASHING.submit(_hashed, password[:1000], user["salt"]).result()
        right = hmac.compare_digest(given, user["password"])
        return (name, user["role"]) if right else None

    def by_token(self, token: str) -> tuple[str, Role] | None:
        """(name, role) of whose it is."""
        self._read()
        digest = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        for name, user in self._held.items():
            if any(hmac.compare_digest(digest, held) for held in user["tokens"].values()):
                return name, user["role"]
        return None

    def role_of(self, name: str) -> Role | None:
        """As it is now: whoever was removed has none."""
        self._read()
        return self._held[name]["role"] if name in self._held else None

    def password_mark(self, name: str) -> str:
        """Changes with the password: sessions of before end."""
        return str(self._held[name]["salt"]) if name in self._held else ""

    def _user(self, name: str) -> dict[str, Any]:
        self._read()
        if name not in self._held:
            raise InputError(unknown_name("user", name, self._held))
        held: dict[str, Any] = self._held[name]
        return held

    def _read(self) -> None:
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._held, self._state = {}, None
            return
        state = (stat.st_mtime_ns, stat.st_ino)
        if state == self._state:
            return
        if os.name == "posix" and stat.st_mode & 0o077:
            raise InputError(
                f"{self.path}: others may read it: chmod 600, and give the users new passwords"
            )
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
            whole = all(
                user["role"] in ROLES
                and isinstance(bytes.fromhex(user["salt"]), bytes)
                and isinstance(user["password"], str)
                and all(isinstance(token, str) for token in user["tokens"].values())
                for user in held.values()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            raise InputError(f"{self.path} is no file of users: `invad-fast user add` makes one")
        self._held, self._state = held, state

    def _write(self) -> None:
        write_whole(self.path, json.dumps(self._held, indent=2) + "\n", mode=0o600)
        self._state = None


def _hashed(password: str, salt: str) -> str:
    return hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), **_SCRYPT).hex()
