"""What a reader found: records, and what it looked at besides."""

from dataclasses import dataclass, field
from pathlib import Path

from invad_fast.data.record import Record


@dataclass
class Found:
    """The result of reading a data set or a class of it.

    Attributes:
        looked_at: files that say nothing which the records do not: indices, the black masks of
            good parts.
        notes: what was left out for a reason that the files themselves do not show.
    """

    records: list[Record] = field(default_factory=list)
    looked_at: set[Path] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def add(self, other: "Found") -> None:
        """Takes over what ``other`` holds."""
        self.records += other.records
        self.looked_at |= other.looked_at
        self.notes += other.notes
