"""map ─> score ─> verdict: what a prediction is, what makes one, and the one comparison.

Nothing here imports torch: an exported model, or a service that asks one, predicts the same way.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

from pydantic import Field, model_validator

from invad_fast.checked import checked
from invad_fast.data.levels import LevelsOption
from invad_fast.data.preparation import Interpolation
from invad_fast.data.region_of_interest import RegionOption, inside_of
from invad_fast.errors import InputError

Array = Any
"""A NumPy array or a torch tensor: a prediction is of the kind of the images that were given."""

ALL_CLASSES = "*"
"""The name of the threshold for parts of any class."""

AUTO = "auto"
"""The class name that asks the model to tell each image's class by itself."""

MapMode = Literal["unified", "per_scale"]

MOST_SIGMA = 1000.0
"""Pixels; the op that smooths maps takes no wider Gaussian."""


class Verdict(str, Enum):
    """What becomes of a part."""

    PASS = "PASS"
    REJECT = "REJECT"
    NOT_INSPECTED = "NOT_INSPECTED"


IS_ANOMALOUS = {Verdict.PASS: False, Verdict.REJECT: True, Verdict.NOT_INSPECTED: None}


def exceeds(scores: Array, thresholds: Array) -> Array:
    """The one comparison that decides: above the threshold is anomalous, equal to it is not.

    In double precision for one score and for arrays of any: a threshold such as 0.1 is no float32.
    """
    if hasattr(scores, "astype"):
        scores = scores.astype("float64")
    elif hasattr(scores, "double"):
        scores = scores.double()
    return scores > thresholds


def judge(score: float, threshold: float | None, why_none: str = "") -> tuple[Verdict, str | None]:
    """(verdict, reason) of one score; the reason is None for PASS and REJECT.

    Args:
        threshold: None where there is none; ``why_none`` says why.
    """
    if not math.isfinite(score):
        return Verdict.NOT_INSPECTED, "the score is not a number"
    if threshold is None:
        return Verdict.NOT_INSPECTED, why_none or "no threshold"
    return (Verdict.REJECT if exceeds(score, threshold) else Verdict.PASS), None


