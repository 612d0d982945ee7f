"""A JSON line for each result, in files that are rotated: FILE, FILE.1 (the one before), …

A line is there whole or not at all: what a full disk cut off is taken back, and so is the last line
of a process that was killed.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

from invad_fast.errors import InputError
from invad_fast.inspection.part import Result
from invad_fast.serve.sinks.outlet import Undelivered

_LARGEST = 100 * 2**20  # bytes of a file
_FILES = 10  # the one that is written included
_LONGEST_LINE = 2**24  # bytes in which a line's end is looked for


class JsonLines:
    """Appends `Result.row` of each result to a file.

    Another program may move the file away (logrotate): a new one is made. Any program may read it.

    Args:
        path: of the file; what is there already must be results.
        largest: bytes of a file, after which it is rotated.
        files: how many are kept.

    Raises:
        InputError: where it cannot be written, or holds something else.
    """

    kind = "JSON lines"
    unconfirmed = 0

    def __init__(self, path: Path, largest: int = _LARGEST, files: int = _FILES) -> None:
        self._path, self._largest, self._files = path, largest, files
        self.where, self.fault = str(path), ""
        self._file = -1
        _refuse_foreign(path)
        try:
            self._open()
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from None

    def send(self, result: Result, stop: threading.Event) -> None:
        """Writes its line; a reader sees it at once."""
        line = json.dumps(result.row(), allow_nan=False).encode() + b"\n"
        try:
            self._follow()
            if self._size and self._size + len(line) > self._largest:
                self._rotate()
            self._write(line)
        except OSError as error:
            raise Undelivered(f"cannot write {self._path}: {error.strerror}") from None

    def close(self, patience: float) -> None:
        """Closes the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o666)
        held = os.fstat(self._file)
        self._place, self._size = (held.st_dev, held.st_ino), held.st_size
        tail = os.pread(self._file, _LONGEST_LINE, max(0, self._size - _LONGEST_LINE))
        cut = len(tail) - (tail.rfind(b"\n") + 1)
        if cut:
            self._size -= cut
            os.ftruncate(self._file, self._size)

    def _follow(self) -> None:
        """Opens the file of this name where it is another now, or none is open."""
        if self._file >= 0:
            try:
                held = os.stat(self._path)
                if (held.st_dev, held.st_ino) == self._place:
                    return
            except FileNotFoundError:
                pass
            self.close(0)
        self._open()

    def _rotate(self) -> None:
        self.close(0)
        for number in range(self._files - 2, -1, -1):
            older = self._numbered(number + 1)
            try:
                os.replace(self._numbered(number), older)
            except FileNotFoundError:
                continue
        if self._files == 1:
            self._path.unlink()
        self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _write(self, line: bytes) -> None:
        written = 0
        try:
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            if written:
                os.ftruncate(self._file, self._size)
            raise
        self._size += written


def _refuse_foreign(path: Path) -> None:
    """A recipe or a ledger that was named by mistake is not written into."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would wait for its other end
            raise InputError(f"{path} is a folder, a device or a pipe: give a file")
        with open(path, "rb") as file:
            first = file.readline(_LONGEST_LINE)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not first.endswith(b"\n"):  # nothing, or less than a line: what a killed process left
        if not first or first.startswith(b'{"id": '):
            return
    else:
        try:
            row = json.loads(first)
        except ValueError:
            row = None
        if isinstance(row, dict) and {"part_id", "verdict"} <= set(row):
            return
    raise InputError(f"{path} holds something else than results: choose another file")
