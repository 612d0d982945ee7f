"""The demo of a line: the demo's model, calibrated on good parts, inspects thousands of others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from invad_fast.data import Dataset, Record
from invad_fast.data.production_line import PRODUCTS, photograph_part
from invad_fast.demo import SIZE, run_demo
from invad_fast.evaluation.good_parts import calibrate_model
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.files import make_folder, refuse_foreign, write_whole, written_whole
from invad_fast.inspection.inspector import Inspector
from invad_fast.inspection.ledger.place import remove_ledger
from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.part import Result
from invad_fast.inspection.run_source import run_source
from invad_fast.inspection.sources.picture import Picture
from invad_fast.inspection.sources.simulated_line import GOOD, LineOptions, SimulatedLine
from invad_fast.method_names import load_model
from invad_fast.model_engine import make_recipe
from invad_fast.prediction import Verdict
from invad_fast.progress import track

RATE = 0.01
"""Of false alarms, expected; of each product."""

_WRITTEN = ("line.json", "line.yaml", "line.db")
_CALIBRATION = 11  # no other parts of the demo have this number in their seed


@dataclass
class LineReport:
    """What the line found.

    Attributes:
        good, false_alarms: product → parts without a defect; of these rejected.
        defective, found: product → defect → parts that have it; of these rejected.
        not_inspected: reason → parts.
        expected_rate, rate_95: of false alarms, as the thresholds promise it: the highest of all
            products.
        latency_ms: share of the parts → trigger to verdict.
        triggered, recorded: parts; rows of the ledger, gaps included.
        accounts_close: whether each part has one verdict, and the ledger has them all.
        ledger: its file.
    """

    good: Counter[str] = field(default_factory=Counter)
    false_alarms: Counter[str] = field(default_factory=Counter)
    defective: dict[str, Counter[str]] = field(default_factory=dict)
    found: dict[str, Counter[str]] = field(default_factory=dict)
    not_inspected: Counter[str] = field(default_factory=Counter)
    expected_rate: float = 0.0
    rate_95: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=dict)
    triggered: int = 0
    recorded: int = 0
    accounts_close: bool = False
    ledger: str = ""

    @property
    def false_alarm_rate(self) -> float:
        """Of the good parts that were inspected."""
        return self.false_alarms.total() / max(1, self.good.total())

    @property
    def detection_rate(self) -> float:
        """Of the defective parts that were inspected."""
        found = sum(held.total() for held in self.found.values())
        return found / max(1, sum(held.total() for held in self.defective.values()))

    def save(self, folder: Path) -> None:
        """As ``line.json``."""
        write_whole(folder / _WRITTEN[0], json.dumps(vars(self), indent=2))

    def add(self, picture: Picture, result: Result) -> None:
        """Counts a part whose truth is known."""
        product = str(picture.part_id).rpartition("-")[0]
        if result.reason is not None:
            self.not_inspected[result.reason.value] += 1
        elif picture.defect == GOOD:
            self.good[product] += 1
            self.false_alarms[product] += result.verdict is Verdict.REJECT
        else:
            kind = str(picture.defect)
            self.defective.setdefault(product, Counter())[kind] += 1
            rejected = result.verdict is Verdict.REJECT
            self.found.setdefault(product, Counter())[kind] += rejected


def run_line_demo(
    output: Path,
    *,
    seed: int = 0,
    parts: int = 5000,
    calibration_parts: int = 299,
    show_progress: bool = True,
) -> LineReport:
    """Writes the demo, and in its folder ``line``: ``calibration/`` (good parts), ``line.yaml``,
    ``line.db``, ``line.json``.

    Args:
        output: a folder of an earlier demo, whose model is taken, or a new one.
        seed: of the parts and the defects.
        parts: how many the line inspects; a fifth has a defect.
        calibration_parts: good parts of each product that set its threshold.

    Raises:
        InputError: where such a file is there that this has not made, or its ledger is in use.
    """
    folder = output / "line"
    refuse_foreign(folder, _WRITTEN, {"accounts_close", "ledger"}, "folder")
    ledger = folder / "line.db"
    report = LineReport(ledger=str(ledger))
    report.save(folder)  # by this the next run knows the others to be ours
    remove_ledger(ledger)
    if not (output / "run" / "model.safetensors").exists():
        run_demo(output, seed=seed, show_progress=show_progress)
    model_file = output / "run" / "calibrated.safetensors"
    model = load_model(output / "run" / "model.safetensors")
    dataset = _calibration_set(folder / "calibration", calibration_parts, seed, show_progress)
    limits = calibrate_model(model, dataset, RATE, ScoringOptions(), show_progress)
    model.save(model_file)
    (folder / "line.yaml").unlink(missing_ok=True)
    recipe = make_recipe(model_file, folder / "line.yaml", name="demo line")
    origins = [origin for name, origin in limits.origins.items() if name in PRODUCTS]
    report.expected_rate = max(origin.expected_rate or 0.0 for origin in origins)
    report.rate_95 = max(origin.rate_95 or 0.0 for origin in origins)
    line = SimulatedLine(LineOptions(parts=parts, defects=0.2, seed=seed), SIZE)
    with Inspector(recipe, ledger) as inspector:
        _run(inspector, line, report, parts, show_progress)
        inspector.close()
        accounts = inspector.accounts
    recorded = totals(ledger)
    report.triggered, report.recorded = accounts.triggered, recorded.triggered
    report.accounts_close = (
        accounts.close
        and not accounts.open_parts
        and recorded.triggered == accounts.triggered
        and recorded.passed == accounts.verdicts[Verdict.PASS]
        and recorded.rejected == accounts.verdicts[Verdict.REJECT]
    )
    shares = {"median": 0.5, "p99": 0.99, "p99.9": 0.999}
    report.latency_ms = {name: accounts.latency_ms(share) for name, share in shares.items()}
    report.save(folder)
    return report


def _run(
    inspector: Inspector, line: SimulatedLine, report: LineReport, parts: int, show: bool
) -> None:
    class Shown:
        """The line's pictures, under a bar."""

        at_once = line.at_once

        def __iter__(self):
            return track(line, parts, "inspect", show)

        def stop(self) -> None:
            line.stop()

    run_source(inspector, Shown(), None, report.add)


