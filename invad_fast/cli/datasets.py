"""``invad-fast datasets``: the layouts that are read, and where to get the data sets."""

from __future__ import annotations

from rich.markup import escape

from invad_fast.cli.console import out, say


def datasets() -> None:
    """Lists the data set layouts that are read, and where to get the data sets."""
    from invad_fast.data import LAYOUTS

    for layout in LAYOUTS.values():
        out.print(f"[bold]{layout.name}[/bold]  {escape(layout.looks_like)}", highlight=False)
        for name, source in layout.data_sets:
            say(f"    {name}: {source}")
