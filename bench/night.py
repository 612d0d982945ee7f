"""A night on a simulated line: 50,000 parts, two cameras, and what goes wrong in a night.

    python bench/night.py FOLDER [--parts 50000] [--seed 0]

A lamp that ages and is replaced, a camera that is unplugged and comes back, a box of parts of a
product that the model does not know, a change of the recipe, a loss of power, a planned restart:
the constants below say at which share of the night. The inspector, its engine's process, the
cameras' threads and the ledger are those of a line; the cameras' pictures are painted, and the
clock of the ledger goes by parts: eight hours pass, however long the computer takes.

In FOLDER: ``model/`` (made once: nearest neighbours, a minute), ``night.db``, ``report/`` (the
shift report; docs/night.html is one). Prints what became of the parts, by their truth and by event;
exits with status 1 where the accounts do not close or an event is not in the ledger.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from PIL import Image

from invad_fast.data import read_dataset
from invad_fast.data.production_line import DEFECTS, PRODUCTS, photograph_part
from invad_fast.inspection import Inspector, Recipe
from invad_fast.inspection.cameras.camera import CameraError, Captured
from invad_fast.inspection.ledger.place import remove_ledger
from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.ledger.verify import verify
from invad_fast.inspection.recipe import CameraSettings
from invad_fast.inspection.run_source import run_source
from invad_fast.inspection.sources.camera_source import CameraSource
from invad_fast.inspection.sources.picture import Picture
from invad_fast.reports.catalogue import Catalogue
from invad_fast.reports.period import shift
from invad_fast.reports.shift_figures import shift_figures
from invad_fast.reports.shift_report import write_shift_report

STRANGER = "blister"
KNOWN = tuple(name for name in PRODUCTS if name != STRANGER)
SIZE, VIEWS = 64, 2
DEFECTIVE = 0.03  # share of the parts
DIFFERENT = 500  # parts of a product that are painted; each picture has noise of its own
NOISE = 1.0  # standard deviation of it, in grey levels
AT_ONCE = 8  # parts without a verdict: a simulated line can wait

# Events, at shares of the night's parts.
LAMP_AGES, LAMP_IS_OLD, LAMP_IS_NEW = 0.16, 0.40, 0.68
DIM = 0.10  # of its light that the old lamp has lost
UNPLUGGED, PLUGGED = 0.24, 0.244  # the second camera
POWER_CUT = 0.34
NEW_RECIPE = 0.50  # an engineer raises a threshold
STRANGERS, NO_STRANGERS = 0.60, 0.604
STOPPED = LAMP_IS_NEW  # for the lamp
CHANGED, FACTOR = "fabric", 1.1  # whose threshold, by how much

ZONE = ZoneInfo("Europe/Berlin")
EVENING = datetime(2026, 11, 26, 22, tzinfo=ZONE)
HOURS = 8


@dataclass(frozen=True)
class Part:
    """What lies under the cameras."""

    number: int
    product: str
    defect: str | None

    @property
    def name(self) -> str:
        return f"{self.product}-{self.number}"


class Belt:
    """The parts of a night one after another, and the light on them."""

    def __init__(self, parts: int, seed: int, number: int = -1) -> None:
        self.parts, self.seed = parts, seed
        self.number = number
        self._since = time.monotonic()

    def share(self) -> float:
        """How much of the night is over."""
        return self.number / self.parts

    def part(self, number: int) -> Part:
        rng = np.random.default_rng((self.seed, number))
        if STRANGERS <= number / self.parts < NO_STRANGERS:
            return Part(number, STRANGER, None)
        product = KNOWN[number % len(KNOWN)]
        kinds = [kind.__name__ for kind in DEFECTS[product]]
        defect = kinds[rng.integers(len(kinds))] if rng.random() < DEFECTIVE else None
        return Part(number, product, defect)

    def lamp(self) -> float:
        """Share of its light."""
        if self.share() >= LAMP_IS_NEW:
            return 1.0
        aged = (self.share() - LAMP_AGES) / (LAMP_IS_OLD - LAMP_AGES)
        return 1 - DIM * min(1.0, max(0.0, aged))

    def picture(self, view: int) -> np.ndarray:
        """Of the part that lies there, by one camera; the second sees it in a mirror."""
        part = self.part(self.number)
        twin = part.number // len(KNOWN) % DIFFERENT
        pixels = view_of(painted(part.product, part.defect, (self.seed, 51, twin)), view)
        rng = np.random.default_rng((self.seed, part.number, view))
        noise = NOISE * rng.standard_normal(pixels.shape, np.float32)
        return np.clip(np.rint(pixels * np.float32(self.lamp()) + noise), 0, 255).astype(np.uint8)

    def advance(self) -> Part:
        """The next part comes."""
        self.number += 1
        self._since = time.monotonic()
        return self.part(self.number)

    def time_ns(self) -> int:
        """The night's clock: each part has its time, in which this machine's seconds go by."""
        period = HOURS * 3_600_000_000_000 // self.parts
        passed = min(period - 1, int(1e9 * (time.monotonic() - self._since)))
        return int(EVENING.timestamp()) * 1_000_000_000 + max(0, self.number) * period + passed


@cache
def painted(product: str, defect: str | None, seed: tuple[int, ...]) -> np.ndarray:
    """uint8 SIZE×SIZE×3."""
    index = list(PRODUCTS).index(product)
    return photograph_part(product, defect, SIZE, (*seed, index))[0]


def view_of(pixels: np.ndarray, view: int) -> np.ndarray:
    """The second camera sees the part in a mirror."""
    return pixels if view == 0 else pixels[:, ::-1]


class BeltCamera:
    """A camera over the belt; see `invad_fast.inspection.cameras.camera.Camera`."""

    def __init__(self, belt: Belt, view: int) -> None:
        self._belt, self._view = belt, view
        self._taken: np.ndarray | None = None
        self._count = 0

    def _answer(self) -> None:
        if self._view == 1 and UNPLUGGED <= self._belt.share() < PLUGGED:
            raise CameraError("the camera does not answer")

    def open(self) -> None:
        self._answer()

    def trigger(self) -> None:
        self._answer()
        if self._belt.number == round(POWER_CUT * self._belt.parts):
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1
        self._taken = self._belt.picture(self._view)

    def read(self, timeout: float) -> Captured | None:
        taken, self._taken = self._taken, None
        return None if taken is None else Captured(taken, "RGB8", self._count)

    def close(self) -> None:
        self._taken = None


class Night:
    """The belt's pictures as a source, from the next part on."""

    at_once = AT_ONCE

    def __init__(self, belt: Belt, inspector: Inspector, recipe: Path) -> None:
        self._belt, self._inspector, self._recipe = belt, inspector, recipe
        cameras = Recipe.load(recipe).cameras
        self._source = CameraSource(
            cameras, make=lambda each: BeltCamera(belt, int(str(each.address))), tell=print
        )

    def stop(self) -> None:
        self._source.stop()

    def __iter__(self) -> Iterator[Picture]:
        pictures = iter(self._source)
        while True:
            part = self._belt.advance()
            if part.number == round(NEW_RECIPE * self._belt.parts):
                self._inspector.change_recipe(with_threshold(self._recipe))
            yield replace(next(pictures), part_id=part.name)


