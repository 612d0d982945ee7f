"""States that are merged: what ``state()`` did not give is refused, and has added nothing."""

import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from invad_fast import InputError
from invad_fast.metrics import AnomalyMetrics, anomaly_metrics, engines

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")
arrays = pytest.importorskip("hypothesis.extra.numpy").arrays

MODES = ("exact", "streaming", "few cells")


def accumulator(mode: str, offset: int = 0) -> AnomalyMetrics:
    """With maps and masks of several regions in it."""
    rng = np.random.default_rng(3)
    metrics = AnomalyMetrics("exact" if mode == "exact" else "streaming")
    masks = np.zeros((9, 12, 13), bool)
    masks[::2, 2:5, 3:9] = masks[4, 8:10, 1:3] = masks[6, 11, 12] = True
    metrics.update((rng.random(masks.shape, np.float32) + masks) * 2 - 1 + offset, masks)
    return metrics


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "few cells":  # so that cells are wide
        monkeypatch.setattr(anomaly_metrics, "CELLS", 50)
    return request.param


def leaves(state: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all fields that are no dicts."""
    for name, value in state.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def replaced(state: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(state)
    part = changed
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    return changed


def refuse(metrics: AnomalyMetrics, state: Any) -> str:
    before = metrics.compute()
    with pytest.raises(InputError) as caught:
        metrics.merge_state(state)
    assert metrics.compute() == pytest.approx(before, abs=0, nan_ok=True)
    text = str(caught.value)
    assert text and "\n" not in text
    return text


def wrong_numbers(value: Any) -> list[Any]:
    odd = [-1, "1", None, float("nan"), float("inf"), 10**400, [value], value + 1, True, 0.5, 1j]
    return [*odd, 10**5000, np.ones((9, 9)), np.float32([1]), torch.zeros(2, 2)]


def wrong_arrays(value: np.ndarray) -> list[Any]:
    """Of another type, shape or length; with a number that cannot be, or another order."""
    odd = [None, "x", 3, value.tolist(), value[None], value[:-1], np.append(value, value[-1:])]
    odd += [value.astype(object), value.astype(complex), value.astype(str), value[:0]]
    if value.dtype.kind in "iu":
        odd += [value.astype(np.float64)]
        for number in (-1, np.iinfo(np.int64).max):
            wrong = value.astype(np.int64)
            wrong[0] = number
            odd.append(wrong)
    if value.dtype.kind == "f":
        odd += [np.where(np.arange(len(value)) == 1, bad, value) for bad in (np.nan, -np.inf)]
    if value.dtype.kind == "b":
        odd += [value.astype(np.uint8)]
    return odd


def test_every_field_is_checked(mode: str) -> None:
    metrics = accumulator(mode)
    state = metrics.state()
    tried = 0
    for path in leaves(state):
        value = state
        for name in path:
            value = value[name]
        if path[0] in ("version", "settings", "has_masks"):
            wrong = ["1", 0, -1, None, 1.5, ("exact",), [], False, True, 3]
            wrong += [np.zeros((9, 9)), [np.zeros((9, 9)), None, 1], 10**5000, torch.ones(2, 2)]
            wrong = [w for w in wrong if w is not value]
        elif isinstance(value, np.ndarray):
            wrong = wrong_arrays(value)
        else:
            wrong = wrong_numbers(value)
            if path[-1] == "limit":  # no other field tells what it must be
                wrong = [w for w in wrong if type(w) is not float or not 0 <= w < np.inf]
        for other in wrong:
            text = refuse(metrics, replaced(state, path, other))
            names = ("version", "cannot merge", "masks", "images", "pixels")
            assert any(name in text for name in names), text
            tried += 1
    assert tried > 100


def test_fields_that_are_missing_or_unknown(mode: str) -> None:
    metrics = accumulator(mode)
    state = metrics.state()
    for path in [*leaves(state), ("pixels",), ("images",)]:
        lacking = copy.deepcopy(state)
        part = lacking
        for name in path[:-1]:
            part = part[name]
        del part[path[-1]]
        assert "missing" in refuse(metrics, lacking)
        extra = copy.deepcopy(state)
        part = extra
        for name in path[:-1]:
            part = part[name]
        part["more"] = 1
        assert "unknown" in refuse(metrics, extra)
    for other in (None, 3, [], "state", metrics, json.dumps({}), {}):
        refuse(metrics, other)


def test_what_contradicts_itself(mode: str) -> None:
    metrics = accumulator(mode)
    state = metrics.state()
    pixels = state["pixels"]
    for path, value in (
        (("pixels", "regions"), -1),
        (("pixels", "regions"), pixels["regions"] + 1),
        (("pixels", "low"), pixels["high"]),
        (("pixels", "high"), pixels["low"] - 1),
        (("has_masks",), False),
        (("has_masks",), None),
        (("images",), AnomalyMetrics(state["settings"][0]).state()["images"]),
        (("pixels",), AnomalyMetrics(state["settings"][0]).state()["pixels"]),
        (("images",), accumulator(mode, offset=1).state()["images"]),
    ):
        assert "the state's" in refuse(metrics, replaced(state, path, value))


def test_states_of_others(mode: str) -> None:
    metrics = accumulator(mode)
    own = metrics.state()["settings"]
    for settings in (
        ("exact" if own[0] == "streaming" else "streaming", *own[1:]),
        (own[0], "exact", None),
        (*own[:2], 3),
    ):
        other = AnomalyMetrics(*settings)
        other.update(np.zeros((1, 4, 4)), np.eye(4)[None])
        assert "cannot merge metrics of" in refuse(metrics, other.state())
    assert "version 7" in refuse(metrics, metrics.state() | {"version": 7})
    without = AnomalyMetrics(own[0])
    without.update(np.zeros((2, 4, 4)), labels=[0, 1])
    assert "without" in refuse(metrics, without.state())
    for other in (metrics.state(), None, torch.zeros(3)):
        with pytest.raises(InputError, match="only AnomalyMetrics can be merged"):
            metrics.merge(other)


@pytest.mark.parametrize("mode", ["exact", "streaming"])
@pytest.mark.parametrize("pooling", [None, 3])
@pytest.mark.parametrize("native", [True, False])
@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(st.data())
def test_what_state_gives_is_taken(native: bool, pooling: int | None, mode: str, data) -> None:
    """Of any pixels, from any engine, also sent, stored, or of nothing at all."""
    shape = data.draw(st.tuples(st.integers(0, 4), st.integers(3, 6), st.integers(3, 6)))
    numbers = st.one_of(
        st.integers(-3, 3).map(float), st.floats(width=32, allow_nan=False, allow_infinity=False)
    )
    maps = data.draw(arrays(np.float32, shape, elements=numbers))
    masks = data.draw(st.none() | arrays(np.bool_, shape))
    labels = data.draw(arrays(np.bool_, shape[0])) if masks is None else None
    capacity = data.draw(st.sampled_from([2, 20, 1 << 18]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anomaly_metrics, "CELLS", capacity)
        if not native:
            patch.setattr(engines, "native_module", lambda: None)
        metrics, merged = (AnomalyMetrics(mode, "exact", pooling) for _ in range(2))
        if len(maps):
            metrics.update(maps, masks, labels)
        for take in (lambda s: s, lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy):
            merged.reset()
            merged.merge_state(take(metrics.state()))
            assert merged.compute() == pytest.approx(metrics.compute(), abs=1e-12, nan_ok=True)
            merged.merge_state(take(metrics.state()))
            merged.merge(pickle.loads(pickle.dumps(merged)))


def test_a_state_of_a_device_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = accumulator("exact").compute()
    monkeypatch.setattr(engines, "COUNTED_THERE", ("cpu",))
    there, merged = AnomalyMetrics(), AnomalyMetrics()
    masks = torch.zeros(2, 5, 6, dtype=torch.bool)
    masks[1, 2:4, 2] = True
    there.update(torch.rand(2, 5, 6), masks)
    merged.merge_state(there.state())
    assert merged.compute() == pytest.approx(there.compute(), abs=1e-11)
    assert set(expected) == set(merged.compute())


def test_arrays_of_other_whole_types(mode: str) -> None:
    """A file may keep numbers wider than they were."""
    metrics = accumulator(mode)

    def widened(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: widened(own) for name, own in value.items()}
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
            return value.astype(np.int64)
        return value

    merged = AnomalyMetrics(metrics.mode)
    merged.merge_state(widened(metrics.state()))
    assert merged.compute() == pytest.approx(metrics.compute(), abs=1e-12)
