"""The lines of static.csv and static_triton.csv: what a kernel's machine code takes."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


def write_whole(path: Path, rows: list[dict]) -> None:
    """All of the file, or nothing."""
    beside = path.with_suffix(".tmp")
    with beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(beside, path)


def write(path: Path, rows: list[dict]) -> None:
    """Lines that the file has of other architectures stay, if still of use.

    Args:
        rows: alike, with "op" and "architecture" ("sm_90"), in the order that an op keeps.
    """
    made = {row["architecture"] for row in rows}
    if path.exists():
        with path.open(newline="") as file:
            before = csv.DictReader(file)
            if before.fieldnames == list(rows[0]):
                rows = [*rows, *(row for row in before if row["architecture"] not in made)]
    rows = sorted(rows, key=lambda row: (row["op"], int(row["architecture"].removeprefix("sm_"))))
    write_whole(path, rows)


def widths(mnemonics: Iterable[str], instruction: str) -> str:
    """Accesses by width in bits, "128:8 16:2"; LDG.E.128.CONSTANT is of 128, LDG.E of 32."""
    counts: Counter[int] = Counter()
    for mnemonic in mnemonics:
        if mnemonic.split(".")[0] == instruction:
            found = re.search(r"\.[US]?(128|64|16|8)\b", mnemonic)
            counts[int(found[1]) if found else 32] += 1
    return " ".join(f"{width}:{counts[width]}" for width in sorted(counts, reverse=True))
