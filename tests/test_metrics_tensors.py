"""Metrics of tensors that are counted on their own device: a GPU, or the CPU in its place."""

from pathlib import Path

import emulated_cuda
import numpy as np
import pytest
import sample_sets
import torch
from test_metrics_engines import random_maps

from invad_fast import InputError, InvAD, InvADConfig
from invad_fast.evaluation.evaluate import evaluate_model
from invad_fast.metrics import AnomalyMetrics, engines, evaluate, image_scores
from invad_fast.metrics.engines import tensor_scores
from invad_fast.metrics.engines.tensor_scores import BorrowedTensors, HeldTensors


@pytest.fixture(params=["cpu", *["cuda"] * torch.cuda.is_available()])
def there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device whose tensors are taken as those on a GPU are."""
    monkeypatch.setattr(engines, "COUNTED_THERE", (request.param,))
    return request.param


def as_tensors(
    maps: np.ndarray, masks: np.ndarray, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(maps).to(device), torch.from_numpy(masks).to(device)


@pytest.mark.parametrize("protocol, pooling", [("paper", None), ("exact", 3)])
@pytest.mark.parametrize("seed", range(8))
def test_same_figures(there: str, seed: int, protocol: str, pooling: int | None) -> None:
    maps, masks = random_maps(seed)
    pooling = pooling and min(pooling, *maps.shape[1:])
    expected = evaluate(maps, masks, protocol, pooling)
    scores, marks = as_tensors(maps, masks, there)
    classes = ["ab"[i % 2] for i in range(len(maps))]
    figures = evaluate(scores, marks, protocol, pooling)
    assert figures == pytest.approx(expected, abs=1e-11, nan_ok=True)
    by_class = evaluate(scores, marks, protocol, pooling, classes=classes)["classes"]
    expected_a = evaluate(maps[::2], masks[::2], protocol, pooling)
    assert by_class["a"] == pytest.approx(expected_a, abs=1e-11, nan_ok=True)
    metrics = AnomalyMetrics("exact", protocol, pooling)
    for i in range(len(maps)):
        given = scores[i : i + 1], (masks if i % 2 else marks)[i : i + 1]
        metrics.update(*(own for own in given))
    assert isinstance(metrics._pixels, HeldTensors)
    assert metrics.compute() == pytest.approx(expected, abs=1e-11, nan_ok=True)
    np.testing.assert_allclose(image_scores(scores, pooling), image_scores(maps, pooling))


def test_what_is_held_is_a_copy(there: str) -> None:
    maps, masks = random_maps(0)
    scores, marks = as_tensors(maps.copy(), masks, there)
    metrics = AnomalyMetrics()
    metrics.update(scores, marks)
    scores.zero_()  # as a captured CUDA graph does with its outputs
    assert metrics.compute() == pytest.approx(evaluate(maps, masks), abs=1e-11, nan_ok=True)


def test_states_travel_between_devices(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, masks = random_maps(5)
    whole = evaluate(maps, masks, "exact")
    for native in (engines.native_module(), None):
        monkeypatch.setattr(engines, "native_module", lambda native=native: native)
        on_host, on_device = AnomalyMetrics("exact", "exact"), AnomalyMetrics("exact", "exact")
        on_host.update(maps[:1], masks[:1])
        on_device.update(*as_tensors(maps[1:], masks[1:], there))
        first, second = on_host.state(), on_device.state()
        on_host.merge_state(second)
        on_device.merge_state(first)
        for merged in (on_host, on_device):
            assert merged.compute() == pytest.approx(whole, abs=1e-11, nan_ok=True)
            rates = (0.0, 0.2, 0.9, None)
            thresholds = [merged.pixel_threshold(rate) for rate in rates]
            assert thresholds == [on_host.pixel_threshold(rate) for rate in rates]


@pytest.mark.parametrize("masks", [torch.uint8, torch.bool, torch.float32, torch.int64])
def test_kinds_of_tensors(there: str, masks: torch.dtype) -> None:
    maps = torch.randn(3, 9, 12, device=there)
    marked = torch.zeros(maps.shape, dtype=masks, device=there)
    marked[1, 2:4, 5:8] = marked[2, :, 0] = 3
    expected = evaluate(maps.cpu().numpy(), marked.cpu().numpy() != 0)
    for given in (maps.double(), maps.mT.contiguous().mT, maps.clone().requires_grad_()):
        across = marked.mT.contiguous().mT
        for own in (across, across.cpu().numpy(), across.tolist()):
            assert evaluate(given, own) == pytest.approx(expected, abs=1e-11)
    half = maps.half()
    assert evaluate(half, marked) == pytest.approx(
        evaluate(half.cpu().numpy(), marked.cpu().numpy())
    )
    without = evaluate(maps, None, labels=[False, True, True])
    assert without["image_auroc"] == expected["image_auroc"] and np.isnan(without["aupro"])


def test_what_is_refused(there: str) -> None:
    maps, masks = torch.zeros(2, 3, 4, 5, device=there)
    masks[2, 1, 1] = 1
    metrics = AnomalyMetrics()
    for value in (float("nan"), float("inf"), float("-inf")):
        broken = maps.clone()
        broken[1, 2, 2] = value
        for call in (evaluate, metrics.update):
            with pytest.raises(InputError, match="map 1 has scores that are not finite"):
                call(broken, masks)
    for given, message in (
        ((maps[0], masks[0]), "N×H×W"),
        ((maps[:0], masks[:0]), "N ≥ 1"),
        ((maps, masks[:, :3]), r"masks \(3, 3, 5\) do not fit maps \(3, 4, 5\)"),
        ((maps, masks.log()), None),
        ((maps, masks.log().sub(masks.log())), "not numbers"),
        ((maps.to(torch.complex64), masks), "must be numbers"),
        ((maps, None), "labels are needed"),
    ):
        if message is None:  # -inf is not 0
            evaluate(*given)
            continue
        with pytest.raises(InputError, match=message):
            metrics.update(*given)
    metrics.update(maps, masks)
    assert metrics.compute()["pixel_auroc"] == 0.5


@pytest.mark.filterwarnings("ignore:.*random weights")
def test_evaluation_leaves_its_maps_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same figures and scores, batch by batch, and no copy of all pixels in between."""
    root = sample_sets.mvtec(tmp_path)
    torch.manual_seed(0)
    model = InvAD(InvADConfig(encoder="resnet10t", blocks=(1, 1, 1), input_size=32), None)
    options = {"batch_size": 2, "workers": 0, "show_progress": False, "device": "cpu"}
    expected = evaluate_model(model, root, **options)
    held: list[HeldTensors] = []
    begin = HeldTensors.__init__
    monkeypatch.setattr(HeldTensors, "__init__", lambda s, d: (held.append(s), begin(s, d))[1])
    monkeypatch.setattr(AnomalyMetrics, "state", None)
    monkeypatch.setattr(engines, "COUNTED_THERE", ("cpu",))
    found = evaluate_model(model, root, **options)
    assert len(held) == len(expected.classes) > 1
    for name, result in expected.classes.items():
        assert found.classes[name].figures == pytest.approx(result.figures, abs=1e-11, nan_ok=True)
        np.testing.assert_array_equal(found.classes[name].scores, result.scores)


