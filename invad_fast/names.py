"""Names are data: whatever a class, a defect or a file is called, it is shown as it is.

Nothing that a name holds is an instruction to a terminal, a spreadsheet or a file system.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Callable, Collection, Iterable
from hashlib import blake2b
from typing import Any, TextIO

_LONGEST = 80  # bytes of a file name's stem: room for a suffix and a number below the usual 255
# What Windows keeps for devices, whatever the suffix.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(10))}
# Control and format signs, broken bytes, and the two signs that end a line or a paragraph.
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # part of the spelling of emoji and of Persian or Hindi words
# What a spreadsheet begins a formula with (OWASP, "CSV Injection"), the full-width forms too.
_FORMULA = "=+-@|\uff1d\uff0b\uff0d\uff20\t\r\n"


def visible(name: str) -> str:
    """The name for a screen: control signs, invisible ones and broken bytes as escapes."""
    if name.isascii() and name.isprintable():
        return name
    return "".join(_visible_sign(name, place, sign) for place, sign in enumerate(name))


def _visible_sign(name: str, place: int, sign: str) -> str:
    if unicodedata.category(sign) not in _HIDDEN:
        return sign
    beside = name[max(place - 1, 0) : place] + name[place + 1 : place + 2]
    if sign in _JOINERS and len(beside) == 2 and not any(map(str.isascii, beside)):
        return sign
    if "\udc80" <= sign <= "\udcff":  # how Python keeps a byte of a file name that is no UTF-8
        return f"\\x{ord(sign) - 0xDC00:02x}"
    return sign.encode("unicode_escape", "surrogatepass").decode()


def inert(name: str) -> str:
    """The name for a CSV cell: one that a spreadsheet would take for a formula gets a quote.

    So does one that begins with a quote: without a quote at its front every cell is the name.
    """
    shown = visible(name)
    return f"'{shown}" if shown.lstrip()[:1] in {*_FORMULA, "'"} else shown


def csv_writer(file: TextIO) -> Callable[[Iterable[Any]], None]:
    """What writes a row of a CSV file: names inert, numbers as they are, None as an empty cell.

    Text is quoted, so that a name is one cell also where a spreadsheet splits at semicolons.
    """
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)

    def write(row: Iterable[Any]) -> None:
        writer.writerow([inert(cell) if isinstance(cell, str) else cell for cell in row])

    return write


def mean_label(classes: Collection[str]) -> str:
    """What the row of the mean is called beside these classes: like none of them."""
    label = "mean"
    taken = {name.strip().casefold() for name in classes}
    while label in taken:
        label = f"mean of {len(classes)} classes" if label == "mean" else f"the {label}"
    return label


class FileNames:
    """File names of a folder, one for each thing: safe, readable, and never the same twice."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}

    def of(self, name: str) -> str:
        """A name for a file or folder: ``name`` where it can be one, else as near as can be.

        Two names never give the same one, also where letter case or the way in which a letter is
        composed does not count. What was changed or cut ends in a hash of the whole.
        """
        composed = unicodedata.normalize("NFC", name)
        plain = "".join(c if _harmless(c) else "_" for c in composed)
        # A shell takes a leading hyphen for an option, Windows drops dots and spaces at the end.
        cut = plain.lstrip(" .-").encode()[:_LONGEST].decode("utf-8", "ignore").rstrip(" .")
        if _folded(cut.split(".")[0]).strip() in _DEVICES:
            cut = f"_{cut}"
        if cut != composed or not cut:
            mark = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
            cut = f"{cut}-{mark}" if cut else mark
        unique, key = cut, _folded(cut)
        count = self._counts.get(key, 1)
        while _folded(unique) in self._taken:
            count += 1
            unique = f"{cut}-{count}"
        self._counts[key] = count
        self._taken.add(_folded(unique))
        return unique


def _harmless(sign: str) -> bool:
    return unicodedata.category(sign)[0] in "LMN" or sign in "-_+. ()"


def _folded(name: str) -> str:
    """The same for all names that some file system takes for one."""
    composed = unicodedata.normalize("NFKC", name)
    return unicodedata.normalize("NFKC", composed.upper().casefold())
