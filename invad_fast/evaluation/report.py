"""The evaluation as tables on screen, and as one HTML file that fetches nothing."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from invad_fast.evaluation.results import ClassResult, Evaluation, Outcome, Picture
from invad_fast.files import write_whole
from invad_fast.metrics import FIGURES
from invad_fast.names import visible
from invad_fast.pictures import comparison

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
_SHORT = ("I-AUROC", "I-AP", "I-F1", "AUPRO", "P-AUROC", "P-AP", "P-F1", "mF1", "mAcc", "mIoU",
          "IoU-max", "mAD_I", "mAD_P", "mAD_T", "mAD")  # fmt: skip

# What is pictured, in this order: (outcome, heading, the badge on each picture).
_KINDS: tuple[tuple[Outcome, str, str], ...] = (
    ("miss", "Defects missed", "MISSED"),
    ("false alarm", "Good parts rejected", "FALSE ALARM"),
    ("reject", "Defects found", "FOUND"),
    ("defect", "Defects", "DEFECT"),
)

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent);
  --bad: light-dark(#b3261e, #ff8a80); --warn: light-dark(#8a5a00, #ffc46b);
  --fine: light-dark(#1e6b33, #7ddc98); }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2.5rem auto;
  padding: 0 1rem; }
h1, h3, bdi, p { overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.8rem 0 .4rem; } h3 { font-size: 1.1rem; margin: 2rem 0 0; }
h4 { font-size: 1rem; margin: 1rem 0 .5rem; }
p.verdict { font-size: 1.25rem; margin: .5rem 0; } p.note, li { max-width: 46rem; }
p.note, ol, h4 span, figcaption { color: color-mix(in srgb, currentColor 78%, transparent); }
p.note, ol { font-size: .9rem; } h4 span { font-weight: 400; }
p.warning, .provisional { color: var(--warn); }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .35rem .7rem; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 7rem;
  max-width: 22rem; padding-left: 0; }
thead th { vertical-align: bottom; white-space: normal; } .set-on { white-space: normal; }
tfoot td { border-top: 2px solid currentColor; border-bottom: 0; font-style: italic; }
.bad { color: var(--bad); font-weight: 600; }
.badge { font-weight: 700; font-size: .75rem; letter-spacing: .03em; padding: .05rem .4rem;
  border: 1px solid; border-radius: 3px; margin-right: .3rem; white-space: nowrap; }
.miss { color: var(--bad); } .false { color: var(--warn); } .reject { color: var(--fine); }
figure { margin: 0; } figcaption { font-size: .85rem; margin-top: .3rem; }
img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
div.grid { display: grid; gap: 1.4rem 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); }
a { color: inherit; } sup { line-height: 0; }
@media (max-width: 40rem) {
  th, td { padding: .35rem; } th:first-child, td:first-child { min-width: 5.5rem; }
}
"""


def write_report(path: Path, title: str, notes: list[str], evaluation: Evaluation) -> None:
    """Writes the report of an evaluation that was given an output folder."""
    assert evaluation.histogram is not None, "an evaluation that was given an output folder"
    parts = [
        f"<h1>{_escaped(title)}</h1>",
        f'<p class="verdict">{_escaped(_summary(evaluation))}</p>',
        *(f'<p class="note warning">{_escaped(line)}</p>' for line in _warnings(evaluation)),
        *(f'<p class="note">{_escaped(note)}</p>' for note in notes),
        "<h2>Verdicts at these thresholds</h2>",
        _verdict_table(evaluation),
        "<h2>Scores of good and of defective parts</h2>",
        _histogram(evaluation.histogram),
        *_pictures(evaluation),
        "<h2>Figures, in percent</h2>",
        _figure_table(evaluation),
    ]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{_escaped(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n<body>{chr(10).join(parts)}</body></html>\n"
    )
    write_whole(path, page)


def print_results(console: Console, result: Evaluation) -> None:
    """The figures in percent, the verdicts, a row a class, and where the thresholds come from."""
    for table in (*_figure_tables(result, console.width), _verdicts(result, console.width)):
        console.print(table)
        console.print()
    for number, origin in enumerate(_origins(result), 1):
        _line(console, f"[{number}] {origin}")
    for line in _warnings(result):
        _line(console, f"note: {line}")
    _line(console, _summary(result), "bold")


def percent(value: float) -> str:
    """A fraction as percent with one decimal; a dash where it is not defined."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


# What both say.


def _summary(evaluation: Evaluation) -> str:
    judged = [r for r in evaluation.classes.values() if r.threshold is not None]
    if not judged:
        return "No verdicts: there is no threshold."
    missed, defective = sum(r.missed for r in judged), sum(r.defective for r in judged)
    alarms, good = sum(r.false_alarms for r in judged), sum(r.good for r in judged)
    return (
        f"{missed} of {defective} defective parts missed, {alarms} of {good} good parts rejected."
    )


def _warnings(evaluation: Evaluation) -> Iterator[str]:
    provisional = sum(r.provisional for r in evaluation.classes.values())
    if provisional:
        yield (
            f"{_counted(provisional, 'threshold is', 'thresholds are')} provisional: calibrate on "
            "good parts that the model has not seen (invad-fast calibrate)."
        )
    none = sum(r.threshold is None for r in evaluation.classes.values())
    if none:
        yield f"{_counted(none, 'class', 'classes')} without a threshold: no verdicts there."
    if evaluation.unreadable:
        yield (
            f"{_counted(evaluation.unreadable, 'image')} could not be read, and "
            f"{'is' if evaluation.unreadable == 1 else 'are'} not in these numbers."
        )


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _origins(evaluation: Evaluation) -> list[str]:
    """Where thresholds come from, each once; tables number them from 1."""
    judged = (r for r in evaluation.classes.values() if r.threshold is not None)
    return list(dict.fromkeys(map(_origin, judged)))


def _origin(result: ClassResult) -> str:
    """Without the number of parts, which has a column: it would make each class's another."""
    return result.origin.replace(f"set on {result.parts} ", "set on ", 1)


def _mean_name(evaluation: Evaluation) -> str:
    return f"mean of {_counted(len(evaluation.classes), 'class', 'classes')}"


# On screen.


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(visible(text), style), soft_wrap=True)