def with_threshold(recipe: Path) -> Path:
    """The recipe's file after an engineer has raised a threshold in it."""
    held = Recipe.load(recipe)
    content = held.content
    value = content["thresholds"]["values"][CHANGED]
    value["value"] = round(FACTOR * value["value"], 6)
    Recipe.of(content, recipe).save(recipe)
    return recipe


def with_new_lamp(recipe: Path, since: datetime) -> None:
    """The recipe's file after a lamp was changed: drift is watched from then on."""
    content = Recipe.load(recipe).content
    content["drift"]["since"] = since.isoformat()
    Recipe.of(content, recipe).save(recipe)


def run_until_it_ends(folder: Path, parts: int, seed: int) -> None:
    """One run of the inspector: until the power is cut, the line is stopped, or the night ends."""
    ledger, recipe = folder / "night.db", folder / "model" / "night.yaml"
    done = totals(ledger).triggered if ledger.exists() else 0
    belt = Belt(parts, seed, done - 1)
    time.time_ns = belt.time_ns  # the ledger's times are the night's
    stop = round(STOPPED * parts)
    if done == stop:
        with_new_lamp(recipe, datetime.fromtimestamp(belt.time_ns() / 1e9, ZONE))
    until = stop if done < stop else parts
    with Inspector(recipe, ledger) as inspector:
        run_source(inspector, Night(belt, inspector, recipe), until - done)
        inspector.close()
        print(inspector.accounts)


def make_model(folder: Path, seed: int) -> None:
    """``model.safetensors``, calibrated on good parts of both views, and ``night.yaml``."""
    from invad_fast.demo import ENCODER, demo_encoder_weights
    from invad_fast.evaluation.good_parts import calibrate_model
    from invad_fast.evaluation.options import ScoringOptions
    from invad_fast.model_engine import make_recipe
    from invad_fast.nearest_neighbours import NearestNeighbours
    from invad_fast.training.options import TrainingOptions

    sets = {"train": (60, 52), "validation": (300, 53)}
    for name in KNOWN:
        for split, (count, stream) in sets.items():
            place = folder / "parts" / name / split / "good"
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = painted(name, None, (seed, stream, number))
                for view in range(VIEWS):
                    rng = np.random.default_rng((seed, stream, number, view))
                    noise = NOISE * rng.standard_normal(pixels.shape)
                    shown = np.clip(np.rint(view_of(pixels, view) + noise), 0, 255).astype(np.uint8)
                    Image.fromarray(shown).save(place / f"{number:03d}_view{view}.png")
    parts = read_dataset(folder / "parts")
    model = NearestNeighbours(
        encoder_weights=demo_encoder_weights(), encoder=ENCODER, input_size=(SIZE, SIZE)
    )
    model.teach(model, parts, TrainingOptions(seed=seed))
    calibrate_model(model, parts, 0.01, ScoringOptions(), part="(.*)_view[0-9]")
    model.save(folder / "calibrated.safetensors")
    recipe = folder / "recipe.yaml"
    recipe.unlink(missing_ok=True)
    content = make_recipe(folder / "calibrated.safetensors", recipe, name="night").content
    cameras = [
        CameraSettings(
            kind="belt", address=str(view), trigger="software", timeout_ms=100
        ).model_dump(mode="json")
        for view in range(VIEWS)
    ]
    content |= {"cameras": cameras, "station": "line 3", "deadline_ms": 2000.0}
    Recipe.of(content, recipe).save(recipe)


