"""The recipe: one file that says all of how a line inspects, thresholds included.

YAML that a person can read and change, by a safe loader; every field is checked, and none is
guessed. On a line the recipe's thresholds alone count, whatever the model file says later.
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from typing_extensions import Self

from invad_fast.checked import Real, Whole, one_line, unknown_name
from invad_fast.errors import InputError, first_line
from invad_fast.files import check_file, write_whole
from invad_fast.prediction import (
    ALL_CLASSES,
    AUTO,
    Origin,
    ScoreRule,
    Thresholds,
    check_class_names,
)

VERSION = 1
_LARGEST = 4 * 2**20  # bytes of a file; a thousand classes take half of one mebibyte
_HEAD = """\
# How a line inspects: made by `invad-fast recipe`, run by `invad-fast inspect`. See docs/line.md.
# Every change is a row of the ledger's audit trail. Changing `score` or `model` voids the
# thresholds until they are calibrated anew.
"""

Name = Annotated[str, Field(min_length=1, max_length=200)]
Pixels = Annotated[Whole, Field(ge=1, le=2**20)]
Milliseconds = Annotated[Real, Field(gt=0, le=86_400_000)]


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class ModelFile(_Section):
    """Which model, and by which kernels it runs."""

    file: Annotated[str, Field(min_length=1)]
    """The model file; a relative path starts at the recipe's folder."""
    digest: Annotated[str, Field(min_length=1)]
    """Of its tensors and configuration; another model under this name is refused."""
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """Where it runs; where the thresholds were set."""
    kernels: dict[str, str] = {}
    """Op → the implementation that ran when the recipe was written; others are refused. On a CPU
    "convolution" names the instructions by which each layer's kernel is chosen."""


class Threshold(_Section):
    """Above which score a part of the class is rejected."""

    value: Real
    """A part is rejected where its score is greater."""
    origin: Origin = Origin()
    """Who set it, when, on how many parts."""


class ClassThresholds(_Section):
    """The thresholds, and what they were set for."""

    set_for: ScoreRule
    """How the scores were made when they were set; under another rule there is no threshold."""
    model: str
    """Digest of the model that they were set for."""
    values: Annotated[dict[Name, Threshold], Field(min_length=1)]
    """Class name, or "*" for any class → threshold."""


class UnknownProducts(_Section):
    """Which parts are like none of the classes."""

    model: str
    """Digest of the model whose descriptors the distances are of."""
    values: Annotated[dict[Name, Threshold], Field(min_length=1)]
    """Class name → the distance from its mean beyond which a part taken for it is not inspected."""


class Frames(_Section):
    """What the camera delivers."""

    size: tuple[Pixels, Pixels] | None = None
    """[width, height] in pixels; a frame of another size is not inspected. null takes any."""
    mm_per_pixel: Annotated[Real, Field(gt=0)] | None = None
    """Scale of the frames, for regions in millimetres."""


class PartPlace(_Section):
    """Where the structure of a good picture has its centre, as shares of width and height."""

    x: tuple[Real, Real]
    """Leftmost and rightmost."""
    y: tuple[Real, Real]
    """Highest and lowest, from the upper edge on."""


class CameraSettings(_Section):
    """A camera, and what is set in it when it is opened."""

    kind: Name
    """genicam, rtsp, usb, or one that an installed package adds."""
    address: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    """genicam: its IP address or device id; rtsp: the URL; usb: number or device file."""
    serial: Name | None = None
    """genicam: its serial number, looked for on all networks, in place of the address."""
    pixel_format: Name | None = None
    """PFNC name, as Mono8; null leaves the camera's own."""
    exposure_us: Annotated[Real, Field(gt=0, le=1e9)] | None = None
    """Microseconds; null leaves the camera's own."""
    gain: Annotated[Real, Field(ge=-1000, le=1000)] | None = None
    """As the camera counts it, mostly decibels; null leaves the camera's own."""
    trigger: Literal["free", "software", "hardware"] = "free"
    """free: each frame is a part, as they come. software: a picture is taken for each part.
    hardware: the camera takes one when its input Line0 rises; a number of the camera's that does
    not come is a part that is not inspected."""
    keeps: Literal["every", "newest"] = "every"
    """Of frames that come faster than they are handed in: every one waits, or the newest wins."""
    timeout_ms: Milliseconds = 1000.0
    """Of a triggered picture; and of a stream that sends nothing, after which it is begun anew."""


