"""``invad-fast replay``: kept pictures scored again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invad_fast.cli.console import note, say
from invad_fast.cli.options import Quiet
from invad_fast.cli.report import Language, Zone, catalogue
from invad_fast.errors import InputError

if TYPE_CHECKING:
    from invad_fast.inspection.recipe import Recipe


def replay(
    file: Annotated[Path, typer.Argument(help="The ledger whose kept pictures are scored.")],
    output: Annotated[Path, typer.Option(help="Folder for replay.html and replay.csv.")],
    recipe: Annotated[
        Path | None, typer.Option(help="Score by this recipe; default: by those of then.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Score by this model and its thresholds.")
    ] = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="The engine in this process, as `inspect` has it.")
    ] = False,
    zone: Zone = "UTC",
    language: Language = "en",
    quiet: Quiet = False,
) -> None:
    """Scores a ledger's kept pictures again, and writes what would have changed.

    As they were judged: on the same machine every score is the same to the last bit, and status 1
    says that one is not. By another recipe or model: what it would have judged otherwise. The
    recipes of then are in the ledger; their relative paths start at its folder, unless --recipe
    names one.
    """
    from invad_fast.inspection.replay import count_kept
    from invad_fast.inspection.replay import replay as run
    from invad_fast.progress import track
    from invad_fast.reports.page import report_folder
    from invad_fast.reports.replay_report import replay_figures, write_replay_report

    words = catalogue(language, zone)
    choose = _chooser(file, recipe, model)
    count = count_kept(file)
    report_folder(output)
    found = track(run(file, choose, in_process=in_process), count, "replay", not quiet)
    figures = replay_figures(found, file.absolute().parent)
    by = ", ".join(str(each) for each in (recipe, model) if each) or words("then")
    page = write_replay_report(figures, file, by, output, words)
    told = ", ".join(f"{number} {outcome.value}" for outcome, number in figures.outcomes.items())
    say(f"{figures.outcomes.total()} kept pictures: {told}")
    say(f"wrote {page}")
    if recipe is None and model is None and not figures.all_identical:
        note("error: scores or verdicts are not those of then: another machine, form or model file")
        raise typer.Exit(1)


def _chooser(ledger: Path, recipe: Path | None, model: Path | None) -> Any:
    from invad_fast.inspection.recipe import Recipe

    given = None if recipe is None else Recipe.load(recipe)
    place = ledger.absolute().parent / "recipe"
    made: dict[str, Recipe] = {}

    def choose(name: str, content: dict[str, Any] | None) -> Recipe:
        if content is None and given is None:
            raise InputError(
                f"{ledger} no longer has the recipe {name!r} as it was: name one with --recipe"
            )
        if model is None:
            return given or Recipe.of(content, place)
        if name not in made:
            from invad_fast.model_engine import with_model

            base = content if given is None else given.content
            path = place if given is None else given.path_of("recipe")
            assert base is not None
            made[name] = with_model(base, model.absolute(), path, base["model"]["device"])
        return made[name]

    return choose
