"""What is wrong with maps, masks, labels and options is one InputError, and changes nothing."""

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode

from invad_fast import InputError
from invad_fast.metrics import (
    FIGURES,
    AnomalyMetrics,
    engines,
    evaluate,
    image_scores,
    mean_figures,
    per_image_recall,
)

RNG = np.random.default_rng(0)
MAPS = RNG.random((3, 6, 7), np.float32)
MASKS = np.zeros(MAPS.shape, bool)
MASKS[1, 2:4, 2:5] = True
LABELS = [False, True, False]
TENSOR = torch.from_numpy(MAPS)


def broken(value: Any, dtype: Any = np.float32) -> np.ndarray:
    maps = MAPS.astype(dtype)
    maps[2, 3, 3] = value
    return maps


class Unreadable:
    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise KeyError("two\nlines")


ODD_TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sparse": lambda t: t.to_sparse(),
    "sparse rows": lambda t: t.flatten(1).to_sparse_csr(),
    "meta": lambda t: t.to("meta"),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "quantised": lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.quint8),
    "nested": lambda t: torch.nested.nested_tensor(list(t)),
    "jagged": lambda t: torch.nested.nested_tensor(list(t), layout=torch.jagged),
    "fake": lambda t: FakeTensorMode().from_tensor(t),
    "complex": lambda t: t.to(torch.complex64),
    "a channel": lambda t: t[:, None],
    "one map": lambda t: t[0],
    "no map": lambda t: t[:0],
    "no pixel": lambda t: t[:, :0],
}
ODD_MAPS = {
    "NaN": broken(np.nan),
    "inf": broken(np.inf),
    "too large for float32": broken(-1e300, np.float64),
    "NaN in bfloat16": torch.from_numpy(broken(np.nan)).bfloat16(),
    "object": MAPS.astype(object),
    "complex": MAPS.astype(np.complex64),
    "text": MAPS.astype(str),
    "bytes": b"maps",
    "dates": np.zeros(MAPS.shape, "datetime64[s]"),
    "records": np.zeros(MAPS.shape, [("score", np.float32)]),
    "None": None,
    "a number": 0.5,
    "one row": MAPS[0, 0],
    "four dimensions": MAPS[None],
    "ragged lists": [[[1.0, 2.0]], [[1.0]]],
    "ragged arrays": [np.ones((2, 2)), np.ones((3, 2))],
    "ragged tensors": [torch.ones(2, 2), torch.ones(2, 3)],
    "arrays and lists": [np.ones((6, 7)), [[1.0]]],
    "no list": [],
    "a dict": {"maps": MAPS},
    "a generator": (m for m in MAPS),
    "masked": np.ma.masked_less(MAPS, 0.5),
    "integers too large": [[[10**400]]],
    "a map of 2^31 pixels": np.broadcast_to(np.float32(0), (1, 1 << 16, 1 << 15)),
    "an array that cannot be read": Unreadable(),
}
ODD_MASKS = {
    "NaN": broken(np.nan),
    "text": MASKS.astype(str),
    "object": MASKS.astype(object),
    "complex": MASKS.astype(complex),
    "other size": MASKS[:, :5],
    "other number": MASKS[:2],
    "far too large": np.broadcast_to(np.float64(1), (1 << 20, 1 << 20, 1 << 10)),
    "one for all": MASKS[0],
    "ragged": [[[True]], [[True, False]]],
    "masked": np.ma.masked_equal(MASKS, False),
    "a number": 1,
    "labels": LABELS,
}
ODD_LABELS = {
    "words": ["good", "bad", "good"],
    "words as array": np.array(["0", "1", "0"]),
    "bytes": np.array([b"", b"x", b""]),
    "NaN": [float("nan"), 0, 1],
    "inf": [np.inf, 0, 1],
    "two": [0, 1, 2],
    "minus one": [-1, 1, 1],
    "a half": [0.5, 0.0, 1.0],
    "as in masks": np.uint8([0, 255, 0]),
    "objects": np.array([True, False, True], object),
    "None in it": [None, True, False],
    "too few": LABELS[:2],
    "too many": [*LABELS, True],
    "a column": [[x] for x in LABELS],
    "one for all": True,
    "text": "010",
    "none": [],
    "ragged": [[True], [True, False], True],
    "a dict": dict.fromkeys("abc", True),
    "meta": torch.tensor(LABELS, device="meta"),
    "sparse": torch.tensor(LABELS).to_sparse(),
    "complex": np.array(LABELS, complex),
    "masked": np.ma.masked_array(LABELS, [True, False, False]),
}
# Also what has no repr of one line, or of Python's none at all.
HUGE: list[Any] = [np.zeros((40, 40)), 10**5000]
ODD_POOLING = [*HUGE, "3", 2.5, 3.0, 0, -1, True, np.True_, [3], (3, 3), np.nan, 1 << 70, 7]
ODD_NAMES = [*HUGE, "x" * 10_000, "a\nb", "papr", "PAPER", "", None, 1, ["paper"], b"paper"]
ODD_CLASSES = [*HUGE, "abc", "", 3, ["a", "b"], ["a", "b", 3], ["a", "b", None], [["a"]] * 3]
ODD_CLASSES += [["a", "b", HUGE[0]], np.array("a"), set("abc"), dict.fromkeys("abc"), [b"a"] * 3]
ODD_RATES = [*HUGE, "0.1", True, np.nan, -0.1, 1.1, [0.1, 0.2], 1j, np.inf]