class FrameChecks(_Section):
    """What is wrong with a picture before the model sees it; null turns a check off. The figures
    are those of invad_fast/frame_figures.py, of the picture as the model takes it."""

    too_dark: Real | None = None
    """Least brightness, 0 to 255."""
    too_bright: Real | None = None
    """Greatest brightness."""
    empty: Real | None = None
    """Least contrast: below it there is no part."""
    blurred: Real | None = None
    """Least sharpness."""
    shifted: PartPlace | None = None
    """Where the part lies in good pictures."""
    frozen: bool = True
    """Whether a picture that is the one before again, bit for bit, is turned away."""
    pictures: Annotated[Whole, Field(ge=1)] | None = None
    """How many good pictures the limits were learnt from."""
    turned_away: Annotated[Whole, Field(ge=0)] | None = None
    """How many of these would be turned away by limits that were learnt from the others."""


class Queue(_Section):
    """What happens when parts come faster than they are inspected."""

    policy: Literal["inspect", "monitor"] = "inspect"
    """inspect: first in, first out, and what does not fit is a counted NOT_INSPECTED.
    monitor: the newest frame wins, and each that it displaces is a counted NOT_INSPECTED."""
    capacity: Annotated[Whole, Field(ge=1, le=10_000)] = 32
    """Frames that may wait for the engine."""


class Pictures(_Section):
    """Which frames are kept as files, bounded: the oldest go first."""

    folder: Annotated[str, Field(min_length=1)]
    """A relative path starts at the recipe's folder."""
    quota_gib: Annotated[Real, Field(gt=0, le=2**20)] = 10.0
    """The most that the folder may hold, in units of 2³⁰ bytes."""
    near_miss: Annotated[Real, Field(ge=0, le=1)] = 0.1
    """A part that passed with a score within this share of its threshold is kept."""
    sample: Annotated[Whole, Field(ge=0)] = 100
    """Of all parts one in so many is kept at random, as the sample; 0 for none."""


class Drift(_Section):
    """Watches whether scores, pictures and rejects of each class are still what they were."""

    reference: Annotated[Whole, Field(ge=300, le=100_000)] = 500
    """The first so many parts of a class say what is usual; fewer than 300 say too little."""
    since: datetime | None = None
    """The reference is of parts that were triggered from then on, as of a lamp that was changed;
    null for the first that model and score rule have judged. Without an offset it is UTC."""


class GoldenPart(_Section):
    """A picture whose verdict is known: it must come out so, or the line does not start."""

    image: Annotated[str, Field(min_length=1)]
    """A relative path starts at the recipe's folder."""
    verdict: Literal["PASS", "REJECT"]
    """What must come out."""
    class_name: Name | None = None
    """The product that it must be taken for; null for any."""


