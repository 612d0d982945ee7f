"""The gap that a ledger could not write yet, where a kill does not take it along.

A file of fixed size beside the ledger, made while there was room for it and mapped into memory: a
full disk and a locked database do not stop it, and it costs the line no call of the system. It
outlives the process, and a power cut where the system had written it back.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from dataclasses import astuple, dataclass
from pathlib import Path

from invad_fast.errors import InputError

_SLOT = struct.Struct("<IQqqqqq400s")  # checksum, which write, the gap
_SIZE = 512  # of a slot; there are two, so that a write that is cut off leaves the one before


@dataclass
class Gap:
    """A row of the table ``gaps`` that is still to be written.

    Attributes:
        began_at, ended_at: microseconds of UTC, of its first and of its last part.
        first_id, last_id: of these parts.
        parts: how many.
        reason: why there is no row.
    """

    began_at: int
    first_id: int
    ended_at: int = 0
    last_id: int = 0
    parts: int = 0
    reason: str = ""


class GapTally:
    """Holds one gap, or none.

    Args:
        ledger: the ledger's path; the file is ``<ledger>.gap``.

    Raises:
        InputError: where the file cannot be made.
    """

    def __init__(self, ledger: Path) -> None:
        try:
            file = os.open(tally_of(ledger), os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if os.fstat(file).st_size != 2 * _SIZE:
                    os.write(file, bytes(2 * _SIZE))  # no hole: a disk may be full later
                    os.truncate(file, 2 * _SIZE)
                self._memory = mmap.mmap(file, 2 * _SIZE)
            finally:
                os.close(file)
        except OSError as error:
            why = error.strerror or error
            raise InputError(f"cannot write beside the ledger {ledger}: {why}") from None
        self._number = max((number for number, _ in self._slots()), default=0)

    def hold(self, gap: Gap) -> None:
        """In place of what is held."""
        self._number += 1
        *numbers, reason = astuple(gap)
        held = _SLOT.pack(0, self._number, *numbers, reason.encode()[:400])
        start = self._number % 2 * _SIZE
        self._memory[start : start + _SLOT.size] = _checksum(held) + held[4:]

    def held(self) -> Gap | None:
        """The gap, of this process or of one that ended before it could write it."""
        slots = self._slots()
        gap = max(slots, key=lambda slot: slot[0])[1] if slots else None
        return gap if gap is not None and gap.parts else None

    def clear(self) -> None:
        """After the ledger has it."""
        self.hold(Gap(0, 0))

    def close(self) -> None:
        """Lets go of the file, which stays."""
        self._memory.close()

    def _slots(self) -> list[tuple[int, Gap]]:
        found = []
        for start in (0, _SIZE):
            held = bytes(self._memory[start : start + _SLOT.size])
            if any(held) and held[:4] == _checksum(held):
                _, number, began, first, ended, last, parts, reason = _SLOT.unpack(held)
                said = reason.rstrip(b"\0").decode("utf-8", "ignore")
                found.append((number, Gap(began, first, ended, last, parts, said)))
        return found


def tally_of(ledger: Path) -> Path:
    """The file's path."""
    return ledger.with_name(f"{ledger.name}.gap")


def _checksum(held: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(held[4:]))
