"""The torchmetrics class: two real processes, and all that a torchmetrics.Metric can do."""

import copy
import pickle

import numpy as np
import pytest
import torch
from process_pair import run_pair

from invad_fast import InputError
from invad_fast.metrics import FIGURES, AnomalyMetrics, evaluate

torchmetrics = pytest.importorskip("torchmetrics")

from torchmetric_processes import images  # noqa: E402  # needs torchmetrics

from invad_fast.integrations.torchmetrics import AnomalyTorchMetric  # noqa: E402
from invad_fast.metrics.anomaly_metrics import CELLS  # noqa: E402

FEW = 1000


def values(computed: dict[str, torch.Tensor], prefix: str = "") -> dict[str, float]:
    return {key: computed[prefix + key].item() for key in FIGURES}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What two processes, started together, have computed: for all CELLS, and for FEW."""
    out = tmp_path_factory.mktemp("two")
    run_pair("torchmetric_processes.py", out, CELLS, FEW)
    return [torch.load(out / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def test_two_processes_have_the_figures_of_one(two: list[dict]) -> None:
    maps, masks = images()
    one = {protocol: evaluate(maps, masks, protocol) for protocol in ("paper", "exact")}
    again = [*range(len(maps)), 0, 0]  # both have added the first one once more
    batches = [3, 10, 4], [9, 2, 1, 7, 6, 5]
    for results, batch in zip((result[CELLS] for result in two), batches, strict=True):
        for name, expected in (
            ("all", one["paper"]),
            ("reset", one["paper"]),
            ("more", evaluate(maps[again], masks[again])),
            ("batch", evaluate(maps[batch], masks[batch])),  # forward() returns its own
        ):
            assert values(results[name]) == pytest.approx(expected, abs=1e-6), name
        for protocol, expected in one.items():
            got = values(results["collection"], f"{protocol}_")
            assert got == pytest.approx(expected, abs=1e-6), protocol
        assert results["all"]["pixel_auroc_error"] == 0


def test_two_processes_with_full_cells_have_figures_within_their_bounds(two: list[dict]) -> None:
    maps, masks = images()
    mine, other = (result[FEW]["collection"] for result in two)
    for protocol in ("paper", "exact"):
        for key, exact in evaluate(maps, masks, protocol).items():
            name = f"{protocol}_{key}"
            assert mine[name] == other[name]
            assert abs(mine[name].item() - exact) <= mine[f"{name}_error"].item() + 1e-6, name
    assert 0 < mine["paper_pixel_auroc_error"] < 0.01


def test_copies_and_files() -> None:
    maps, masks = images()
    metric = AnomalyTorchMetric("exact")
    metric.update(maps[:4], masks[:4])
    metric.persistent(True)
    restored = AnomalyTorchMetric("exact")
    restored.load_state_dict(metric.state_dict())
    copies = [pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric), metric.clone(), restored]
    expected = evaluate(maps, masks, "exact")
    for own in (metric, *copies):
        own.update(maps[4:], masks[4:])
        assert values(own.compute()) == pytest.approx(expected, abs=1e-6)
    metric.persistent(False)
    assert not metric.state_dict()


def test_collections_and_labels() -> None:
    """Metrics of a collection are grouped where their states are equal; labels need no masks."""
    maps, masks = images()
    labels = masks.any((1, 2))
    both = torchmetrics.MetricCollection(
        {"paper": AnomalyTorchMetric(), "exact": AnomalyTorchMetric("exact")}
    )
    for i in range(len(maps)):
        both.update(maps[i : i + 1], masks[i : i + 1])
    computed = both.compute()
    for protocol in ("paper", "exact"):
        got = values(computed, f"{protocol}_")
        assert got == pytest.approx(evaluate(maps, masks, protocol), abs=1e-6)
    metric = AnomalyTorchMetric()
    metric(maps, labels=labels)
    alone = AnomalyMetrics("streaming")
    alone.update(maps, labels=labels)
    computed = metric.compute()
    assert values(computed) == pytest.approx(alone.compute(), abs=1e-6, nan_ok=True)
    assert np.isnan(computed["aupro"].item()) and computed["image_auroc_error"] == 0


def test_what_is_wrong_is_one_input_error() -> None:
    """Options when it is made; batches; a state that another metric saved, or nobody."""
    maps, masks = images()
    for options in ({"protocol": "papr"}, {"pooling": "3"}, {"pooling": 0}, {"protocol": None}):
        with pytest.raises(InputError):
            AnomalyTorchMetric(**options)
    metric = AnomalyTorchMetric()
    metric.update(maps, masks)
    before = values(metric.compute())
    for given in (
        (maps[0], masks[0]),
        (maps.to_sparse(), masks),
        (maps.log() * 0 / 0, masks),
        (maps, masks, ["good"] * len(maps)),
        (maps, None),
    ):
        with pytest.raises(InputError):
            metric.update(*given)
    assert values(metric.compute()) == before
    for name in ("pixels", "images"):
        good = getattr(metric, name)
        for row, column, value in ((0, 0, -1), (0, 0, 1 << 40), (0, 1, -1), (2, 0, -1), (2, 1, -1)):
            wrong = good.clone()
            wrong[row, column] = value
            setattr(metric, name, wrong)
            with pytest.raises(InputError):
                metric.update(maps, masks)
        for wrong in (good.float(), good[:, :3], good[0], good[:1]):
            setattr(metric, name, wrong)
            with pytest.raises(InputError):
                metric.update(maps, masks)
        setattr(metric, name, good)
