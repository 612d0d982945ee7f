"""connected_regions against scipy, score_histogram against NumPy: every implementation."""

import numpy as np
import pytest
import torch
from op_cases import available, placed
from scipy import ndimage

from invad_fast.metrics.engines.native_scores import native_module
from invad_fast.ops import connected_regions, score_histogram, use_implementation

RNG = np.random.default_rng(0)


def spiral(side: int) -> np.ndarray:
    """One region, one pixel wide, all the way in: the longest way that a label can have to go."""
    mask = np.zeros((side, side), bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[0, 0] = True
    turns = 0
    while turns < 2:
        ahead = y + 2 * dy, x + 2 * dx
        inside = all(0 <= p < side for p in (y + dy, x + dx))
        blocked = all(0 <= p < side for p in ahead) and mask[ahead]
        if inside and not blocked and not mask[y + dy, x + dx]:
            y, x = y + dy, x + dx
            mask[y, x], turns = True, 0
        else:
            dy, dx, turns = dx, -dy, turns + 1
    return mask


def stripes(h: int, w: int) -> np.ndarray:
    return np.repeat((np.arange(h) % 2 == 0)[:, None], w, 1)


MASKS = {
    "spiral": spiral(41),
    "two spirals": np.concatenate([spiral(20), np.zeros((20, 1), bool), spiral(20)], 1),
    "checkerboard": np.indices((17, 30)).sum(0) % 2 == 0,  # one region: corners touch
    "sparse board": (np.indices((17, 30)) % 2 == 0).all(0),  # as many regions as can be
    "full": np.ones((9, 33), bool),
    "empty": np.zeros((9, 33), bool),
    "rows": stripes(12, 40),
    "columns": stripes(40, 12).T,
    "comb": np.concatenate([stripes(40, 12).T, np.ones((1, 40), bool)]),  # joined in the last row
    "diagonals": np.eye(23, dtype=bool) | np.eye(23, dtype=bool)[::-1],
    "one pixel": np.ones((1, 1), bool),
    "one row": RNG.random((1, 200)) < 0.6,
    "one column": RNG.random((200, 1)) < 0.6,
    "ends and beginnings of rows": np.pad(
        np.zeros((8, 14), bool), ((0, 0), (1, 1)), constant_values=1
    ),
    **{f"random {p}": RNG.random((64, 75)) < p for p in (0.01, 0.1, 0.3, 0.4, 0.5, 0.8, 0.99)},
}


def assert_regions(labels: np.ndarray, areas: np.ndarray, mask: np.ndarray) -> None:
    """Equal to scipy's up to the labels' names, which are those of the first pixels."""
    expected, count = ndimage.label(mask, np.ones((3, 3)))
    first = np.unique(expected, return_index=True)[1][int(expected.min() == 0) :]
    names = np.concatenate([[0], first + 1])
    np.testing.assert_array_equal(labels, names[expected] if count else 0 * expected)
    np.testing.assert_array_equal(areas, np.bincount(expected.ravel())[expected] * (expected > 0))


def check_regions(mask: np.ndarray, connected_regions=connected_regions) -> None:
    for given in (torch.from_numpy(mask), torch.from_numpy(mask * 0.25)):
        labels, areas = connected_regions(torch.stack([given, given.flip(1)]))
        assert labels.dtype == areas.dtype == torch.int32
        assert_regions(labels[0].numpy(), areas[0].numpy(), mask)
        assert_regions(labels[1].numpy(), areas[1].numpy(), mask[:, ::-1])
    strided = torch.from_numpy(np.repeat(mask[None], 2, 0)).mT
    assert_regions(*(out[1].numpy() for out in connected_regions(strided)), mask.T)
    assert connected_regions(torch.zeros(0, 5, 6))[0].shape == (0, 5, 6)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("name", available("connected_regions"))
def test_regions(name: str, mask: np.ndarray) -> None:
    with use_implementation(name, "connected_regions"):
        check_regions(mask, placed(connected_regions, name))


@pytest.mark.skipif(native_module() is None, reason="invad_fast._scores was not built")
def test_regions_of_a_large_map() -> None:
    mask = ndimage.uniform_filter(RNG.random((4096, 4096), np.float32), 5) > 0.52
    labels, areas = native_module().label_regions(mask[None].view(np.uint8))
    assert_regions(labels[0], areas[0], mask)


DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
BOUNDARIES = (0, 1, 7, 3000)


def check_histogram(count: int, dtype: torch.dtype, score_histogram=score_histogram) -> None:
    scores = torch.from_numpy(RNG.standard_normal((3, 70, 90))).to(dtype)
    scores[0, :9, :9] = 0.5  # ties, some at a boundary
    scores[1, 0, :4] = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0])
    areas = torch.from_numpy(RNG.integers(-2000, 50, scores.shape).clip(0)).int()
    picked = RNG.choice(scores[~scores.isnan()].float().numpy(), max(count - 3, 0))
    boundaries = np.sort(np.concatenate([picked, [0.5, 0.0, 1e-42][: min(count, 3)]]))
    boundaries = torch.from_numpy(boundaries.astype(np.float32))
    counts, overlap = score_histogram(scores, areas, boundaries)
    across = score_histogram(scores.mT, areas.mT, boundaries)  # the same pixels, not dense
    bins = np.searchsorted(boundaries.numpy(), scores.float().numpy().ravel(), "left")
    own = areas.numpy().ravel()
    for row, kind in zip(counts.numpy(), (own == 0, own > 0)):
        np.testing.assert_array_equal(row, np.bincount(bins[kind], minlength=len(row)))
    weights = np.divide(1, own, where=own > 0, out=np.zeros(len(own)))
    np.testing.assert_allclose(
        overlap.numpy(), np.bincount(bins, weights, minlength=len(overlap)), atol=1e-8
    )
    assert torch.equal(across[0], counts) and torch.equal(across[1], overlap)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", BOUNDARIES)
@pytest.mark.parametrize("name", available("score_histogram"))
def test_histogram(name: str, count: int, dtype: torch.dtype) -> None:
    with use_implementation(name, "score_histogram"):
        check_histogram(count, dtype, placed(score_histogram, name))


@pytest.mark.parametrize("name", available("score_histogram"))
def test_what_the_ops_refuse(name: str) -> None:
    scores, row = torch.zeros(2, 3, 4), torch.zeros(5)
    with use_implementation(name, "score_histogram"):
        for arguments in (
            (scores, torch.zeros(2, 3, 5, dtype=torch.int32), row),
            (scores, torch.zeros(2, 3, 4), row),
            (scores, torch.zeros(2, 3, 4, dtype=torch.int32), row.double()),
            (scores, torch.zeros(2, 3, 4, dtype=torch.int32), row[None]),
        ):
            with pytest.raises(RuntimeError):
                score_histogram(*arguments)
    with use_implementation(name, "connected_regions"), pytest.raises(RuntimeError):
        connected_regions(torch.zeros(3, 4))