def _calibration_set(folder: Path, count: int, seed: int, show: bool) -> Dataset:
    """Good parts of each product, as ``<product>/validation/good``."""
    records = []
    wanted = [(name, number) for name in PRODUCTS for number in range(count)]
    for name, number in track(wanted, len(wanted), "paint parts for calibration", show):
        index = list(PRODUCTS).index(name)
        file = folder / name / "validation" / "good" / f"{number:03d}.png"
        if not file.exists():
            pixels, _ = photograph_part(name, None, SIZE, (seed, index, _CALIBRATION, number))
            make_folder(file.parent)
            with written_whole(file) as partial:
                Image.fromarray(pixels).save(partial, format="PNG")
        records.append(Record(file, name, "validation", "good", False, None))
    return Dataset(folder, "mvtec", (), tuple(records))


Printer = Callable[[str], None]


def print_line_report(report: LineReport, say: Printer) -> None:
    """The false alarms beside both promises, the defects found by kind, times, accounts."""
    good, alarms = report.good.total(), report.false_alarms.total()
    say(
        f"false alarms: {alarms} of {good} good parts, {100 * report.false_alarm_rate:.2f} % "
        f"(promised: {100 * report.expected_rate:.2f} % expected; with 95 % confidence, of each "
        f"product, at most {100 * report.rate_95:.2f} %)"
    )
    for product, kinds in report.defective.items():
        told = [f"{kind} {report.found[product][kind]}/{n}" for kind, n in sorted(kinds.items())]
        own = f"{report.false_alarms[product]}/{report.good[product]}"
        say(f"{product}: false alarms {own}; defects found: {', '.join(told)}")
    say(f"defects found in all: {100 * report.detection_rate:.1f} %")
    times = ", ".join(f"{name} {spent:.1f}" for name, spent in report.latency_ms.items())
    say(f"trigger to verdict, ms: {times}")
    reasons = ", ".join(f"{count} {reason}" for reason, count in report.not_inspected.items())
    missed = f"{report.not_inspected.total()} not inspected" + (f" ({reasons})" if reasons else "")
    closes = "the accounts close" if report.accounts_close else "the accounts do NOT close"
    say(f"{report.triggered} parts triggered, {report.recorded} in the ledger, {missed}: {closes}")