def test_many_anomalous_pixels_are_sorted_in_turns(
    there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one score has more of them than are to be sorted together."""
    rng = np.random.default_rng(0)
    maps = np.exp(rng.normal(0, 20, (4, 50, 60))).astype(np.float32)
    maps[2] = 0.25
    masks = (rng.random(maps.shape) < 0.8).view(np.uint8)
    whole = BorrowedTensors(*as_tensors(maps, masks, there))
    boundaries = np.float32([1e-20, 0.25, 3.0])
    assert len(whole._stretches()) == 1
    expected = whole.ranking(boundaries, np.arange(0, 2000, 300))
    monkeypatch.setattr(tensor_scores, "CHUNK_PIXELS", 500)
    monkeypatch.setattr(tensor_scores, "SORTED_PIXELS", 200)
    pieces = BorrowedTensors(*as_tensors(maps, masks, there))
    assert len(pieces._stretches()) > 10
    found = pieces.ranking(boundaries, np.arange(0, 2000, 300))
    for name in ("auroc", "average_precision", "aupro", "f1_max"):
        value = getattr(expected, name).value
        assert getattr(found, name).value == pytest.approx(value, abs=1e-13), name
    assert found.f1_score == expected.f1_score
    np.testing.assert_array_equal(found.normal_scores, expected.normal_scores)
    np.testing.assert_array_equal(found.overlap_above.low, expected.overlap_above.low)


@pytest.mark.parametrize("seed", [1, 4])
def test_on_the_emulated_kernels(
    having: list[str], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CUDA sources of the two ops under the engine, as it runs on a GPU."""
    monkeypatch.setattr(engines, "COUNTED_THERE", ("cpu",))
    assert {"connected_regions", "score_histogram"} <= set(having)
    maps, masks = random_maps(seed)
    expected = evaluate(maps, masks, "exact")
    with emulated_cuda.emulated(having):
        figures = evaluate(*as_tensors(maps, masks, "cpu"), "exact")
    assert figures == pytest.approx(expected, abs=1e-11, nan_ok=True)
