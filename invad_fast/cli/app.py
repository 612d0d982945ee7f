"""The program: its verbs, and what becomes of a mistake."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from typing import Annotated

import typer
from rich.console import Console

from invad_fast.cli.benchmark import benchmark
from invad_fast.cli.calibrate import calibrate
from invad_fast.cli.camera import camera
from invad_fast.cli.coco_ad import coco_ad
from invad_fast.cli.console import note, out
from invad_fast.cli.datasets import datasets
from invad_fast.cli.demo import demo
from invad_fast.cli.doctor import doctor
from invad_fast.cli.evaluate import evaluate
from invad_fast.cli.inspect import inspect
from invad_fast.cli.ledger import ledger
from invad_fast.cli.predict import predict
from invad_fast.cli.recipe import recipe
from invad_fast.cli.replay import replay
from invad_fast.cli.report import report
from invad_fast.cli.serve import serve
from invad_fast.cli.train import train
from invad_fast.cli.user import user
from invad_fast.errors import InputError, InputWarning
from invad_fast.names import visible
from invad_fast.openmp import spin_briefly
from invad_fast.version import release

app = typer.Typer(
    help="Finds defects in products after training on good parts only (InvAD).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for verb in (train, evaluate, predict, calibrate, recipe, inspect, serve, replay, demo, benchmark,
             datasets, doctor):  # fmt: skip
    app.command()(verb)
app.command("coco-ad")(coco_ad)
app.add_typer(ledger, name="ledger")
app.add_typer(report, name="report")
app.add_typer(camera, name="camera")
app.add_typer(user, name="user")


def _print_version(asked: bool) -> None:
    if asked:
        out.print(f"invad-fast {release()}", highlight=False)
        raise typer.Exit()


@app.callback()
def _program(
    _: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """The console script: InputError and OSError are one line and status 2, Ctrl-C status 130."""
    spin_briefly(os.environ)  # before torch is imported
    stand_in_for_closed_streams()
    warnings.showwarning = _show_note
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot write is escaped
            stream.reconfigure(errors="backslashreplace")
    # Libraries' own remarks would bury what concerns the user.
    logging.getLogger().setLevel(logging.ERROR)
    try:
        app()
    except (InputError, OSError) as error:
        # Any process may be the one that met it. A full disk, say, is no fault of the program's.
        Console(stderr=True).print(
            f"error: {visible(str(error))}",
            style="red",
            soft_wrap=True,
            markup=False,
            highlight=False,
            emoji=False,
        )
        # What standard output did not take, Python would try to write once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(2)
    except KeyboardInterrupt:
        note("stopped")
        sys.exit(130)


def stand_in_for_closed_streams() -> None:
    """A closed standard output is a failure of the first line, and its number no other file's.

    The next file that is opened, a ledger say, would get the number, and libraries write to it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # so Python says that it was closed
            # Writing to it fails, as it would have; nothing can be said where errors go.
            flags = os.O_RDWR if name == "stderr" else os.O_RDONLY
            os.dup2(opened := os.open(os.devnull, flags), number)
            if opened != number:
                os.close(opened)
            setattr(sys, name, open(number, "r" if name == "stdin" else "w"))  # noqa: SIM115


def _show_note(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    if issubclass(category, InputWarning):
        note(f"note: {message}")
