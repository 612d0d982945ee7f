"""``invad-fast report …``: what a ledger tells people, to be read and printed."""

from __future__ import annotations

from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated

import typer

from invad_fast.cli.console import say
from invad_fast.errors import InputError

report = typer.Typer(help="Shift report and gauge study of a line's ledger, HTML and CSV.",
                     no_args_is_help=True)  # fmt: skip

_File = Annotated[Path, typer.Argument(help="The ledger's file.")]
_Output = Annotated[Path, typer.Option(help="Folder for the page and its tables.")]
Zone = Annotated[str, typer.Option(help="The plant's time zone, as Europe/Berlin.")]
Language = Annotated[str, typer.Option(help="en or de.")]


@report.command()
def shift(
    file: _File,
    output: _Output,
    day: Annotated[
        str | None, typer.Option(help="As 2026-11-26; default: that of the last part.")
    ] = None,
    start: Annotated[str, typer.Option(help="Of the shift, by the clock on the wall.")] = "00:00",
    end: Annotated[
        str, typer.Option(help="Of the shift; not after the start: on the next day.")
    ] = "00:00",
    zone: Zone = "UTC",
    language: Language = "en",
) -> None:
    """Writes shift.html and CSV: accounts by hour and class, reasons, places, scores, alarms."""
    from invad_fast.reports.period import shift as period_of
    from invad_fast.reports.period import zone_of
    from invad_fast.reports.shift_figures import last_day, shift_figures
    from invad_fast.reports.shift_report import write_shift_report

    words = catalogue(language, zone)
    clock = _clock(start, "--start"), _clock(end, "--end")
    chosen = last_day(file, zone_of(zone)) if day is None else _day(day)
    period = period_of(chosen, zone_of(zone), *clock)
    page = write_shift_report(shift_figures(file, period), file, output, words)
    say(f"wrote {page}")


def catalogue(language: str, zone: str):  # type: ignore[no-untyped-def]
    """The words of a report; InputError for a language or a zone that there is not."""
    from invad_fast.reports.catalogue import LANGUAGES, Catalogue
    from invad_fast.reports.period import zone_of

    if language not in LANGUAGES:
        raise InputError(f"--language is {' or '.join(LANGUAGES)}, not {language!r:.60}")
    return Catalogue(language, zone_of(zone))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"--day is a date as 2026-11-26, not {text!r:.60}") from None


def _clock(text: str, option: str) -> time:
    try:
        found = time.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is not None or found.second or found.microsecond:
        raise InputError(f"{option} is a time as 06:00, not {text!r:.60}")
    return found


@report.command()
def gauge(
    file: _File,
    output: _Output,
    known: Annotated[
        Path | None, typer.Option(help="CSV of true verdicts: part_id, verdict (PASS, REJECT).")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="First trigger, as 2026-11-26T06:00 in the zone.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this trigger, likewise.")] = None,
    zone: Zone = "UTC",
    language: Language = "en",
) -> None:
    """Writes gauge.html and gauge.csv of parts that came several times under the same name."""
    from invad_fast.reports.gauge_figures import gauge_figures, read_known
    from invad_fast.reports.gauge_report import write_gauge_report

    words = catalogue(language, zone)
    moments = _moment(since, "--since", zone), _moment(until, "--until", zone)
    true = None if known is None else read_known(known)
    found = gauge_figures(file, *moments, known=true)
    say(f"wrote {write_gauge_report(found, file, output, words)}")


def _moment(text: str | None, option: str, zone: str) -> int | None:
    """Microseconds of UTC."""
    from invad_fast.reports.period import zone_of

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{option} is a time as 2026-11-26T06:00, not {text!r:.60}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone_of(zone))
    return round(moment.timestamp() * 1e6)
