"""The evaluation as a table on screen, and as one HTML file that fetches nothing."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path

from rich.table import Table

from invad_fast.evaluate import Evaluation
from invad_fast.metrics import FIGURES

TITLES = {
    "image_auroc": "AUROC<sub>I</sub>",
    "image_ap": "AP<sub>I</sub>",
    "image_f1_max": "F1-max<sub>I</sub>",
    "aupro": "AU-PRO",
    "pixel_auroc": "AUROC<sub>P</sub>",
    "pixel_ap": "AP<sub>P</sub>",
    "pixel_f1_max": "F1-max<sub>P</sub>",
    "mf1": "mF1",
    "macc": "mAcc",
    "miou": "mIoU",
    "iou_max": "IoU-max",
    "mad": "mAD",
}

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 72rem; margin: 2.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p.note { opacity: .75; max-width: 46rem; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .35rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } tr:last-child td { font-weight: 600; }
figure { margin: 0 0 1rem; } figcaption { font-size: .8rem; opacity: .75; }
img { max-width: 100%; border-radius: 4px; background: white; }
div.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1rem; }
"""


def write_report(path: Path, title: str, notes: list[str], evaluation: Evaluation) -> None:
    """Writes the report of an evaluation that was given an output folder."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in notes]
    parts.append(_table(evaluation))
    assert evaluation.histogram is not None, "an evaluation that was given an output folder"
    parts.append("<h2>Scores of normal and anomalous parts</h2>")
    parts.append(_figure(evaluation.histogram, "Dashed: the threshold."))
    parts.append(
        "<h2>Defects, from the lowest score to the highest</h2>"
        '<p class="note">Left: the part, its defect outlined in cyan. Middle: the anomaly map, on '
        "one colour scale throughout. Right: the map over the part, in red what lies above the "
        "threshold.</p>"
    )
    for name, result in evaluation.classes.items():
        pictures = "".join(_figure(p, p.stem.replace("_", " ")) for p in result.pictures)
        parts.append(f'<h2>{html.escape(name)}</h2><div class="grid">{pictures}</div>')
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n",
        encoding="utf-8",
    )


def _table(evaluation: Evaluation) -> str:
    shown = [key for key in FIGURES if key in TITLES]
    rows = [*((n, r.figures) for n, r in evaluation.classes.items()), ("mean", evaluation.mean)]
    head = "".join(f"<th>{TITLES[key]}</th>" for key in shown)
    body = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td>{percent(figures[key])}</td>" for key in shown)
        + "</tr>"
        for name, figures in rows
    )
    table = f"<table><tr><th>class</th>{head}</tr>{body}</table>"
    return f'<h2>Figures, in percent</h2><div class="wide">{table}</div>'


def figures_table(evaluation: Evaluation) -> Table:
    """The figures in percent, a row a class, for a terminal."""
    names = ("I-AUROC", "I-AP", "I-F1", "AUPRO", "P-AUROC", "P-AP", "P-F1", "mF1", "mAcc", "mIoU",
             "IoU-max", "mAD_I", "mAD_P", "mAD_T", "mAD")  # fmt: skip
    rows = [*((n, r.figures) for n, r in evaluation.classes.items()), ("mean", evaluation.mean)]
    table = Table(title="percent", padding=(0, 0), pad_edge=False)
    table.add_column("class")
    for name in names:
        table.add_column(name, justify="right")
    for name, figures in rows:
        table.add_row(name, *(percent(figures[key]) for key in FIGURES))
    return table


def percent(value: float) -> str:
    """A fraction as percent with one decimal; a dash where it is not defined."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def _figure(picture: Path, caption: str) -> str:
    data = base64.b64encode(picture.read_bytes()).decode()
    text = html.escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
