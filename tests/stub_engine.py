"""An engine without torch: its pictures say what it does, and their grey is the score."""

import ctypes
import math
import os
import threading
import time

import numpy as np

from invad_fast.inspection.recipe import Recipe
from invad_fast.prediction import Prediction, ScoreRule, Thresholds

SIZE = (8, 8)
CLASSES = ("a", "b")
THRESHOLD = 0.5
# The green of a picture's first pixel.
NOTHING, RAISES, NAN, HANGS, HOLDS_PYTHON, DIES, IS_SLOW, IS_B, IS_STRANGE = range(9)
IS_FAST, IS_LATE, EATS_MEMORY = range(9, 12)
SLOW, LATE = 0.3, 2.0  # seconds


class StubPredictor:
    """Scores a picture by the red of its first pixel, 0 to 1."""

    input_size = SIZE
    classes = CLASSES
    score_rule = ScoreRule(mode="unified")
    thresholds = Thresholds()
    tells_classes = True
    digest = "stub"

    def predict(self, images, class_name="auto", **changes) -> Prediction:
        red, does = (int(value) for value in images[0, 0, 0, :2])
        score, name = red / 255, "a"
        if does == RAISES:
            raise RuntimeError("it raises\nin two lines")
        if does == NAN:
            score = math.nan
        if does == HANGS:
            threading.Event().wait(3600)  # libfaketime breaks time.sleep
        if does == HOLDS_PYTHON:  # PyDLL keeps the interpreter's lock
            ctypes.PyDLL(None).sleep(3600)
        if does == DIES:
            os._exit(3)
        if does == IS_SLOW:
            time.sleep(SLOW)
        if does == IS_LATE:
            time.sleep(LATE)
        if does == IS_FAST:
            time.sleep(0.002)
        if does == EATS_MEMORY:
            bytearray(2**46)
        if does == IS_B:
            name = "b"
        if does == IS_STRANGE:
            name = "c"
        score = np.array([score], np.float32)
        maps = np.repeat(score, 64).reshape(1, *SIZE)
        return Prediction(score, maps, (name,), (None,))


def load(recipe: Recipe) -> StubPredictor:
    """What the recipe's model file says; "broken" does not load."""
    if recipe.model.file == "slow":
        time.sleep(1)
    if recipe.model.file == "broken":
        raise RuntimeError("no such model")
    return StubPredictor()


def picture(red: int = 0, does: int = NOTHING) -> np.ndarray:
    """RGB8, scored red / 255."""
    pixels = np.full((*SIZE, 3), red, np.uint8)
    pixels[..., 1] = does
    return pixels


def load_file(recipe: Recipe) -> StubPredictor:
    """Of the recipe's model file, whose content is its digest."""
    made = StubPredictor()
    made.digest = recipe.path_of(recipe.model.file).read_text()
    return made
