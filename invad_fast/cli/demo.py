"""``invad-fast demo``: a production line's images, a model of it, and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invad_fast.cli.console import out, say
from invad_fast.cli.options import Quiet


def demo(
    output: Annotated[Path, typer.Argument(help="Folder to write to.")] = Path("invad-demo"),
    seed: Annotated[int, typer.Option(help="Of the parts, the defects and the weights.")] = 0,
    line: Annotated[
        bool,
        typer.Option("--line", help="Then calibrate the model, and inspect 5,000 new parts."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Makes a production line's images, trains, evaluates, and writes a report: no download."""
    if line:
        from invad_fast.demo_line import print_line_report, run_line_demo

        report = run_line_demo(output, seed=seed, show_progress=not quiet)
        print_line_report(report, say)
        say(f"ledger: {report.ledger}")
        if not report.accounts_close:
            raise typer.Exit(1)
        return
    from invad_fast.demo import run_demo
    from invad_fast.evaluation.report import print_results

    result = run_demo(output, seed=seed, show_progress=not quiet)
    print_results(out, result)
    say(f"report: {output / 'report.html'}")
