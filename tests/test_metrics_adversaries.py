"""Streaming at its own number of cells, against scores and orders made to break its bounds.

More distinct scores than cells each; what is exact is counted beside. The strongest looks into the
cells and aims at the heaviest.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from invad_fast.metrics import AnomalyMetrics, engines
from invad_fast.metrics.engines.native_scores import native_module
from invad_fast.metrics.figures import pixel_figures
from invad_fast.metrics.float_keys import keys_of, scores_of
from invad_fast.metrics.region_overlap import overlap_thresholds
from invad_fast.metrics.streaming.ranked_cells import RankedCells

pytestmark = pytest.mark.skipif(
    native_module() is None, reason="NumPy's engine makes the same cells, in minutes"
)

RNG = np.random.default_rng(0)
ONE = int(keys_of(np.float32([1.0]))[0])
LEAST, GREATEST = 0x00800001, 0xFF7FFFFE  # keys of finite floats
MOST_ERROR = 1e-4
SIDE = 256

# Keys, and whether anomalous; the argument gives the cells so far.
Batches = Iterator[tuple[np.ndarray, np.ndarray]]
ADVERSARIES: dict[str, Callable[[Callable[[], dict]], Batches]] = {}


def adversary(make: Callable) -> Callable:
    ADVERSARIES[make.__name__] = make
    return make


def marked(keys: np.ndarray, share: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    return keys, RNG.random(keys.shape) < share


def any_float(count: int) -> np.ndarray:
    return RNG.integers(LEAST, GREATEST, count, np.uint32)


def neighbours(count: int, center: int = ONE, width: int = 5000) -> np.ndarray:
    return RNG.integers(center, center + width, count, np.uint32)


def usual(count: int, scale: float = 1.0) -> np.ndarray:
    return keys_of(np.exp(scale * RNG.standard_normal(count)).astype(np.float32))


@adversary
def outliers_before_a_cluster(_) -> Batches:
    yield marked(any_float(500_000))
    yield marked(neighbours(1_500_000))


@adversary
def a_cluster_before_outliers(_) -> Batches:
    yield marked(neighbours(1_500_000))
    yield marked(any_float(500_000))


@adversary
def outliers_and_clusters_in_turn(_) -> Batches:
    for i in range(6):
        yield marked(any_float(150_000))
        yield marked(neighbours(200_000, ONE + (i % 2 << 24), 300 << 3 * i))


@adversary
def rising(_) -> Batches:
    yield marked(np.sort(usual(2_000_000)))


@adversary
def falling(_) -> Batches:
    yield marked(np.sort(usual(2_000_000))[::-1])


@adversary
def clusters_at_every_scale(_) -> Batches:
    for power in RNG.permutation(np.arange(-30, 30)):
        yield marked(neighbours(30_000, ONE + (int(power) << 23), 1 << 18))


@adversary
def clusters_in_the_heaviest_cells(cells) -> Batches:
    yield marked(any_float(600_000), 0.5)
    for _ in range(25):
        state = cells()
        last, bits = state["last"].astype(np.int64), state["bits"].astype(np.int64)
        first = last - (1 << bits) + 1
        share = state["anomalous"] / state["anomalous"].sum() * (bits > 2)
        most = np.argsort(-share)[:2000]
        within = RNG.integers(0, 1 << 40, (2000, 50)) % (1 << bits[most])[:, None]
        keys = (first[most, None] + within).ravel()
        yield marked(np.clip(keys, LEAST, GREATEST).astype(np.uint32), 0.5)


@adversary
def heavy_scores_with_satellites(_) -> Batches:
    heavy = LEAST + (RNG.permutation(16_000)[:14_000].astype(np.uint32) << np.uint32(18))
    for _ in range(2):
        satellites = (heavy[:, None] ^ (1 << np.arange(18, dtype=np.uint32))).ravel()
        keys = np.concatenate([satellites, heavy.repeat(60)])
        yield marked(RNG.permutation(np.minimum(keys, GREATEST)).astype(np.uint32))


@adversary
def one_anomalous_pixel(_) -> Batches:
    for i in range(4):
        keys = usual(500_000)
        yield keys, (np.arange(len(keys)) == np.argsort(keys)[-30]) & (i == 1)


@adversary
def anomalous_pixels_last(_) -> Batches:
    yield marked(usual(1_500_000), 0)
    yield marked(usual(500_000, 0.3), 1)


@adversary
def anomalous_pixels_first(_) -> Batches:
    yield marked(usual(500_000, 0.3), 1)
    yield marked(usual(1_500_000), 0)


@adversary
def subnormal(_) -> Batches:
    zero = int(keys_of(np.float32([0]))[0])
    yield marked(RNG.integers(zero, zero + (1 << 23), 700_000, np.uint32))
    yield marked(neighbours(800_000, zero, 1 << 12))


@adversary
def clusters_at_the_protocols_thresholds(_) -> Batches:
    yield marked(keys_of(RNG.random(600_000).astype(np.float32)))
    for threshold in np.arange(0.05, 1, 0.05):
        center = int(keys_of(np.float32([threshold]))[0])
        yield marked(neighbours(80_000, center - 2000, 4000), 0.3)


@adversary
def thin_regions(_) -> Batches:
    """One pixel each beside a large one, at other scores: recall is one's, overlap the others'."""
    keys = usual(2_000_000)
    rows = np.arange(len(keys)) // SIDE
    single = (rows % 4 == 0) & (np.arange(len(keys)) % 40 == 0) & (rows > 2000)
    yield keys, single | (rows < 1500)


def maps_of(keys: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    padding = -len(keys) % SIDE
    keys, anomalous = (np.append(a, a[-1:].repeat(padding)) for a in (keys, anomalous))
    return scores_of(keys).reshape(1, -1, SIDE), anomalous.reshape(1, -1, SIDE)


def check(streamed: AnomalyMetrics, exact: AnomalyMetrics) -> None:
    for protocol in ("paper", "exact"):
        streamed.protocol = exact.protocol = protocol
        figures, truth = streamed.compute(), exact.compute()
        for key, error in streamed.errors().items():
            assert np.isnan(error) == np.isnan(truth[key]), key
            assert not error > MOST_ERROR, (protocol, key)
            assert not abs(figures[key] - truth[key]) > error + 1e-12, (protocol, key)


@pytest.mark.parametrize("name", ADVERSARIES)
def test_errors_stay_small(name: str) -> None:
    streamed, exact = AnomalyMetrics("streaming"), AnomalyMetrics("exact")
    for keys, anomalous in ADVERSARIES[name](lambda: streamed.state()["pixels"]):
        maps, masks = maps_of(keys, anomalous)
        streamed.update(maps, masks)
        exact.update(maps, masks)
    assert streamed.state()["pixels"]["bits"].any(), "the cells hold more than single scores"
    check(streamed, exact)


def test_a_figure_that_jumps() -> None:
    """The paper's AU-PRO ends at the last of 100 thresholds with a rate below .3.

    Where one has that rate to within a cell, no number of cells tells which is the last. The error
    is stated, and the integral over all thresholds has none of it.
    """
    streamed, exact = AnomalyMetrics("streaming"), AnomalyMetrics("exact")
    rng = np.random.default_rng(3)
    limit, count = float(overlap_thresholds(0, 1)[70]), 1_500_160
    above = int(0.3 * count) - 2
    normal = np.append(limit + 0.2 * rng.random(above), limit * (1 - rng.random(count - above)))
    anomalous = np.clip(0.8 + 0.15 * rng.standard_normal(36_864), 0.01, 0.999)
    normal[-1], anomalous[0] = 0, 1
    order = rng.permutation(len(normal) + len(anomalous))
    scores = np.concatenate([normal, anomalous]).astype(np.float32)[order]
    for metrics in (streamed, exact):
        metrics.update(*maps_of(keys_of(scores), order >= len(normal)))
    error = streamed.errors()["aupro"]
    assert 1e-3 < error < 1e-2
    assert abs(streamed.compute()["aupro"] - exact.compute()["aupro"]) <= error
    streamed.protocol = "exact"
    assert streamed.errors()["aupro"] < MOST_ERROR


def test_errors_stay_small_where_processes_saw_other_scores() -> None:
    """One outliers, one a cluster within their cells, one all anomalous pixels: merged."""
    parts = [AnomalyMetrics("streaming") for _ in range(3)]
    exact = AnomalyMetrics("exact")
    batches = [marked(any_float(600_000), 0.01), marked(neighbours(600_000, width=1 << 20), 0.01)]
    batches += [marked(usual(400_000), 1)]
    for part, batch in zip(parts, batches, strict=True):
        part.update(*maps_of(*batch))
        exact.update(*maps_of(*batch))
    parts[2].merge(parts[0])
    parts[2].merge(parts[1])
    check(parts[2], exact)


def test_errors_of_a_billion_pixels() -> None:
    """Full cells, many times over: the same figures, and all that is added finds room."""
    exact, scores = AnomalyMetrics("exact", "exact"), engines.cells(1 << 18)
    for _ in range(2):
        maps, masks = maps_of(*marked(usual(500_000)))
        exact.update(maps, masks)
        scores.add(maps, masks.view(np.uint8))
    state = scores.state()
    for key in ("normal", "anomalous", "weight", "regions"):
        state[key] = state[key] * 999
    scores.add_state(state)
    ranked = RankedCells(scores.state())
    assert ranked.normal + ranked.anomalous > 10**9 - 10**6
    truth = exact.compute()
    for key, bounds in pixel_figures(ranked, "exact").items():
        assert bounds.error <= MOST_ERROR, key
        assert abs(bounds.value - truth[key]) <= bounds.error + 1e-12, key


@pytest.mark.parametrize("order", [1, -1])
def test_errors_of_image_scores(order: int) -> None:
    """A third of a million distinct ones, outliers and a cluster."""
    streamed, exact = AnomalyMetrics("streaming"), AnomalyMetrics("exact")
    for keys in [any_float(150_000), neighbours(150_000, width=1 << 18)][::order]:
        maps, labels = scores_of(keys).reshape(-1, 1, 1), RNG.random(len(keys)) < 0.3
        for metrics in (streamed, exact):
            metrics.update(maps, labels=labels)
    assert streamed.state()["images"]["bits"].any()
    check(streamed, exact)
    assert streamed.errors()["image_auroc"] > 0
