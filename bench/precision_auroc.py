"""What a lower precision does to a trained model's AUROC: every form scored on the same images.

    python bench/precision_auroc.py MODEL.safetensors DATA_SET [PRECISION ...]

Prints, for the plain form (as trained) and each folded one, the mean over classes of the image and
the pixel AUROC, and by how much each class moves at most.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from invad_fast import InvAD
from invad_fast.data import read_dataset
from invad_fast.evaluation.evaluate import evaluate_model
from invad_fast.inference.plain import PlainForm

FIGURES = ("image_auroc", "pixel_auroc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data_set", type=Path)
    parser.add_argument("precisions", nargs="*", default=["fp32", "bf16", "fp16"])
    arguments = parser.parse_args()
    model, data = InvAD.load(arguments.model), read_dataset(arguments.data_set)
    forms = {"plain": PlainForm(model)} | {p: model.optimize(p) for p in arguments.precisions}
    results = {
        name: evaluate_model(form, data, show_progress=False) for name, form in forms.items()
    }
    for name, result in results.items():
        means, moves = [], []
        for figure in FIGURES:
            means.append(f"{figure} {result.mean[figure]:.4f}")
            exact = results["plain"].classes
            moved = [
                abs(r.figures[figure] - exact[c].figures[figure]) for c, r in result.classes.items()
            ]
            moves.append(f"{max(moved):.4f}")
        sys.stdout.write(f"{name}: {', '.join(means)}; most moved {', '.join(moves)}\n")


if __name__ == "__main__":
    main()
