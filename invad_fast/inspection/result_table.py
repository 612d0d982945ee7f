"""Results as a CSV file, a row a part, written whole."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from invad_fast.errors import InputError
from invad_fast.files import written_whole
from invad_fast.names import csv_writer

COLUMNS = ("part_id", "image", "class_name", "verdict", "reason", "score", "threshold",
           "provisional", "regions", "largest_area", "peak", "latency_ms", "model")  # fmt: skip
_HEAD = ",".join(f'"{column}"' for column in COLUMNS).encode()


def check_replaceable(path: Path) -> None:
    """Refuses a file that is there and is no such table.

    Raises:
        InputError: a photo, a model or a person's own table would be lost.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(len(_HEAD) + 1)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    if start and not start.startswith(_HEAD):
        raise InputError(f"{path} is there and is no table of results: choose another --csv")


class ResultTable:
    """Takes results as `invad_fast.inspection.predict` makes them; the file is there at the end.

    Names stay text: a spreadsheet takes none for a formula.

    Args:
        path: the file; an old table is replaced, any other file refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()

    def __enter__(self) -> ResultTable:
        check_replaceable(self.path)
        partial = self._stack.enter_context(written_whole(self.path))
        file = self._stack.enter_context(
            open(partial, "w", newline="", encoding="utf-8", errors="backslashreplace")
        )
        self._write = csv_writer(file)
        self._write(COLUMNS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, row: dict[str, Any]) -> None:
        """One result."""
        regions = row.get("regions", [])
        summary = {
            "regions": len(regions) if "regions" in row else None,
            "largest_area": max((r["area"] for r in regions), default=None),
            "peak": max((r["peak"] for r in regions), default=None),
        }
        self._write({**row, **summary}.get(column) for column in COLUMNS)