def _figure_tables(evaluation: Evaluation, width: int) -> Iterator[Table]:
    """The figures, in as many tables as the console's width makes of them."""
    names = [_cell(name).cell_len for name in evaluation.classes]
    column = min(max(*names, len(_mean_name(evaluation))), max(width // 3, 12))
    first = 0
    while first < len(FIGURES):
        last, room = first, width - column
        while last < len(FIGURES) and (last == first or room >= _width(last)):
            room -= _width(last)
            last += 1
        yield _figure_part(evaluation, column, first, last)
        first = last


def _width(figure: int) -> int:
    return max(len(_SHORT[figure]), len("100.0")) + 1


def _figure_part(evaluation: Evaluation, column: int, first: int, last: int) -> Table:
    table = _plain_table("figures in percent" if not first else None)
    table.add_column("class", min_width=column, max_width=column, overflow="fold")
    for name in _SHORT[first:last]:
        table.add_column(name, justify="right", no_wrap=True)
    for name, result in evaluation.classes.items():
        table.add_row(_cell(name), *(percent(result.figures[k]) for k in FIGURES[first:last]))
    table.add_section()
    mean = (percent(evaluation.mean[key]) for key in FIGURES[first:last])
    table.add_row(_mean_name(evaluation), *mean, style="italic")
    return table


def _verdicts(evaluation: Evaluation, width: int) -> Table:
    origins = _origins(evaluation)
    table = _plain_table("verdicts at these thresholds", gap=1)
    table.add_column("class", overflow="fold", min_width=8)
    for head in ("defects\nmissed", "good parts\nrejected", "threshold", "set on"):
        # Where there is room a long name is what gets folded.
        table.add_column(head, justify="right", no_wrap=width >= 72)
    for name, result in evaluation.classes.items():
        missed = _share(result, result.missed, result.defective)
        alarms = _share(result, result.false_alarms, result.good)
        mark = "" if result.threshold is None else f" [{origins.index(_origin(result)) + 1}]"
        table.add_row(
            _cell(name),
            Text(missed, "bold red" if result.missed else ""),
            Text(alarms, "bold yellow" if result.false_alarms else ""),
            Text(_shown_threshold(result)),
            Text(_set_on(result) + mark),
        )
    return table


def _plain_table(title: str | None, gap: int = 0) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
                 show_edge=False, padding=(0, gap, 0, 0), pad_edge=False)  # fmt: skip


def _cell(name: str) -> Text:
    return Text(visible(name), overflow="fold")


def _share(result: ClassResult, count: int, of: int) -> str:
    if not of:
        return "none there"
    return f"– of {of}" if result.threshold is None else f"{count} of {of}"


def _shown_threshold(result: ClassResult) -> str:
    return "none" if result.threshold is None else f"{result.threshold:.4g}"


def _set_on(result: ClassResult) -> str:
    parts = "" if result.parts is None else _counted(result.parts, "part")
    return ", ".join(filter(None, (parts, "provisional" if result.provisional else "")))


# In the report.


def _escaped(text: str) -> str:
    return html.escape(visible(text))


def _name(text: str) -> str:
    """A name that does not turn around what stands beside it where it is written from the right."""
    return f"<bdi>{_escaped(text)}</bdi>"


def _html_table(head: Sequence[str], body: Iterable[Sequence[str]], foot: Sequence[str]) -> str:
    """A table of cells that are HTML already."""
    rows = "".join(f"<tr>{''.join(f'<td>{c}</td>' for c in cells)}</tr>\n" for cells in body)
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    feet = "".join(f"<td>{cell}</td>" for cell in foot)
    return (
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody>'
        f"<tfoot><tr>{feet}</tr></tfoot></table></div>"
    )


def _verdict_table(evaluation: Evaluation) -> str:
    origins = _origins(evaluation)
    rows = []
    for number, (name, result) in enumerate(evaluation.classes.items(), 1):
        kind = " provisional" if result.provisional else ""
        set_on = f'<span class="set-on{kind}">{_set_on(result)}</span>'
        if result.threshold is not None:
            set_on += f" <sup>{origins.index(_origin(result)) + 1}</sup>"
        shares = []
        for count, of in ((result.missed, result.defective), (result.false_alarms, result.good)):
            share = _share(result, count, of)
            shares.append(f'<span class="bad">{share}</span>' if count else share)
        rows.append([f'<a href="#class-{number}">{_name(name)}</a>', *shares,
                     _shown_threshold(result), set_on])  # fmt: skip
    judged = [r for r in evaluation.classes.values() if r.threshold is not None]
    missed, defective = sum(r.missed for r in judged), sum(r.defective for r in judged)
    alarms, good = sum(r.false_alarms for r in judged), sum(r.good for r in judged)
    foot = ["all together", f"{missed} of {defective}", f"{alarms} of {good}", "", ""]
    notes = "".join(f"<li>{_escaped(origin[:1].upper() + origin[1:])}.</li>" for origin in origins)
    head = ("class", "defects missed", "good parts rejected", "threshold", "set on")
    return f"{_html_table(head, rows, foot)}<ol>{notes}</ol>"


def _figure_table(evaluation: Evaluation) -> str:
    rows = (
        [_name(name), *(percent(result.figures[key]) for key in TITLES)]
        for name, result in evaluation.classes.items()
    )
    mean = [_mean_name(evaluation), *(percent(evaluation.mean[key]) for key in TITLES)]
    return _html_table(["class", *TITLES.values()], rows, mean)


def _histogram(picture: Path) -> str:
    data = base64.b64encode(picture.read_bytes()).decode()
    text = "Image scores of good and of defective parts of each class; dashed: the threshold."
    return f'<img alt="{text}" src="data:image/png;base64,{data}">'


def _pictures(evaluation: Evaluation) -> Iterator[str]:
    pooling = evaluation.rule.pooling
    yield (
        '<h2>Pictures</h2><p class="note">Each part three times: as photographed, with its defect '
        "outlined in cyan where a mask says where it is; its anomaly map, on one scale of colours "
        "for all pictures; and the map over the photo, with what lies above the threshold outlined "
        "in red."
        + (
            f" The verdict is drawn from the map's means over {pooling}×{pooling} pixels, which "
            "are lower than the map's own values."
            if pooling
            else ""
        )
        + "</p>"
    )
    for number, (name, result) in enumerate(evaluation.classes.items(), 1):
        yield f'<h3 id="class-{number}">{_name(name)}</h3>'
        outcomes, drawn = result.outcomes, {p.outcome for p in result.drawn}
        if result.threshold is not None and "miss" not in drawn and "false alarm" not in drawn:
            clean = not (result.missed or result.false_alarms)
            yield '<p class="note">Every part judged rightly.</p>' if clean else ""
        for outcome, heading, badge in _KINDS:
            shown = [p for p in result.drawn if p.outcome == outcome]
            total = outcomes.count(outcome)
            if not total:
                continue
            some = f": {len(shown)} of them shown" if len(shown) < total else ""
            some += ", from the lowest score to the highest" if len(shown) > 1 else ""
            yield f"<h4>{heading} <span>({total}{some})</span></h4>"
            yield f'<div class="grid">{"".join(_figure(p, badge) for p in shown)}</div>'


def _figure(picture: Picture, badge: str) -> str:
    with Image.open(picture.path) as image:
        width, height = image.size
        packed = io.BytesIO()
        image.convert("RGB").save(packed, "JPEG", quality=85)
    data = base64.b64encode(packed.getvalue()).decode()
    record = picture.record
    text = (
        f"score {comparison(picture.score, picture.threshold)}, {picture.verdict.value}"
        if picture.threshold is not None
        else f"score {comparison(picture.score, None)}, no threshold"
    )
    what = f"{record.defect}, {record.image.name}"
    return (
        f'<figure><img width="{width}" height="{height}" alt="{_escaped(f"{what}: {text}")}" '
        f'src="data:image/jpeg;base64,{data}"><figcaption>'
        f'<span class="badge {picture.outcome.split()[0]}">{badge}</span>'
        f"{html.escape(text)}<br>{_name(record.defect)}, {_name(record.image.name)}"
        "</figcaption></figure>"
    )
