"""Figures of a gauge study ─> ``gauge.html`` and ``gauge.csv``."""

from __future__ import annotations

import time
from pathlib import Path

from invad_fast.reports.catalogue import Catalogue
from invad_fast.reports.gauge_figures import GaugeFigures
from invad_fast.reports.page import report_folder, write_page, write_table

_SHOWN = 50
_COLUMNS = ("part_id", "class", "trials", "mean", "deviation", "threshold", "agrees", "known",
            "verdicts")  # fmt: skip


def write_gauge_report(found: GaugeFigures, ledger: Path, folder: Path, words: Catalogue) -> Path:
    """Writes both files; the CSV has every part, the page those nearest to their threshold.

    Returns:
        The page.
    """
    report_folder(folder)
    write_table(
        folder / "gauge.csv",
        _COLUMNS,
        (
            (p.part_id, p.class_name, len(p.verdicts), p.mean, p.deviation, p.threshold,
             int(p.agrees), p.known, " ".join(p.verdicts))
            for p in found.parts
        ),
    )  # fmt: skip
    page = folder / "gauge.html"
    write_page(
        page, "gauge", words, title=words("gauge study"), found=found, ledger=str(ledger),
        now=time.time_ns() // 1000, shown=_SHOWN,
    )  # fmt: skip
    return page
