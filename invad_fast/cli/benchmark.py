"""``invad-fast benchmark``: methods trained and scored alike, beside the published figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invad_fast.cli.console import out, say
from invad_fast.cli.options import Quiet


def benchmark(
    config: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped one.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder of runs and tables; default runs/NAME.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Where relative data folders start; default: here.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, count, estimate the time; write nothing.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Trains and scores all that CONFIG lists, beside the published figures; resumes."""
    from invad_fast.benchmark import make_plan, read_configuration, run_benchmark
    from invad_fast.benchmark.console import print_plan, print_results
    from invad_fast.benchmark.results import summarize
    from invad_fast.benchmark.tables import take_folder, write_tables

    read = read_configuration(config)
    folder = output or Path("runs") / Path(config).stem
    runs = make_plan(read, folder, data_root)
    if dry_run:
        print_plan(out, runs)
        return
    take_folder(folder)

    def finished(run, results) -> None:
        write_tables(folder, read, summarize(read, results))
        say(f"{len(results)} of {len(runs)}: {run.title}")

    results = run_benchmark(runs, show_progress=not quiet, finished=finished)
    print_results(out, read, summarize(read, results))
    say(f"tables: {folder}/results.md, .tex, .csv, .json")
