"""``invad-fast ledger …``: what is asked of a line's record."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from invad_fast.cli.console import out, say
from invad_fast.errors import InputError
from invad_fast.names import visible

ledger = typer.Typer(help="Totals, parts, verification and backups of a line's ledger.",
                     no_args_is_help=True)  # fmt: skip

_File = Annotated[Path, typer.Argument(help="The ledger's file.")]
_Since = Annotated[str | None, typer.Option(help="First trigger, as 2026-11-26T06:00 (UTC).")]
_Until = Annotated[str | None, typer.Option(help="Before this trigger, likewise.")]
_Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@ledger.command()
def totals(file: _File, since: _Since = None, until: _Until = None, as_json: _Json = False) -> None:
    """Prints what became of all parts; the counts add up."""
    from invad_fast.inspection.ledger.totals import totals as count

    found = count(file, _time(since, "--since"), _time(until, "--until"))
    if as_json:
        say(json.dumps(found.as_dict()))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    for number, words in (
        (found.triggered, "parts triggered"),
        (found.passed, "pass"),
        (found.rejected, "reject"),
        (found.not_inspected, "not inspected"),
        (found.open, "open"),
    ):
        table.add_row(f"{number}", words)
    for reason, number in found.by_reason.items():
        table.add_row("", Text(f"{number} {visible(reason)}"))
    if found.unrecorded:
        table.add_row("", f"{found.unrecorded} of them while the ledger could not be written")
    out.print(table)
    hours = {_hour(first): held for first, held in found.by_hour.items()}
    for title, groups in (("class", found.by_class), ("recipe", found.by_recipe), ("hour", hours)):
        if groups:
            out.print(_grouped(title, groups))


@ledger.command()
def parts(
    file: _File,
    verdict: Annotated[
        str | None, typer.Option(help="PASS, REJECT, NOT_INSPECTED, or open.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why it was not inspected.")] = None,
    part_id: Annotated[str | None, typer.Option("--part", help="The part's name.")] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="The product.")] = None,
    least_score: Annotated[float | None, typer.Option(help="From this score on.")] = None,
    most_score: Annotated[float | None, typer.Option(help="Up to this score.")] = None,
    since: _Since = None,
    until: _Until = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
) -> None:
    """Prints the parts that fit, the newest first, a JSON line each."""
    from invad_fast.inspection.ledger.part_rows import part_rows

    if verdict not in (None, "PASS", "REJECT", "NOT_INSPECTED", "open"):
        raise InputError(f"--verdict is PASS, REJECT, NOT_INSPECTED or open, not {verdict!r}")
    for row in part_rows(
        file, verdict=verdict, reason=reason, part_id=part_id, class_name=class_name,
        least_score=least_score, most_score=most_score, since=_time(since, "--since"),
        until=_time(until, "--until"), limit=limit,
    ):  # fmt: skip
        print(json.dumps(row, allow_nan=False))


@ledger.command()
def verify(file: _File) -> None:
    """Checks pages, accounts and audit trail; status 1 where something is wrong."""
    from invad_fast.inspection.ledger.verify import verify as look

    wrong, head = look(file)
    for line in wrong:
        say(f"wrong: {line}")
    if wrong:
        raise typer.Exit(1)
    say(f"sound; the audit trail's head is {head}")


@ledger.command()
def backup(file: _File, to: Annotated[Path, typer.Argument(help="File to write.")]) -> None:
    """Copies the ledger as it is at one moment, also while a line writes it."""
    from invad_fast.inspection.ledger.backup import backup as copy

    copy(file, to)
    say(f"wrote {to}")


@ledger.command()
def restore(
    copy: Annotated[Path, typer.Argument(help="The backup.")],
    file: Annotated[Path, typer.Argument(help="The ledger's file, which no line uses.")],
) -> None:
    """Puts a backup in the ledger's place; what was there is kept under another name."""
    from invad_fast.inspection.ledger.backup import restore as put_back

    aside = put_back(copy, file)
    say(f"restored {file}" + (f"; the old one is {aside}" if aside else ""))


def _time(text: str | None, option: str) -> int | None:
    """Microseconds of UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{option} is a time as 2026-11-26T06:00, not {text!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1e6)


def _hour(first: int) -> str:
    return datetime.fromtimestamp(first / 1e6, timezone.utc).strftime("%Y-%m-%d %H:00")


def _grouped(title: str, groups: dict[str, dict[str, int]]) -> Table:
    verdicts = ("PASS", "REJECT", "NOT_INSPECTED", "open")
    table = Table(title, *(v.replace("_", " ").lower() for v in verdicts), box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, held in groups.items():
        table.add_row(Text(visible(name)), *(str(held.get(verdict, 0)) for verdict in verdicts))
    return table