def run_night(folder: Path, parts: int, seed: int) -> None:
    """All runs of a night, each in a process of its own; the first ends by a loss of power."""
    remove_ledger(folder / "night.db")
    content = Recipe.load(folder / "model" / "recipe.yaml").content
    Recipe.of(content, folder / "model" / "x").save(folder / "model" / "night.yaml")
    words = [sys.executable, __file__, str(folder), "--parts", str(parts), "--seed", str(seed)]
    for status in (-signal.SIGKILL, 0, 0):
        ended = subprocess.run([*words, "--one-run"]).returncode
        if ended != status:
            raise SystemExit(f"a run of the night ended with status {ended}, not {status}")


def write_report(folder: Path) -> None:
    """The shift report of the night, as `invad-fast report shift` writes it."""
    ledger = folder / "night.db"
    night = shift(EVENING.date(), ZONE, EVENING.time(), (EVENING + timedelta(hours=HOURS)).time())
    words = Catalogue("en", ZONE)
    write_shift_report(shift_figures(ledger, night), Path(ledger.name), folder / "report", words)


def what_became(folder: Path, parts: int, seed: int) -> Iterator[tuple[str, bool]]:
    """(a line for each event and each kind of part, whether it is as it must be)."""
    belt, ledger = Belt(parts, seed), folder / "night.db"
    found: dict[str, Counter[str]] = {kind: Counter() for kind in ("good", "defective", "strange")}
    with sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True) as rows:
        for name, verdict, reason in rows.execute("SELECT part_id, verdict, reason FROM parts"):
            part = belt.part(int(name.rpartition("-")[2]))
            kind = "strange" if part.product == STRANGER else "defective" if part.defect else "good"
            found[kind][reason or verdict] += 1
        alarms = rows.execute("SELECT class_name, part, since, detail FROM alarms").fetchall()
        first = rows.execute("SELECT min(at) FROM audit").fetchone()
        changes = rows.execute(
            "SELECT recipe, key, old, new FROM audit WHERE at > ?", first
        ).fetchall()
        starts = rows.execute("SELECT count(*) FROM openings").fetchone()[0]
    for kind, counts in found.items():
        told = ", ".join(f"{count} {what}" for what, count in counts.most_common())
        yield f"{kind}, {counts.total()} parts: {told}", counts.total() > 0
    whole, wrong = totals(ledger), verify(ledger)[0]
    yield f"{whole.triggered} parts triggered, {whole.open} open", whole.triggered == parts
    yield f"the ledger is {'; '.join(wrong) or 'sound'}", not (wrong or whole.open)
    yield (
        f"{starts} starts, {whole.by_reason.get('restarted', 0)} restarted parts",
        (starts == 3 and 0 < whole.by_reason.get("restarted", 0) <= AT_ONCE),
    )
    strange, lost = found["strange"], round(PLUGGED * parts) - round(UNPLUGGED * parts)
    yield "of the strangers none passed", not strange["PASS"]
    unseen = whole.by_reason.get("camera", 0)
    yield f"{unseen} parts without the second camera of {lost}", unseen > 0.9 * lost
    for name, part, since, detail in alarms:
        yield f"alarm at part {part}, {name}: {detail}, since {since}", True
    yield f"{len(alarms)} alarms, of the lamp among them", any("brightness" in a[3] for a in alarms)
    for change in changes:
        yield "change: " + ", ".join(map(str, change)), True
    yield f"{len(changes)} changes", any(CHANGED in change[1] for change in changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one-run", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one_run:
        run_until_it_ends(given.folder, given.parts, given.seed)
        return
    if not (given.folder / "model" / "recipe.yaml").exists():
        make_model(given.folder / "model", given.seed)
    started = time.monotonic()
    run_night(given.folder, given.parts, given.seed)
    print(f"{given.parts} parts in {(time.monotonic() - started) / 60:.1f} minutes")
    write_report(given.folder)
    lines = list(what_became(given.folder, given.parts, given.seed))
    for line, right in lines:
        print(line if right else f"WRONG: {line}")
    if not all(right for _, right in lines):
        raise SystemExit(1)


_Formatter = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    main()