class Recipe(_Section):
    """What an inspector does; `Recipe.load(path)` reads one. JSON schema: recipe.schema.json."""

    recipe_version: Annotated[Whole, Field(ge=1, le=VERSION)] = VERSION
    """Of this file's fields."""
    name: Name
    """By which triggers choose it and the ledger knows it."""
    station: Name = "line"
    """Where it runs; with the part's id it tells parts of several lines apart."""
    model: ModelFile
    """Which model."""
    score: ScoreRule
    """How a score is made of a frame."""
    classes: Annotated[tuple[Name, ...], Field(min_length=1)]
    """The products that may come; a part of another one is not inspected."""
    class_name: Name = AUTO
    """The product of every part; "auto" lets the model tell."""
    thresholds: ClassThresholds
    """Above which score a part is rejected."""
    unknown_products: UnknownProducts | None = None
    """Which parts are like none of the classes; null inspects every part as one of them."""
    frames: Frames = Frames()
    """What the camera delivers."""
    cameras: tuple[CameraSettings, ...] = ()
    """What `inspect --source camera` opens: one for each view of a part."""
    view_window_ms: Milliseconds = 20.0
    """Frames of several cameras whose times differ by no more are views of one part."""
    frame_checks: FrameChecks | None = None
    """Of each picture before the model; null for none."""
    deadline_ms: Milliseconds = 1000.0
    """From the trigger to the verdict; what is not decided by then is NOT_INSPECTED."""
    engine_timeout_ms: Milliseconds = 10_000.0
    """An engine that does not answer for so long is stopped and started again."""
    queue: Queue = Queue()
    """What happens when parts come too fast."""
    durability: Literal["process", "power"] = "process"
    """process: the ledger survives the end of the process at any moment (kill -9), and a loss of
    power costs the last second or so. power: every row is on the disk before the verdict leaves."""
    pictures: Pictures | None = None
    """Which frames are kept; null for none."""
    golden_parts: tuple[GoldenPart, ...] = ()
    """Checked when the inspector starts, at every change of recipe, and when an engine is started
    again: known good and known bad."""
    drift: Drift | None = None
    """Alarms, which change no verdict; null for none."""

    _folder: Path = Path()

    @field_validator("score", mode="before")
    @classmethod
    def _holds_no_flag(cls, rule: Any) -> Any:
        for name, value in rule.items() if isinstance(rule, dict) else ():
            if isinstance(value, bool):  # for pydantic true is the number 1
                raise ValueError(f"{name} must not be true or false")
        return rule

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        check_class_names(self.classes)
        if len(set(self.classes)) < len(self.classes):
            raise InputError("classes: one stands there twice")
        if self.class_name not in (AUTO, *self.classes):
            raise InputError("class_name: " + unknown_name("class", self.class_name, self.classes))
        for golden in self.golden_parts:
            named = golden.class_name
            if named is not None and named not in self.classes:
                raise InputError("golden_parts: " + unknown_name("class", named, self.classes))
        for name in self.thresholds.values:
            if name not in (ALL_CLASSES, *self.classes):
                raise InputError(
                    "thresholds: " + unknown_name("class", name, (*self.classes, ALL_CLASSES))
                )
        if len({camera.trigger for camera in self.cameras}) > 1:
            raise InputError("cameras: all views of a part have the same trigger")
        for field in ("form", "precision"):
            if getattr(self.score, field) is None:
                raise InputError(f"score.{field}: it must be said on a line")
        gap = self.thresholds.set_for.difference(self.score)
        if gap is not None:
            raise InputError(
                f"the thresholds were set for scores with {gap}: calibrate anew, or put `score` "
                "back"
            )
        if self.thresholds.model != self.model.digest:
            raise InputError("the thresholds were set for another model: calibrate anew")
        if self.unknown_products is not None:
            for name in self.unknown_products.values:
                if name not in self.classes:
                    raise InputError(
                        "unknown_products: " + unknown_name("class", name, self.classes)
                    )
            if self.unknown_products.model != self.model.digest:
                raise InputError("unknown_products were set for another model: calibrate anew")
        return self

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Reads and checks a recipe.

        Raises:
            InputError: one line: which field, what is wrong with it.
        """
        path = Path(path)
        check_file(path, "no recipe {}: `invad-fast recipe MODEL --output FILE` makes one")
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path} is no recipe: it has more than {_LARGEST // 2**20} MiB")
        return cls.of(_read(path), path)

    @classmethod
    def of(cls, content: Any, path: Path) -> Recipe:
        """The recipe of a file's content; ``path`` is where its relative paths start."""
        if not isinstance(content, dict) or "recipe_version" not in content:
            raise InputError(f"{path} is no recipe: it has no recipe_version")
        version = content["recipe_version"]
        if isinstance(version, int) and version > VERSION:
            raise InputError(
                f"{path} is a recipe of version {version}, and this invad_fast reads up to "
                f"{VERSION}: update it"
            )
        try:
            recipe = cls.model_validate(content)
        except ValidationError as error:
            raise InputError(_with_spelling(error, str(path))) from None
        recipe._folder = path.absolute().parent
        return recipe

    def save(self, path: str | Path) -> None:
        """Writes the file whole; relative paths in it start at its folder."""
        import yaml

        text = yaml.safe_dump(
            self.content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
        )
        write_whole(Path(path), _HEAD + text)

    @cached_property
    def content(self) -> dict[str, Any]:
        """The file's content, as JSON would hold it."""
        return self.model_dump(mode="json")

    @cached_property
    def digest(self) -> str:
        """A hash of the content: what the ledger says that a part was judged by."""
        return digest_of(self.content)

    def path_of(self, file: str) -> Path:
        """A file that the recipe names."""
        return self._folder / file

    def distance_limit(self, class_name: str | None) -> float | None:
        """How far a part may be from the mean of the class; None for any distance."""
        if self.unknown_products is None or class_name is None:
            return None
        held = self.unknown_products.values.get(class_name)
        return None if held is None else held.value

    @property
    def limits(self) -> Thresholds:
        """The thresholds, as predictions take them."""
        values = self.thresholds.values
        return Thresholds(
            {name: held.value for name, held in values.items()},
            self.thresholds.set_for,
            {name: held.origin for name, held in values.items()},
        )


