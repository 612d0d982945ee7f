"""Recipes for the stub engine."""

from pathlib import Path
from typing import Any

from stub_engine import CLASSES, THRESHOLD

from invad_fast.inspection import Recipe

MAKER = "stub_engine:load"


def content(**changes: Any) -> dict[str, Any]:
    """What the file of a whole recipe holds, with fields replaced."""
    return {
        "recipe_version": 1,
        "name": "line",
        "model": {"file": "any", "digest": "stub"},
        "score": {"mode": "unified"},
        "classes": list(CLASSES),
        "thresholds": {
            "set_for": {"mode": "unified"},
            "model": "stub",
            "values": {name: {"value": THRESHOLD} for name in CLASSES},
        },
        "deadline_ms": 10_000,  # on a machine that does much else
    } | changes


def recipe(folder: Path, **changes: Any) -> Recipe:
    """The same as an object."""
    return Recipe.of(content(**changes), folder / "line.yaml")
