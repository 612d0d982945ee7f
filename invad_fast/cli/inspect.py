"""``invad-fast inspect``: a line, from its pictures to its ledger."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invad_fast.cli.console import err, note
from invad_fast.errors import InputError

if TYPE_CHECKING:
    from invad_fast.inspection.inspector import Inspector
    from invad_fast.inspection.recipe import Recipe
    from invad_fast.inspection.sources.picture import Picture, Source

SIMULATED, CAMERA = "simulated", "camera"
_VIDEOS = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"))
_REFRESH = 4  # pictures of the view a second


_OF_KIND = {
    SIMULATED: ("rate", "defects", "faults", "burst", "seed"),
    CAMERA: ("rate",),
    "watched": ("watch",),
    "video": ("step",),
}
_KINDS = {
    SIMULATED: "the simulated line",
    CAMERA: "the recipe's camera",
    "watched": "a watched folder",
    "video": "a video file",
    "folder": "a folder",
    "file": "an image file",
}


def inspect(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="Recipe that `recipe` wrote.")],
    source: Annotated[
        str, typer.Option(help="Image file, folder, video file, or: camera, simulated.")
    ],
    ledger: Annotated[Path, typer.Option(help="File of the record; made where there is none.")],
    parts: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="No view: a JSON line for each part.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with the files that a folder gets.")
    ] = False,
    step: Annotated[int, typer.Option(min=1, help="Of a video every so manieth frame.")] = 1,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Simulated, or a camera triggered by software: parts a second; default: as they "
            "are done."
        ),
    ] = None,
    defects: Annotated[float, typer.Option(help="Simulated: share of defective parts.")] = 0.1,
    faults: Annotated[float, typer.Option(help="Simulated: share of camera faults.")] = 0.0,
    burst: Annotated[int, typer.Option(help="Simulated: parts that come at once.")] = 1,
    seed: Annotated[int, typer.Option(help="Simulated: of all that is drawn.")] = 0,
    copy_to: Annotated[
        str | None,
        typer.Option(
            help="URL of a PostgreSQL database that gets a copy.", envvar="INVAD_FAST_COPY_TO"
        ),
    ] = None,
    in_process: Annotated[
        bool,
        typer.Option("--in-process", help="The engine in this process: one that hangs stays."),
    ] = False,
) -> None:
    """Inspects what a source delivers: one verdict a part, each in the ledger.

    Ctrl-C ends it after what is in the queue. Status 0 only where the accounts close: every part
    that was triggered has one verdict, and the ledger has them all.
    """
    from invad_fast.inspection.inspector import Inspector
    from invad_fast.inspection.recipe import Recipe
    from invad_fast.inspection.sources.simulated_line import LineOptions

    line = LineOptions(
        parts=parts, rate=rate, defects=defects, faults=faults, burst=burst, seed=seed
    )
    kind = _kind(source, watch)
    _refuse_options_of_others(context, kind)
    loaded = Recipe.load(recipe)
    _tell_provisional(loaded)
    _tell_golden_parts(loaded)
    with Inspector(loaded, ledger, in_process=in_process, copy_to=copy_to) as inspector:
        pictures = _source(kind, Path(source), step, loaded, line, inspector)
        _run(inspector, pictures, parts, None if headless else f"{loaded.name} · {source}")
        inspector.close()
        missing = _account(inspector, show=headless)
    if missing:
        note(f"error: {missing}")
        raise typer.Exit(1)


def _kind(source: str, watch: bool) -> str:
    """What sort of source it is, a key of ``_KINDS``."""
    path = Path(source)
    if source in (SIMULATED, CAMERA):
        return source
    if not path.exists():
        raise InputError(
            f"no source {source}: give an image file, a folder, a video, camera or simulated"
        )
    if path.is_dir():
        return "watched" if watch else "folder"
    return "video" if path.suffix.lower() in _VIDEOS else "file"


def _refuse_options_of_others(context: typer.Context, kind: str) -> None:
    """What would be ignored is told instead."""
    for other, names in _OF_KIND.items():
        for name in names:
            given = context.get_parameter_source(name)
            if (
                other != kind
                and name not in _OF_KIND.get(kind, ())
                and given is not None
                and given.name == "COMMANDLINE"
            ):
                raise InputError(
                    f"--{name} is for {_KINDS[other]}, and this source is {_KINDS[kind]}"
                )


def _source(
    kind: str, path: Path, step: int, recipe: Recipe, line: Any, inspector: Inspector
) -> Source:
    levels = recipe.score.levels
    if kind == SIMULATED:
        from invad_fast.data.production_line import PRODUCTS
        from invad_fast.inspection.sources.simulated_line import SimulatedLine

        known = [product for product in PRODUCTS if product in recipe.classes]
        width, height = recipe.frames.size or (max(inspector.input_size),) * 2
        if width != height:
            raise InputError(
                f"the recipe asks for frames of {width}×{height}, and simulated ones are square"
            )
        return SimulatedLine(line, width, known or None)
    if kind == CAMERA:
        from invad_fast.inspection.sources.camera_source import CameraSource

        return CameraSource(
            recipe.cameras, rate=line.rate, window=recipe.view_window_ms / 1e3, tell=_tell_camera
        )
    if kind == "watched":
        from invad_fast.inspection.sources.watched_folder import WatchedFolder

        return WatchedFolder(path, levels)
    if kind == "video":
        from invad_fast.inspection.sources.video_file import VideoFile

        return VideoFile(path, step)
    from invad_fast.inspection.predict import find_images
    from invad_fast.inspection.sources.image_files import ImageFiles

    return ImageFiles(find_images([path]), levels)


def _run(inspector: Inspector, source: Source, parts: int | None, title: str | None) -> None:
    """Runs the source in a thread, so that a signal ends it between two parts."""
    from invad_fast.cli.live_view import LiveView
    from invad_fast.inspection.run_source import run_source

    view = None if title is None else LiveView(inspector, title)

    def show(picture: Picture, result: Any) -> None:
        if view is not None:
            view.add(result)
        else:
            print(json.dumps(result.row() | {"image": picture.image}, allow_nan=False), flush=True)

    failure: list[BaseException] = []

    def work() -> None:
        try:
            run_source(inspector, source, parts, show)
        except BaseException as error:
            failure.append(error)

    def stop(*_: object) -> None:
        source.stop()

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    thread = threading.Thread(target=work, name="source", daemon=True)
    try:
        thread.start()
        if view is None:
            _wait(thread)
        else:
            from rich.live import Live

            with Live(view, console=err, refresh_per_second=_REFRESH):
                _wait(thread)
                inspector.close()  # what is in the queue is seen
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    if failure:
        raise failure[0]


def _wait(thread: threading.Thread) -> None:
    while thread.is_alive():  # a join without an end would keep signals waiting
        thread.join(0.2)


def _account(inspector: Inspector, show: bool) -> str:
    """What does not add up, in words; prints what became of the parts where no view showed it."""
    from invad_fast.cli.live_view import alarm_line, latencies, totals

    accounts = inspector.accounts
    if show:
        err.print(totals(accounts))
        err.print(latencies(accounts), highlight=False)
        for alarm in inspector.alarms:
            note(f"alarm: {alarm_line(alarm)}")
    if not accounts.close or accounts.open_parts:
        return (
            f"{accounts.triggered} parts were triggered and {accounts.decided} have a verdict: "
            "the accounts do not close"
        )
    return ""


def _tell_camera(line: str) -> None:
    note(f"note: {line}")


def _tell_golden_parts(recipe: Recipe) -> None:
    known = {golden.verdict for golden in recipe.golden_parts}
    if len(known) == 1:
        other = "bad" if known == {"PASS"} else "good"
        note(f"note: the golden parts are all of one kind: add one that is known {other}")


def _tell_provisional(recipe: Recipe) -> None:
    if any(held.origin.provisional for held in recipe.thresholds.values.values()):
        note(
            "note: the recipe's thresholds are provisional, set on the training parts: "
            "`invad-fast calibrate`, then `recipe --update`"
        )
