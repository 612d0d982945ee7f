"""An engine: a Predictor that answers jobs, one after another, wherever it runs."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from invad_fast.class_prototypes import why_unknown
from invad_fast.errors import InputError, first_line
from invad_fast.inspection.golden_parts import check_golden_parts
from invad_fast.inspection.messages import Messages
from invad_fast.inspection.part import View
from invad_fast.inspection.preprocess import preprocess
from invad_fast.inspection.recipe import Recipe
from invad_fast.inspection.regions import regions_above
from invad_fast.inspection.slots import Slots
from invad_fast.prediction import Predictor, ScoreRule, Thresholds, exceeds, judge

MODEL = "invad_fast.model_engine:load"
"""What makes a recipe's Predictor of its model file."""

IN_FLIGHT = 2
"""Jobs that an engine is given at once: the next is there when one is done."""


@dataclass(frozen=True)
class Order:
    """What an engine is made of; it goes to another process.

    Attributes:
        maker: "module:function" that takes the recipe's content and its folder, and returns a
            Predictor.
        content, folder: of the recipe.
        slots: how many.
    """

    maker: str
    content: dict[str, Any]
    folder: str
    slots: int


@dataclass(frozen=True)
class Ready:
    """What an engine says when it has loaded."""

    input_size: tuple[int, int]
    digest: str


@dataclass(frozen=True)
class Failed:
    """Why an engine cannot load."""

    line: str


@dataclass(frozen=True)
class Job:
    """A frame to score.

    Attributes:
        number: comes back with the answer.
        slot: where the frame lies, and where its map goes.
        size: (height, width) of the frame as the camera gave it.
    """

    number: int
    slot: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Answer:
    """What became of a job; ``error`` is empty where it was scored, ``unknown`` says why the frame
    shows none of the classes.
    """

    number: int
    score: float = math.nan
    class_name: str | None = None
    threshold: float | None = None
    provisional: bool = False
    regions: tuple[dict[str, Any], ...] = ()
    milliseconds: float = 0.0
    error: str = ""
    unknown: str = ""


def load(order: Order) -> tuple[Recipe, Predictor]:
    """Makes the Predictor, and holds it against the recipe.

    Raises:
        InputError: where it is another model, or scores otherwise.
    """
    from pathlib import Path

    recipe = Recipe.of(order.content, Path(order.folder) / "recipe")
    module, _, function = order.maker.partition(":")
    predictor = getattr(importlib.import_module(module), function)(recipe)
    if predictor.digest != recipe.model.digest:
        raise InputError(
            f"{recipe.path_of(recipe.model.file)} is not the model that the recipe "
            f"{recipe.name!r} was made for: its digest is {predictor.digest}, not "
            f"{recipe.model.digest}"
        )
    return recipe, predictor


def serve(messages: Messages, order: Order, memory: int) -> None:
    """Loads, then answers jobs until the other end closes or sends None."""
    try:
        recipe, predictor = load(order)
        work = _Work(recipe, predictor, Slots(memory, order.slots, predictor.input_size))
        for slot in range(min(IN_FLIGHT, order.slots)):
            work.warm_up(slot)
        check_golden_parts(recipe, work.judge)
    except Exception as error:
        line = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: "
        line = line if isinstance(error, InputError) else line + first_line(error)
        with contextlib.suppress(OSError):  # nobody waits for it any more
            messages.send(Failed(line))
        return
    height, width = predictor.input_size
    try:
        messages.send(Ready((height, width), predictor.digest))
        while (job := messages.receive()) is not None:
            messages.send(work.answer(job))
    except (EOFError, OSError):  # the other end has closed
        return


class _Work:
    def __init__(self, recipe: Recipe, predictor: Predictor, slots: Slots) -> None:
        self.recipe, self.predictor, self.slots = recipe, predictor, slots
        self.limits: Thresholds = recipe.limits
        self.changes = _changes(predictor.score_rule, recipe.score)

    def warm_up(self, slot: int) -> None:
        """What a first run makes and loads, no part shall wait for: the network's buffers, and,
        for the first part that is rejected, what measures regions.
        """
        self.slots.inputs[slot] = 0
        self.predictor.predict(self.slots.inputs[slot : slot + 1], None, **self.changes)
        spot = np.zeros(self.predictor.input_size, np.float32)
        spot[:2, :2] = 1
        regions_above(spot, 0.5, spot.shape)

    def judge(self, _: str, picture: np.ndarray) -> View:
        """What becomes of a golden part, whose picture is uint8 H×W×3 RGB."""
        rule = self.recipe.score
        preprocess(
            picture, "RGB8", self.predictor.input_size, levels=rule.levels,
            out=self.slots.inputs[0], interpolation=rule.interpolation,
        )  # fmt: skip
        answer = self._judged(Job(0, 0, picture.shape[:2]))
        verdict, why = judge(answer.score, answer.threshold, answer.unknown)
        return View(0, verdict, None, why or "", answer.score, class_name=answer.class_name)

    def answer(self, job: Job) -> Answer:
        started = time.perf_counter()
        try:
            return dataclasses.replace(
                self._judged(job), milliseconds=1e3 * (time.perf_counter() - started)
            )
        except Exception as error:  # a damaged model, or no memory: the next frame may do
            return Answer(job.number, error=f"{type(error).__name__}: {first_line(error)}")

    def _judged(self, job: Job) -> Answer:
        recipe = self.recipe
        images = self.slots.inputs[job.slot : job.slot + 1]
        found = self.predictor.predict(images, recipe.class_name, **self.changes)
        score, name = float(found.score[0]), found.class_names[0]
        scores = self.slots.maps[job.slot]
        scores[:] = found.map[0]
        limit = self.limits.of(name, recipe.score)
        distance = found.distances[0] if found.distances else None
        unknown = why_unknown(distance, recipe.distance_limit(name), name)
        limit = None if unknown else limit
        regions: tuple[dict[str, Any], ...] = ()
        if limit is not None and exceeds(score, limit):
            scale = recipe.frames.mm_per_pixel
            regions = tuple(regions_above(scores, limit, job.size, recipe.score, scale))
        provisional = limit is not None and self.limits.provisional(name)
        return Answer(job.number, score, name, limit, provisional, regions, unknown=unknown)


def _changes(own: ScoreRule, wanted: ScoreRule) -> dict[str, Any]:
    """What `predict` is told, so that a model scores by the recipe's rule.

    Raises:
        InputError: where this form of the model cannot.
    """
    names = [field.name for field in dataclasses.fields(ScoreRule)]  # type: ignore[arg-type]
    told = {name: getattr(wanted, name) for name in names if name not in ("form", "precision")}
    changes = {name: value for name, value in told.items() if value != getattr(own, name)}
    gap = wanted.difference(own.but(**changes))
    if gap is not None:
        raise InputError(f"the recipe asks for scores with {gap}: calibrate on this machine anew")
    return changes
