"""Templates ─> one HTML file that fetches nothing; tables ─> CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from invad_fast.errors import InputError
from invad_fast.files import make_folder, write_whole
from invad_fast.reports.catalogue import Catalogue


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("invad_fast.reports")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def write_page(file: Path, template: str, words: Catalogue, **values: Any) -> None:
    """Renders ``templates/<template>.html.j2``, all values escaped, and writes the file whole."""
    page = _environment().get_template(f"{template}.html.j2")
    # A name may have bytes that are no Unicode: they are shown as escapes.
    text = page.render(t=words, **values).encode("utf-8", "backslashreplace").decode()
    write_whole(file, text)


def write_table(file: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """As CSV of UTF-8 with a mark that spreadsheets know it by; numbers are written with a point.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    write_whole(file, "\ufeff" + text.getvalue().encode("utf-8", "backslashreplace").decode())


def report_folder(folder: Path) -> Path:
    """The folder, made where there is none; InputError where a file is in the way."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: name a folder for the report")
    make_folder(folder)
    return folder


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t"):
        return "'" + value
    return "" if value is None else value