def digest_of(content: dict[str, Any]) -> str:
    """The digest of a recipe's content, as whatever version of this package made it."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _read(path: Path) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a key that stands there twice: YAML would take the last, unsaid."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key, _ in node.value:
                name = getattr(key, "value", None)
                if isinstance(name, str) and name in seen:
                    raise InputError(
                        f"{path}: line {key.start_mark.line + 1}: {name!r} stands there twice"
                    )
                seen.add(name if isinstance(name, str) else None)
            return super().construct_mapping(node, deep)

    try:
        with open(path, encoding="utf-8-sig") as file:
            return yaml.load(file, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f" line {mark.line + 1}:"
        raise InputError(f"{path}:{where} it is no YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no YAML: {first_line(error)}") from None


def _with_spelling(error: ValidationError, where: str) -> str:
    """The first fault; of an unknown field, what it may have been meant for."""
    first = error.errors()[0]
    if first["type"] == "invalid_key":
        return f"{where}: {first['input']!r:.60} is no name of a field: names are text"
    if first["type"] not in ("extra_forbidden", "unexpected_keyword_argument"):
        return one_line(error, where)
    *above, name = first["loc"]
    kind: Any = Recipe
    for step in above:
        kind = _within(kind, step)
    place = ".".join(map(str, above))
    fields = getattr(kind, "__pydantic_fields__", {})
    return f"{where}: {place + ': ' if place else ''}{unknown_name('field', str(name), fields)}"


def _within(kind: Any, step: str | int) -> Any:
    """The type of a field, or of what a mapping or a list holds."""
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
    elif get_origin(kind) is tuple:
        inner = get_args(kind)[0]
    else:
        field = getattr(kind, "__pydantic_fields__", {}).get(step)
        inner = None if field is None else field.annotation
    if get_origin(inner) in (Union, UnionType):
        inner = next((each for each in get_args(inner) if each is not NoneType), None)
    return inner


def near(score: float, threshold: float, share: float) -> bool:
    """Whether a score that passes is within this share of its threshold."""
    return math.isfinite(score) and threshold * (1 - share) <= score <= threshold
