"""How fast each form of a model is on this machine: ``invad-fast doctor --benchmark MODEL``.

The forms take turns, so that what else the machine does meanwhile is shared by all of them, and
each is worth its fastest turn.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from invad_fast.data.production_line import PRODUCTS, photograph_part
from invad_fast.device import choose_device, has_unit
from invad_fast.errors import InputError, InputWarning
from invad_fast.prediction import Predictor

BATCHES = (1, 8)
SECONDS = 50.0
WORTH = 1.1
"""How many times as fast as fp32 a form is that is recommended."""


@dataclass(frozen=True)
class FormTime:
    """One form's figures.

    Attributes:
        name: its precision, or why there is none.
        milliseconds: batch size → of an image, the fastest of all turns.
        difference: the largest difference of a score to fp32's, as a share of the scores' spread
            over the images.
    """

    name: str
    milliseconds: dict[int, float]
    difference: float


def made_images(size: tuple[int, int]) -> np.ndarray:
    """As many pictures of the demo's products as the largest batch has: uint8 N×H×W×3."""
    products = sorted(PRODUCTS)
    pictures = [
        photograph_part(products[i % len(products)], None, max(size), (i,))[0]
        for i in range(BATCHES[-1])
    ]
    return np.ascontiguousarray(np.stack(pictures)[:, : size[0], : size[1]])


def time_forms(
    model: Any, images: np.ndarray, device: str = "auto", seconds: float | None = None
) -> list[FormTime]:
    """Of every precision that the device has a unit for, fp32 first.

    Args:
        model: a Method.
        images: uint8 N×H×W×3 of its size, at least as many as the largest batch.
        device: "auto", "cpu" or "cuda".
        seconds: that the turns take together, each form's first one apart.
    """
    place = choose_device(device)
    forms: dict[str, Predictor] = {}
    for precision in ("fp32", "bf16", "fp16"):
        if has_unit(place, precision):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", InputWarning)
                    forms[precision] = model.for_inference(precision, device)
            except InputError:  # the method has no such form
                continue
    scores = {name: form.predict(images).score.astype(np.float64) for name, form in forms.items()}
    turns: dict[tuple[str, int], Callable[[], object]] = {
        (name, batch): lambda form=form, batch=batch: form.predict(images[:batch])  # type: ignore[misc]
        for name, form in forms.items()
        for batch in BATCHES
    }
    for turn in turns.values():  # caches, packed weights, captured graphs
        turn()
    best = dict.fromkeys(turns, np.inf)
    end = time.monotonic() + (SECONDS if seconds is None else seconds)
    while time.monotonic() < end:
        for key, turn in turns.items():
            started = time.perf_counter()
            turn()
            best[key] = min(best[key], time.perf_counter() - started)
    spread = float(np.ptp(scores["fp32"])) or 1.0
    return [
        FormTime(
            name,
            {batch: 1e3 * best[name, batch] / batch for batch in BATCHES},
            float(np.abs(scores[name] - scores["fp32"]).max()) / spread,
        )
        for name in forms
    ]


def recommended(times: list[FormTime]) -> FormTime:
    """The fastest at one image, where it is worth it; fp32 otherwise."""
    exact = times[0]
    fastest = min(times, key=lambda each: each.milliseconds[1])
    return fastest if exact.milliseconds[1] > WORTH * fastest.milliseconds[1] else exact
