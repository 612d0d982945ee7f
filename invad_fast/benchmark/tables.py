"""results ─ tables ─> JSON, CSV, Markdown and LaTeX, ours beside the published figures."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from invad_fast.benchmark.configuration import BenchmarkConfig
from invad_fast.benchmark.published import published_columns
from invad_fast.benchmark.results import Figures, Line, ModelResults
from invad_fast.metrics import FIGURES

HEADS = {
    "image_auroc": "AUROC_I",
    "image_ap": "AP_I",
    "image_f1_max": "F1max_I",
    "aupro": "AUPRO",
    "pixel_auroc": "AUROC_P",
    "pixel_ap": "AP_P",
    "pixel_f1_max": "F1max_P",
    "mf1": "mF1",
    "macc": "mAcc",
    "miou": "mIoU",
    "iou_max": "IoU-max",
    "mad": "mAD",
}


def write_tables(folder: Path, config: BenchmarkConfig, models: Sequence[ModelResults]) -> None:
    """Writes ``results.json``, ``.csv``, ``.md`` and ``.tex``, each whole or not at all."""
    for name, text in (
        ("results.json", as_json(config, models)),
        ("results.csv", as_csv(models)),
        ("results.md", as_markdown(config, models)),
        ("results.tex", as_latex(config, models)),
    ):
        partial = folder / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, folder / name)


def table_rows(models: Sequence[ModelResults], classes: bool) -> Iterator[tuple[str, list[str]]]:
    """(label, cells) in percent: each model's mean, the published one and the difference.

    Args:
        classes: the models' classes too, before the mean.
    """
    for model in models:
        name = model.settings.name
        several = len(model.classes) > 1  # the mean of one class is that class
        for line in model.classes if classes and several else ():
            yield f"{name}, {line.label}", _cells(line)
        yield f"{name}, {'mean' if several else model.classes[0].label}", _cells(model.mean)
        if model.published is not None and model.difference is not None:
            yield f"{name}, published", [_percent(model.published[k]) for k in HEADS]
            yield f"{name}, difference", [_percent(model.difference[k], "+") for k in HEADS]


def _cells(line: Line) -> list[str]:
    several = line.seeds > 1
    return [
        _percent(line.mean[k]) + (f" ± {_percent(line.deviation[k])}" if several else "")
        for k in HEADS
    ]


def _percent(value: float, sign: str = "") -> str:
    return "–" if math.isnan(value) else f"{100 * value:{sign}.1f}"


def as_json(config: BenchmarkConfig, models: Sequence[ModelResults]) -> str:
    """Everything, as fractions of one; null where a figure is not defined."""

    def line(line: Line) -> dict[str, Any]:
        return {"mean": _defined(line.mean), "deviation": _defined(line.deviation),
                "seeds": line.seeds}  # fmt: skip

    described = [
        {
            "name": model.settings.name,
            "method": model.settings.method,
            "facts": model.facts,
            "mean": line(model.mean),
            "published": model.published,
            "difference": model.difference and _defined(model.difference),
            "classes": {each.label: line(each) for each in model.classes},
        }
        for model in models
    ]
    content = {"name": config.name, "published": config.published, "models": described}
    return json.dumps(content, indent=2) + "\n"


def _defined(figures: Figures) -> dict[str, float | None]:
    return {k: None if math.isnan(v) else v for k, v in figures.items()}


def as_csv(models: Sequence[ModelResults]) -> str:
    """A row a model, class and kind (ours, deviation, published, difference); fractions of one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "class", "kind", *FIGURES])

    def write(model: ModelResults, label: str, kind: str, figures: Figures) -> None:
        cells = [figures.get(k, math.nan) for k in FIGURES]
        writer.writerow(
            [model.settings.name, label, kind, *("" if math.isnan(c) else c for c in cells)]
        )

    for model in models:
        for line in (*model.classes, model.mean):
            write(model, line.label, "ours", line.mean)
            if line.seeds > 1:
                write(model, line.label, "deviation", line.deviation)
        if model.published is not None and model.difference is not None:
            write(model, "mean", "published", model.published)
            write(model, "mean", "difference", model.difference)
    return text.getvalue()


def as_markdown(config: BenchmarkConfig, models: Sequence[ModelResults]) -> str:
    """Figures by class and mean in percent, then how each model was made."""
    lines = [f"# {config.name}", "", "| percent | " + " | ".join(HEADS.values()) + " |"]
    lines.append("|---|" + "---|" * len(HEADS))
    for label, cells in table_rows(models, classes=True):
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    seeds = models[0].mean.seeds if models else 0
    if seeds > 1:
        lines += ["", f"Mean ± standard deviation of {seeds} seeds."]
    lines += ["", "| model | how it was made |", "|---|---|"]
    lines += [f"| {m.settings.name} | {made(m)} |" for m in models]
    return "\n".join(lines) + "\n"


def made(model: ModelResults) -> str:
    """Encoder, size, recipe, images and time in a line."""
    facts = model.facts
    count = facts["models"]
    parts = [f"{model.settings.method}, encoder {facts['encoder']}", f"{facts['size']} pixels"]
    parts.append("one model" if count == 1 else f"{count} models")
    if "epochs" not in facts:
        return ", ".join([*parts, f"checkpoint {facts['checkpoint']}"])
    parts += [
        f"{facts['epochs']} epochs",
        f"batch {facts['batch_size']}",
        f"learning rate {facts['learning_rate']:g}",
        facts["precision"],
        f"{facts['images_seen']:,} training images seen",
        f"{facts['training_seconds']:.0f} s of training"
        + (" since it last went on" if facts["resumed"] else ""),
        facts["device"],
    ]
    return ", ".join(parts)


def as_latex(config: BenchmarkConfig, models: Sequence[ModelResults]) -> str:
    """A booktabs table of the means in percent, published figures and differences below them."""

    def escaped(text: str) -> str:
        for special in "_&%#":
            text = text.replace(special, f"\\{special}")
        return text.replace("±", r"$\pm$").replace("–", "--")

    lines = [
        f"% {config.name}",
        r"\begin{tabular}{l" + "r" * len(HEADS) + "}",
        r"\toprule",
        " & ".join(["percent", *map(escaped, HEADS.values())]) + r" \\",
        r"\midrule",
    ]
    for label, cells in table_rows(models, classes=False):
        lines.append(" & ".join(map(escaped, [label, *cells])) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


assert tuple(HEADS) == published_columns()