@checked
class ScoreRule:
    """How a score is made of an image; a threshold is worth nothing under another rule.

    Attributes:
        mode: of the anomaly map, "unified" or "per_scale" (method.md §2).
        sigma: standard deviation of the map's Gaussian in pixels; 0 for none.
        pooling: None scores an image by its map's maximum, k by the maximum of k×k means.
        resize: how an image comes to the model's size.
        least_area: pixels of the map: the score is the highest level at which a region (of 8
            neighbours) is at least so large; 1 makes it the maximum.
        region: of interest, polygons of (x, y) as shares of width and height; None for
            everywhere. What lies outside does not count.
        levels: (low, high) that images of more than 8 bits are scaled from; None for all.
        form: which form of the network runs: "plain" (as trained), or "folded"; None for any.
        precision: of the arithmetic, "fp32", "bf16" or "fp16"; "bf16-rounded" or "fp16-rounded"
            for 32 bits on weights that are rounded; None for any.
    """

    mode: MapMode
    sigma: Annotated[float, Field(ge=0, le=MOST_SIGMA)] = 4.0
    pooling: Annotated[int, Field(ge=1, le=65536)] | None = None
    resize: Literal["bilinear, antialiased", "bicubic, antialiased"] = "bilinear, antialiased"
    levels: LevelsOption = None
    least_area: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1
    region: RegionOption = None
    form: str | None = "plain"
    precision: str | None = "fp32"

    @model_validator(mode="after")
    def _agrees(self) -> ScoreRule:
        if self.pooling is not None and not self.takes_maximum:
            raise InputError("pooling and a least area or region of interest cannot go together")
        return self

    @property
    def takes_maximum(self) -> bool:
        """Whether the whole map's highest pixel is the score, but for pooling."""
        return self.least_area == 1 and self.region is None

    @property
    def interpolation(self) -> Interpolation:
        """The resizer's filter."""
        return "bicubic" if self.resize.startswith("bicubic") else "bilinear"

    def inside(self, size: tuple[int, int]) -> Any:
        """H×W bool, the region of interest on a map of this size; None for everywhere."""
        return None if self.region is None else inside_of(self.region, size)

    def but(self, **changes: Any) -> ScoreRule:
        """This rule with fields replaced; those that are None stay."""
        return dataclasses.replace(self, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[type-var]

    def difference(self, other: ScoreRule) -> str | None:
        """The first field in which ``other`` scores otherwise, in words; None where none does."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            any_ = field.name in ("form", "precision") and None in (mine, theirs)
            if mine != theirs and not any_:
                return f"{field.name} {_shown(mine)}, not {_shown(theirs)}"
        return None


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


@checked
class Origin:
    """Where a threshold comes from.

    Attributes:
        source: "training parts" (provisional: the model knows them, so their scores are low),
            "held-out parts" (`invad-fast calibrate`), "test parts" (the same, of a test set, whose
            figures at this threshold are no longer those of unknown parts), "hand", or "an earlier
            version".
        parts: how many good parts it was set on; several pictures of one part are one.
        false_alarm_rate: that was asked for; 0 for the lowest that the parts allow.
        expected_rate: the rate of false alarms among new good parts in the mean
            (`invad_fast.evaluation.conformal`).
        rate_95: the rate that is not exceeded with 95 % confidence.
        extrapolated: it lies beyond the scores that were seen, on a tail that was fitted to them;
            then there is no promise.
        date: when, in UTC, ISO 8601.
        digest: a hash of the pictures that it was set on.
    """

    source: Literal[
        "training parts", "held-out parts", "test parts", "hand", "an earlier version"
    ] = "hand"
    parts: Annotated[int, Field(ge=1)] | None = None
    false_alarm_rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    expected_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    rate_95: Annotated[float, Field(ge=0, le=1)] | None = None
    extrapolated: bool = False
    date: str | None = None
    digest: str | None = None

    @property
    def provisional(self) -> bool:
        """Whether it is only for a first look."""
        return self.source == "training parts"

    def __str__(self) -> str:
        if self.parts is None:
            return f"set by {self.source}"
        rate = f"a false-alarm rate of {self.false_alarm_rate:g}"
        if self.false_alarm_rate == 0:
            rate = "the lowest false-alarm rate that they allow"
        text = f"set on {self.parts} {self.source} for {rate}"
        text += f", {self.date[:10]}" if self.date else ""
        if self.expected_rate is not None and self.rate_95 is not None:
            text += (
                f": {100 * self.expected_rate:.3g} % expected, with 95 % confidence at most "
                f"{100 * self.rate_95:.3g} %"
            )
        if self.extrapolated:
            text += "; extrapolated beyond all scores seen, without a promise"
        if self.provisional:
            text += "; provisional: calibrate on held-out parts"
        return text


class Thresholds(MutableMapping[str, float]):
    """class name → the score above which its parts are anomalous; "*" for any class.

    Assigning a number sets a threshold by hand. Equal to a dictionary of the same numbers.

    Args:
        values: name → a finite number.
        rule: of the scores that the thresholds are for.
        origins: name → where the number comes from; "hand" where it is not said.

    Raises:
        InputError: for a threshold that is no finite number.
    """

    def __init__(
        self,
        values: Mapping[str, float] = {},
        rule: ScoreRule | None = None,
        origins: Mapping[str, Origin] = {},
    ) -> None:
        if not isinstance(values, Mapping):
            raise InputError(f"thresholds are given as {{class name: number}}, not {values!r:.60}")
        self.rule = rule
        self._values = {name: finite_threshold(value, name) for name, value in values.items()}
        self._origins = {name: origins.get(name, Origin()) for name in self._values}

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __setitem__(self, name: str, value: float) -> None:
        self._values[name] = finite_threshold(value, name)
        self._origins[name] = Origin()

    def __delitem__(self, name: str) -> None:
        del self._values[name], self._origins[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._values)

    @property
    def origins(self) -> dict[str, Origin]:
        """name → where its threshold comes from."""
        return dict(self._origins)

    def name_for(self, class_name: str | None) -> str | None:
        """Whose threshold holds for the class: its own, any class's, or None's."""
        name = ALL_CLASSES if class_name is None else class_name
        if name not in self._values:
            name = ALL_CLASSES
        return name if name in self._values else None

    def of(self, class_name: str | None, rule: ScoreRule) -> float | None:
        """The class's threshold for scores made by ``rule``; None where there is none."""
        name = self.name_for(class_name)
        if name is None or self.why_none(rule) is not None:
            return None
        return self._values[name]

    def provisional(self, class_name: str | None) -> bool:
        """Whether the class's threshold is only for a first look."""
        name = self.name_for(class_name)
        return name is not None and self._origins[name].provisional

    def why_none(self, rule: ScoreRule) -> str | None:
        """Why there is no threshold for scores made by ``rule``; None where there may be one."""
        if not self._values:
            return "no threshold: the model was never calibrated"
        difference = None if self.rule is None else self.rule.difference(rule)
        if difference is not None:
            return f"no threshold: the model's were set for scores with {difference}"
        return None

    def updated(self, other: Thresholds) -> Thresholds:
        """These, with those of ``other``, which must be for the same rule.

        Raises:
            InputError: where thresholds of two rules would stand side by side.
        """
        kept = set(self) - set(other)
        if kept and self.rule and other.rule and (gap := self.rule.difference(other.rule)):
            whose = ", ".join(map(shown_class, sorted(kept)))
            raise InputError(
                f"the thresholds of {whose} were set for scores with {gap}: "
                "calibrate all classes, or with the same options"
            )
        return Thresholds(
            {**self._values, **other._values}, other.rule, {**self._origins, **other._origins}
        )


def shown_class(name: str) -> str:
    """Whose threshold it is, for people."""
    return "all classes" if name == ALL_CLASSES else name


def check_class_names(names: Iterable[str], where: str = "") -> None:
    """Refuses a class whose threshold would be taken for that of any class.

    Args:
        where: what holds the names, for the front of the line.
    """
    if ALL_CLASSES in names:
        raise InputError(
            f"{where}no class can be called {ALL_CLASSES!r}, which stands for all classes: "
            "rename it"
        )


def finite_threshold(value: Any, name: str) -> float:
    """The number as a float; InputError where it is not a finite number."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    try:
        if isinstance(name, str) and number and math.isfinite(value):
            return float(value)
    except OverflowError:  # a whole number beyond every float
        pass
    raise InputError(f"the threshold of {name!r} must be a finite number, not {value!r:.60}")


@dataclass(frozen=True)
class Prediction:
    """What a model finds in N images; arrays are of the kind that the images were.

    Attributes:
        score: N; higher is more anomalous.
        map: N×H×W at the model's input size, float32.
        class_names: N names, as given or as the model told them; None where unknown.
        thresholds: N; None where there is none.
        descriptor: N×D, what class prototypes are compared with.
        why_none: why there is no threshold, where there is none.
        distances: N, of the descriptor to its class's mean, in deviations within a class; None
            where that is not known.
        unknown: N, why the image shows none of the classes, by the model's own limits of the
            distance; empty where it may show one. Such an image has no threshold.
    """

    score: Array
    map: Array
    class_names: tuple[str | None, ...]
    thresholds: tuple[float | None, ...]
    descriptor: Array = None
    why_none: str = ""
    distances: tuple[float | None, ...] = ()
    unknown: tuple[str, ...] = ()

    def why_no_threshold(self, place: int) -> str:
        """Why an image has no threshold, where it has none."""
        strange = self.unknown[place] if self.unknown else ""
        return f"unknown product: {strange}" if strange else self.why_none

    @property
    def verdicts(self) -> tuple[tuple[Verdict, str | None], ...]:
        """(verdict, reason) of each image, see :func:`judge`."""
        scores = self.score.tolist()
        pairs = enumerate(zip(scores, self.thresholds))
        return tuple(judge(s, t, self.why_no_threshold(place)) for place, (s, t) in pairs)

    @property
    def anomalous(self) -> tuple[bool | None, ...]:
        """Whether each image is anomalous; None where there is no verdict."""
        return tuple(IS_ANOMALOUS[verdict] for verdict, _ in self.verdicts)


@runtime_checkable
class Predictor(Protocol):
    """Whatever makes predictions of images: a model, an exported one, a tiler, a service.

    A form for inference is in eval mode for ever: `predict` changes no state and may be called
    from several threads.
    """

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images that `predict` takes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the product classes that the model was trained on."""

    @property
    def score_rule(self) -> ScoreRule:
        """How this predictor makes scores."""

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds, of whatever rule they were set for."""

    @property
    def tells_classes(self) -> bool:
        """Whether it knows which product an image shows."""

    @property
    def digest(self) -> str:
        """What the model is: a hash of its tensors and configuration, not of thresholds."""

    def predict(
        self, images: Array, class_name: str | Sequence[str | None] | None = AUTO, **changes: Any
    ) -> Prediction:
        """Scores and maps of N images.

        Args:
            images: uint8 N×H×W×3, RGB; or float32 N×3×H×W with the model's mean and deviation
                taken out (`invad_fast.data.load_tensor`); ImageNet's where it says no others.
            class_name: the product, for its own threshold; one for all images or N of them;
                "auto" lets the model tell, None takes the threshold for any class.
            **changes: fields of the score rule (mode, sigma, pooling) to score by instead; under
                another rule than the thresholds' there is no threshold.

        Raises:
            InputError: for images of another size or kind, a class that the model does not know,
                or a rule that there is not.
        """
