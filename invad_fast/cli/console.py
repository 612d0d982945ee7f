"""What the verbs print with; of several processes (torchrun's) the first alone speaks."""

from __future__ import annotations

import os

from rich.console import Console

from invad_fast.names import visible

RANK = os.environ.get("RANK", "0") if "WORLD_SIZE" in os.environ else "0"
out = Console(quiet=RANK != "0")
err = Console(stderr=True, quiet=RANK != "0")


def note(text: str) -> None:
    """The same on stderr."""
    err.print(visible(text), markup=False, highlight=False, soft_wrap=True, emoji=False)


def say(text: str) -> None:
    """A line of plain text: nothing in it is taken for markup, and nothing is cut."""
    out.print(visible(text), markup=False, highlight=False, soft_wrap=True, emoji=False)
