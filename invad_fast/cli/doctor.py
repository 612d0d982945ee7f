"""``invad-fast doctor``: which backends are there, and why the others are not."""

from __future__ import annotations

from rich.table import Table

from invad_fast.cli.console import out, say


def doctor() -> None:
    """Says which backends are there, and why the others are not."""
    from invad_fast.doctor import reasons, report

    facts, table = report()
    for name, value in facts.items():
        say(f"{name}: {value}")
    shown = Table("op", *next(iter(table.values())))
    for op, row in table.items():
        shown.add_row(op, *("yes" if reason is None else "no" for reason in row.values()))
    out.print(shown)
    for name, reason in reasons(table).items():
        say(f"{name}: {reason}")
