"""Messages between the inspector and its engine: whole, in order, in one system call each way."""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("!I")
_AT_ONCE = 65536  # bytes


class Messages:
    """One end of a pair: pickled objects over a socket.

    Reading takes what has come without asking first whether something has, as
    `multiprocessing.Connection` must be asked: a part's answer is there .1 ms sooner.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._held = bytearray()

    @classmethod
    def pair(cls) -> tuple[Messages, Messages]:
        """Two ends, of which each reads what the other sends."""
        one, other = socket.socketpair()
        return cls(one), cls(other)

    @classmethod
    def of(cls, descriptor: int) -> Messages:
        """The end that another process has inherited."""
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        """Readable when there is something to :meth:`take`."""
        return self._socket.fileno()

    def send(self, message: Any) -> None:
        """Waits until the system has taken it; OSError where the other end is gone."""
        content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._socket.sendall(_LENGTH.pack(len(content)) + content)

    def receive(self) -> Any:
        """Waits for the next message; EOFError where the other end has closed."""
        while True:
            found = self._next()
            if found is not None:
                return pickle.loads(found)
            self._read(0)

    def take(self) -> list[Any]:
        """All messages that have come by now, without waiting.

        Raises:
            EOFError: where the other end is gone, and no message of it is left.
        """
        ended = False
        try:
            while self._read(socket.MSG_DONTWAIT) == _AT_ONCE:
                pass
        except BlockingIOError:
            pass
        except (EOFError, OSError):
            ended = True
        found: list[Any] = []
        while (content := self._next()) is not None:
            found.append(pickle.loads(content))
        if ended and not found:  # a torn message may be left: nobody will send its rest
            raise EOFError
        return found

    def close(self) -> None:
        """The other end is told."""
        self._socket.close()

    def _read(self, flags: int) -> int:
        content = self._socket.recv(_AT_ONCE, flags)
        if not content:
            raise EOFError
        self._held += content
        return len(content)

    def _next(self) -> bytes | None:
        held = self._held
        if len(held) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(held)[0]
        if len(held) < end:
            return None
        content = bytes(held[_LENGTH.size : end])
        del held[:end]
        return content