def kind(value: Any) -> str:
    """A test's name of a value that may have no short repr."""
    return type(value).__name__


def one_line(call: Callable[[], Any]) -> str:
    """What the call's InputError says."""
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert text and "\n" not in text and len(text) < 400
    return text


def refuse_everywhere(maps: Any, masks: Any, labels: Any) -> None:
    """By every door, and an accumulator goes on as if nothing had been."""
    message = one_line(lambda: evaluate(maps, masks, labels=labels))
    for mode in ("exact", "streaming"):
        metrics, alone = AnomalyMetrics(mode), AnomalyMetrics(mode)
        assert one_line(lambda m=metrics: m.update(maps, masks, labels)) == message
        for own in (metrics, alone):
            own.update(MAPS, None if masks is None else MASKS, LABELS)
        assert one_line(lambda m=metrics: m.update(maps, masks, labels)) == message
        assert metrics.compute() == pytest.approx(alone.compute(), abs=0, nan_ok=True)


@pytest.fixture(params=["host", "device"])
def counted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Tensors read as arrays, or taken as those on a GPU are."""
    if request.param == "device":
        monkeypatch.setattr(engines, "COUNTED_THERE", ("cpu",))
    return request.param


def odd_tensor(name: str, values: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():  # of torch's own: that such tensors are new, or going away
        warnings.simplefilter("ignore")
        return ODD_TENSORS[name](values)


@pytest.mark.parametrize("name", ODD_TENSORS)
def test_odd_tensors(name: str, counted: str) -> None:
    maps = odd_tensor(name, TENSOR)
    refuse_everywhere(maps, None, LABELS)
    one_line(lambda: image_scores(maps))
    masks = odd_tensor(name, torch.from_numpy(MASKS).float() + 1)
    for right in (MAPS, TENSOR):
        refuse_everywhere(right, masks, None)


@pytest.mark.parametrize("name", ODD_MAPS)
def test_odd_maps(name: str, counted: str) -> None:
    maps = ODD_MAPS[name]
    refuse_everywhere(maps, None, LABELS)
    one_line(lambda: image_scores(maps))
    one_line(lambda: per_image_recall(maps, MASKS))


@pytest.mark.parametrize("name", ODD_MASKS)
def test_odd_masks(name: str, counted: str) -> None:
    for maps in (MAPS, TENSOR):
        refuse_everywhere(maps, ODD_MASKS[name], None)
    one_line(lambda: per_image_recall(MAPS, ODD_MASKS[name]))


@pytest.mark.parametrize("name", ODD_LABELS)
def test_odd_labels(name: str, counted: str) -> None:
    for maps in (MAPS, TENSOR):
        refuse_everywhere(maps, None, ODD_LABELS[name])
        refuse_everywhere(maps, MASKS, ODD_LABELS[name])


@pytest.mark.parametrize(
    "labels",
    [
        np.array(LABELS),
        [0, 1, 0],
        [0.0, 1.0, 0.0],
        np.uint8([0, 1, 0]),
        torch.tensor(LABELS),
        torch.tensor([0.0, 1.0, 0.0], dtype=torch.bfloat16),
        [torch.tensor(x) for x in LABELS],
        [np.bool_(x) for x in LABELS],
        tuple(LABELS),
    ],
)
def test_labels_that_are_right(labels: Any, counted: str) -> None:
    expected = evaluate(MAPS, None, labels=LABELS)
    assert evaluate(MAPS, None, labels=labels) == pytest.approx(expected, nan_ok=True)
    assert evaluate(TENSOR, None, labels=labels) == pytest.approx(expected, nan_ok=True)


def test_maps_that_are_right(counted: str) -> None:
    """Of any type that holds numbers, also in lists."""
    levels = (MAPS * 8).astype(np.uint8)
    expected = evaluate(levels.astype(np.float32), MASKS)
    tensor = torch.from_numpy(levels)
    for maps in (
        list(levels),
        list(tensor),
        list(tensor.float().requires_grad_()),
        tuple(levels.tolist()),
        levels.astype(">f8"),
        levels[::-1][::-1],
        np.ma.masked_array(levels, False),
        *(tensor.to(t) for t in (torch.int64, torch.uint16, torch.uint64, torch.bfloat16)),
        torch.complex(tensor.float(), -tensor.float()).conj().imag,  # negative by a flag
    ):
        assert evaluate(maps, MASKS) == pytest.approx(expected, abs=1e-11)
    for marks in (
        torch.from_numpy(MASKS).to(torch.uint16),
        torch.from_numpy(MASKS).half() / 2,
        list(torch.from_numpy(MASKS)),
        np.where(MASKS, -np.inf, 0),
    ):
        for maps in (levels, tensor):
            assert evaluate(maps, marks) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("pooling", ODD_POOLING, ids=kind)
def test_odd_pooling(pooling: Any) -> None:
    for maps in (MAPS, TENSOR):
        one_line(lambda m=maps: evaluate(m, MASKS, pooling=pooling))
        one_line(lambda m=maps: image_scores(m, pooling))
    for mode in ("exact", "streaming"):
        message = one_line(lambda m=mode: AnomalyMetrics(m, pooling=pooling).update(MAPS, MASKS))
        assert "pooling" in message


@pytest.mark.parametrize("pooling", [np.int64(3), torch.tensor(3)])
def test_pooling_of_other_integers(pooling: Any) -> None:
    expected = evaluate(MAPS, MASKS, pooling=3)
    assert evaluate(MAPS, MASKS, pooling=pooling) == expected
    metrics = AnomalyMetrics(pooling=pooling)
    metrics.update(MAPS, MASKS)
    metrics.merge(AnomalyMetrics(pooling=3))
    assert metrics.compute() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ODD_NAMES, ids=kind)
def test_odd_names(name: Any) -> None:
    assert "choose paper or exact" in one_line(lambda: evaluate(MAPS, MASKS, name))
    assert "choose paper or exact" in one_line(lambda: AnomalyMetrics(protocol=name))
    assert "choose exact or streaming" in one_line(lambda: AnomalyMetrics(name))


@pytest.mark.parametrize("own", [{}, dict.fromkeys(FIGURES), dict.fromkeys(FIGURES, "x"), [1]])
def test_the_mean_of_what_are_no_figures(own: Any) -> None:
    figures = {"a": evaluate(MAPS, MASKS), "b\n": own}
    assert "class 'b\\n'" in one_line(lambda: mean_figures(figures))


def test_a_misspelt_name_gets_the_right_one() -> None:
    assert "did you mean 'paper'?" in one_line(lambda: evaluate(MAPS, MASKS, "papr"))
    assert "did you mean 'streaming'?" in one_line(lambda: AnomalyMetrics("streeming"))
    assert "did you mean" not in one_line(lambda: AnomalyMetrics("quick"))


@pytest.mark.parametrize("classes", ODD_CLASSES, ids=kind)
def test_odd_classes(classes: Any) -> None:
    assert "class" in one_line(lambda: evaluate(MAPS, MASKS, classes=classes))


def test_class_names_are_data() -> None:
    names = ["a", "a\0", "mean"]
    found = evaluate(MAPS, MASKS, classes=names)
    assert set(found["classes"]) == set(names)
    assert set(evaluate(MAPS, MASKS, classes=np.array(["b", "a", "b"]))["classes"]) == {"a", "b"}


@pytest.mark.parametrize("rate", ODD_RATES, ids=kind)
def test_odd_rates(rate: Any) -> None:
    metrics = AnomalyMetrics()
    metrics.update(MAPS, MASKS)
    assert "rate" in one_line(lambda: metrics.pixel_threshold(rate))
    assert "rate" in one_line(lambda: per_image_recall(MAPS, MASKS, rate, 0.5))
    assert "rate" in one_line(lambda: per_image_recall(MAPS, MASKS, 1e-5, rate))


def test_messages_say_what_and_where_and_what_to_do() -> None:
    for call, parts in (
        (lambda: evaluate(broken(np.nan), MASKS), ["map 2", "not finite"]),
        (lambda: evaluate(MAPS[0], MASKS), ["(6, 7)", "maps[None]"]),
        (lambda: evaluate(MAPS[:, None], MASKS), ["(3, 1, 6, 7)", "squeeze(1)"]),
        (lambda: evaluate(TENSOR.to_sparse(), MASKS), ["sparse", "maps.to_dense()"]),
        (lambda: evaluate(MAPS, TENSOR.to(torch.float8_e4m3fn)), ["float8", "masks.float()"]),
        (lambda: evaluate(MAPS, None, labels=[0, 1, 2]), ["labels", "number 2 is 2", "1 or 0"]),
        (lambda: evaluate(MAPS, None, labels=["good"] * 3), ["labels", "true or false", "<U4"]),
        (lambda: evaluate(MAPS, None), ["labels are needed"]),
        (lambda: per_image_recall(MAPS, None), ["needs masks"]),
        (lambda: evaluate([MAPS[0], MAPS[1, :3]], MASKS), ["number 1", "(3, 7)", "(6, 7)"]),
    ):
        text = one_line(call)
        for part in parts:
            assert re.search(re.escape(part), text), (part, text)


def test_a_perfect_map_has_no_aupro_in_the_papers_protocol() -> None:
    """As the docs say: no threshold below a false-positive rate of 0.3 has another rate than 0."""
    maps = MASKS.astype(np.float32)
    paper, exact = evaluate(maps, MASKS), evaluate(maps, MASKS, "exact")
    assert np.isnan(paper["aupro"]) and np.isnan(paper["mad"]) and exact["aupro"] == 1
    defined = {k for k, v in paper.items() if not np.isnan(v)}
    assert set(paper) - defined == {"aupro", "mad"}
    metrics = AnomalyMetrics("streaming")
    metrics.update(maps, MASKS)
    assert metrics.compute() == pytest.approx(paper, abs=1e-9, nan_ok=True)
