"""results ─ tables ─> JSON, CSV, Markdown and LaTeX, ours beside the published figures."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from invad_fast.benchmark.configuration import BenchmarkConfig
from invad_fast.benchmark.published import published_columns
from invad_fast.benchmark.results import Figures, Line, ModelResults
from invad_fast.files import refuse_foreign, write_whole
from invad_fast.metrics import FIGURES
from invad_fast.names import csv_writer, mean_label, visible

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


TABLES = ("results.json", "results.csv", "results.md", "results.tex")


def take_folder(folder: Path) -> None:
    """Makes the folder of the tables; InputError where it holds somebody else's of these names."""
    refuse_foreign(folder, TABLES, {"name", "published", "models"}, "--output")


def write_tables(folder: Path, config: BenchmarkConfig, models: Sequence[ModelResults]) -> None:
    """Writes ``results.json``, ``.csv``, ``.md`` and ``.tex``, each whole or not at all."""
    texts = (as_json(config, models), as_csv(models), as_markdown(config, models),
             as_latex(config, models))  # fmt: skip
    for name, text in zip(TABLES, texts):
        write_whole(folder / name, text)


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
        yield f"{name}, {_mean(model) if several else model.classes[0].label}", _cells(model.mean)
        if model.published is not None and model.difference is not None:
            yield f"{name}, published", [_percent(model.published[k]) for k in HEADS]
            yield f"{name}, difference", [_percent(model.difference[k], "+") for k in HEADS]


def _mean(model: ModelResults) -> str:
    return mean_label([line.label for line in model.classes])


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
    write_row = csv_writer(text)
    write_row(["model", "class", "kind", *FIGURES])

    def write(model: ModelResults, label: str, kind: str, figures: Figures) -> None:
        cells = [figures.get(k, math.nan) for k in FIGURES]
        write_row(
            [model.settings.name, label, kind, *(None if math.isnan(c) else c for c in cells)]
        )

    for model in models:
        mean = _mean(model)
        for label, line in (*((c.label, c) for c in model.classes), (mean, model.mean)):
            write(model, label, "ours", line.mean)
            if line.seeds > 1:
                write(model, label, "deviation", line.deviation)
        if model.published is not None and model.difference is not None:
            write(model, mean, "published", model.published)
            write(model, mean, "difference", model.difference)
    return text.getvalue()


def markdown_text(name: str) -> str:
    """The name as Markdown shows it: nothing in it is markup, HTML or the end of a cell."""
    escaped = re.sub(r"[\\`*\[\]<>|~$&]", r"\\\g<0>", visible(name))
    # Inside a word an underscore is one.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
          "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\char34{}",
          "±": r"$\pm$", "–": "--", "[": "{[}", "]": "{]}", "*": "{*}",
          **{sign: f"\\{sign}" for sign in "_&%#${}"}}  # fmt: skip


def latex_text(name: str) -> str:
    """The name as LaTeX prints it; a bracket or star after a line's end would be the end's own."""
    return "".join(_LATEX.get(sign, sign) for sign in visible(name))


def as_markdown(config: BenchmarkConfig, models: Sequence[ModelResults]) -> str:
    """Figures by class and mean in percent, then how each model was made."""
    lines = [
        f"# {markdown_text(config.name)}",
        "",
        "| percent | " + " | ".join(HEADS.values()) + " |",
    ]
    lines.append("|---|" + "---|" * len(HEADS))
    for label, cells in table_rows(models, classes=True):
        lines.append(f"| {markdown_text(label)} | " + " | ".join(cells) + " |")
    seeds = models[0].mean.seeds if models else 0
    if seeds > 1:
        lines += ["", f"Mean ± standard deviation of {seeds} seeds."]
    lines += ["", "| model | how it was made |", "|---|---|"]
    lines += [f"| {markdown_text(m.settings.name)} | {markdown_text(made(m))} |" for m in models]
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
    lines = [
        f"% {visible(config.name)}",
        r"\begin{tabular}{l" + "r" * len(HEADS) + "}",
        r"\toprule",
        " & ".join(["percent", *map(latex_text, HEADS.values())]) + r" \\",
        r"\midrule",
    ]
    for label, cells in table_rows(models, classes=False):
        lines.append(" & ".join(map(latex_text, [label, *cells])) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


assert tuple(HEADS) == published_columns()
