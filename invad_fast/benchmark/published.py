"""The paper's own figures (method.md §3), to be set beside ours."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any


@functools.cache
def _table() -> dict[str, Any]:
    return json.loads((files("invad_fast.benchmark") / "published.json").read_text())


def published_columns() -> tuple[str, ...]:
    """The figures that the paper prints, in its order."""
    return tuple(_table()["columns"])


def published_sets() -> tuple[str, ...]:
    """The data sets that the paper prints figures of."""
    return tuple(name for name, rows in _table().items() if isinstance(rows, dict))


def published_figures(data_set: str | None, method: str) -> dict[str, float] | None:
    """The mean over a data set's classes, as fractions of one; None where nothing was published.

    Args:
        data_set: "mvtec_ad", "visa", "coco_ad", or None.
        method: "invad" or "invad-lite".
    """
    row = _table().get(data_set, {}).get(method) if data_set else None
    return None if row is None else {k: v / 100 for k, v in zip(published_columns(), row)}
