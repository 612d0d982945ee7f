"""A lamp that dims by 30 % over 500 parts: when the drift watch tells, what it cost by then.

    python bench/dimming_lamp.py MODEL

MODEL is the demo's (`invad-fast demo`). Of each product 300 good parts are the reference and set
the threshold at 1 %; then come 500 under the dimming lamp. Beside them the false-alarm rate of 200
other good parts at some levels of the lamp, and the first of these at which it has doubled. Prints
the table of docs/drift.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from invad_fast.data.production_line import PRODUCTS, photograph_part
from invad_fast.evaluation.conformal import rank
from invad_fast.frame_figures import FIGURES, frame_figures
from invad_fast.inspection.drift.watch import DriftWatch, Observation
from invad_fast.method_names import load_model
from invad_fast.prediction import Predictor

REFERENCE, PARTS, OTHERS = 300, 500, 200
DIM = 0.3
LEVELS = (1.0, 0.97, 0.94, 0.9, 0.85, 0.8, 0.7)


def picture(product: str, stream: int, number: int, size: int, lamp: float) -> np.ndarray:
    """A good part under a lamp of this brightness, uint8 H×W×3."""
    seed = (5, list(PRODUCTS).index(product), stream, number)
    pixels, _ = photograph_part(product, None, size, seed)
    return np.round(pixels * lamp).astype(np.uint8)


def seen(form: Predictor, product: str, pixels: np.ndarray, part: int, limit: float) -> Observation:
    """What the watch sees of it."""
    score = float(form.predict(pixels[None], product).score[0])
    figures = dict(zip(FIGURES, frame_figures(pixels)))
    values = {"score": score} | {f"{n}, view 0": figures[n] for n in ("brightness", "sharpness")}
    return Observation(part, product, score > limit, values)


def main() -> None:
    form = load_model(Path(sys.argv[1])).for_inference(device="cpu")
    size = form.input_size[0]
    print("| product | told at part | lamp | what | since | false alarms: full lamp | by then | "
          "doubled at part |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    for product in form.classes:
        known = [
            seen(form, product, picture(product, 41, n, size, 1.0), n, np.inf)
            for n in range(REFERENCE)
        ]
        scores = np.sort([each.values["score"] for each in known])
        limit = float(scores[(rank(REFERENCE, 0.01) or REFERENCE) - 1])
        watch, told = DriftWatch(REFERENCE, known), []
        for number in range(PARTS):
            lamp = 1 - DIM * number / PARTS
            part = seen(form, product, picture(product, 42, number, size, lamp), number + 1, limit)
            told = watch.add(part)
            if told:
                break
        rates = []
        for level in LEVELS:
            pictures = (picture(product, 43, n, size, level) for n in range(OTHERS))
            rates.append(np.mean([seen(form, product, p, 0, limit).rejected for p in pictures]))
        by_then = float(np.interp(-lamp, [-level for level in LEVELS], rates))
        base = max(rates[0], 0.01)
        above = [level for level, rate in zip(LEVELS, rates) if rate >= 2 * base]
        doubled = f"{PARTS * (1 - above[0]) / DIM:.0f} or before" if above else "never"
        print(
            f"| {product} | {number + 1} | {100 * lamp:.1f} % | {told[0].what} | {told[0].since} | "
            f"{100 * rates[0]:.1f} % | {100 * by_then:.1f} % | {doubled} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
