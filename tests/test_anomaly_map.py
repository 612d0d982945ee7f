"""cosine_map, anomaly_score and the arrow they make, against SPEC §2 written straight."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from op_cases import DTYPES, LAYOUTS, available
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from invad_fast import InputError, anomaly_map
from invad_fast.anomaly_map import map_and_score
from invad_fast.ops import anomaly_score, cosine_map, use_implementation

# C×H×W of each scale
SCALES = {
    "pyramid": [(6, 12, 12), (9, 6, 6), (16, 3, 3)],
    "fractional": [(5, 13, 9), (17, 7, 5), (3, 4, 2)],
    "one pixel": [(4, 1, 1), (3, 1, 1)],
    "from one pixel": [(4, 5, 6), (8, 1, 1), (2, 1, 4)],
    "to one pixel": [(4, 1, 1), (8, 3, 5)],
    "finer than the first": [(8, 4, 6), (8, 9, 7)],
    "single": [(33, 5, 7)],
    "equal grids": [(7, 6, 5), (20, 6, 5), (2, 3, 3)],
    "many channels": [(130, 8, 20), (300, 4, 10)],
}
COSINE = [pytest.param(name, id=name) for name in available("cosine_map")]
SCORE = [pytest.param(name, id=name) for name in available("anomaly_score")]
UNIFIED = pytest.mark.parametrize("unified", [True, False], ids=["unified", "per_scale"])


def straightforward(features: list[Tensor], reconstructions: list[Tensor], unified: bool):
    """SPEC §2 word for word, in float64."""
    pairs = [(f.double(), r.double()) for f, r in zip(features, reconstructions)]
    if not unified:
        return [1 - F.cosine_similarity(f, r, dim=1, eps=1e-8) for f, r in pairs]
    size = features[0].shape[2:]
    f, r = (
        torch.cat(
            [
                F.interpolate(
                    F.normalize(m, dim=1, eps=1e-12), size, mode="bilinear", align_corners=True
                )
                for m in side
            ],
            1,
        )
        for side in zip(*pairs)
    )
    return [1 - F.cosine_similarity(f, r, dim=1, eps=1e-8)]


def pyramids(scales, dtypes=(torch.float32, torch.float32), n=2, scale=1.0, layout="channels last"):
    """Features and reconstructions that agree in half of what they are."""
    torch.manual_seed(0)
    of_features, of_reconstructions = LAYOUTS[layout]
    features = [torch.randn(n, *shape) * scale for shape in scales]
    reconstructions = [f / 2 + torch.randn_like(f) * scale for f in features]
    return (
        [of_features(f.to(dtypes[0])) for f in features],
        [of_reconstructions(r.to(dtypes[1])) for r in reconstructions],
    )


def assert_maps(name: str, inputs, unified: bool, tolerance: float = 2e-6) -> list[Tensor]:
    with use_implementation(name, "cosine_map"):
        actual = cosine_map(*inputs, unified)
    expected = straightforward(*inputs, unified)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected):
        assert a.dtype == torch.float32 and a.is_contiguous()
        torch.testing.assert_close(a.double(), e, rtol=0, atol=tolerance, equal_nan=True)
    return actual


@UNIFIED
@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("name", COSINE)
def test_cosine_map(name: str, scales, unified: bool) -> None:
    """The inputs are what they are in their type: nothing is rounded but sums."""
    for dtype in DTYPES:
        for layout in LAYOUTS:
            assert_maps(name, pyramids(scales, (dtype, dtype), layout=layout), unified)
    assert_maps(name, pyramids(scales, (torch.float32, torch.bfloat16)), unified)
    assert_maps(name, pyramids(scales, (torch.float16, torch.float32), layout="mixed"), unified)


@UNIFIED
@pytest.mark.parametrize("scale", [1e-30, 1e-14, 1e-10, 1e-5, 1e4, 1e15])
@pytest.mark.parametrize("name", COSINE)
def test_cosine_map_of_huge_and_tiny(name: str, scale: float, unified: bool) -> None:
    """Tiny: below each of the two smallest norms that SPEC §2 divides by."""
    assert_maps(name, pyramids(SCALES["fractional"], scale=scale), unified)


@UNIFIED
@pytest.mark.parametrize("name", COSINE)
def test_cosine_map_of_zero_vectors(name: str, unified: bool) -> None:
    features, reconstructions = pyramids(SCALES["pyramid"])
    for f, r in zip(features, reconstructions):
        f[0], r[1, :, 1:] = 0, 0
        f[1, :, 0], r[1, :, 0, :2] = 0, 0
    maps = assert_maps(name, (features, reconstructions), unified, 1e-5)
    assert all((m[0] == 1).all() for m in maps)


@pytest.mark.parametrize("name", COSINE)
def test_cosine_map_of_equal_and_opposed(name: str) -> None:
    features, _ = pyramids(SCALES["fractional"])
    with use_implementation(name, "cosine_map"):
        assert cosine_map(features, features)[0].abs().max() < 1e-6
        assert (cosine_map(features, [-f for f in features])[0] - 2).abs().max() < 1e-6


@UNIFIED
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", COSINE)
def test_cosine_map_not_finite(name: str, value: float, unified: bool) -> None:
    """Sizes whose ratio is exact, so that both formulas interpolate the same pixels."""
    features, reconstructions = pyramids([(4, 5, 9), (6, 3, 5), (3, 2, 3)], n=3)
    features[1][0, 2, 1, 1], reconstructions[2][1, 0, 1, 2] = value, value
    features[0][1, 1, 4, 8] = value
    maps = assert_maps(name, (features, reconstructions), unified)
    assert maps[0][2].isfinite().all() and any(m[:2].isnan().any() for m in maps)


@UNIFIED
@pytest.mark.parametrize("name", COSINE)
def test_cosine_map_of_no_images(name: str, unified: bool) -> None:
    maps = assert_maps(name, pyramids(SCALES["pyramid"], n=0), unified)
    assert [m.shape for m in maps] == [(0, 12, 12), (0, 6, 6), (0, 3, 3)][: 1 if unified else 3]


def test_cosine_map_in_float64() -> None:
    inputs = tuple([t.double() for t in side] for side in pyramids(SCALES["fractional"]))
    for name in available("cosine_map"):
        if name == "triton":
            continue  # GPUs of this kind of work have no float64 to speak of: it computes float32
        with use_implementation(name, "cosine_map"):
            actual = cosine_map(*inputs)[0]
        torch.testing.assert_close(actual, straightforward(*inputs, True)[0], rtol=0, atol=1e-14)


def filtered(maps: list[Tensor], size: tuple[int, int], sigma: float) -> Tensor:
    """Resize by torch, Gaussian by scipy, in float64."""
    resized = [
        F.interpolate(m[:, None].double(), size, mode="bilinear", align_corners=True)[:, 0]
        for m in maps
    ]
    mean = torch.stack(resized).mean(0).numpy()
    if sigma:
        mean = np.stack(
            [gaussian_filter(m, sigma, mode="reflect", truncate=4.0) for m in mean]
        ).reshape(mean.shape)
    return torch.from_numpy(mean)


RESIZES = [
    ([(5, 7)], (33, 20)),
    ([(64, 64), (32, 32), (16, 16)], (256, 256)),
    ([(40, 30), (40, 30)], (16, 16)),
    ([(1, 1), (1, 3)], (8, 9)),
    ([(9, 8)], (1, 1)),
    ([(6, 11)], (6, 11)),
    ([(3, 130)], (50, 67)),
]


@pytest.mark.parametrize("sigma", [0.0, 0.6, 4.0, 30.0])
@pytest.mark.parametrize("shapes, size", RESIZES, ids=[f"to {size}" for _, size in RESIZES])
@pytest.mark.parametrize("name", SCORE)
def test_anomaly_score(name: str, shapes, size: tuple[int, int], sigma: float) -> None:
    torch.manual_seed(0)
    for dtype in DTYPES:
        maps = [torch.rand(2, *shape).to(dtype) for shape in shapes]
        maps[0] = maps[0].mT.contiguous().mT
        with use_implementation(name, "anomaly_score"):
            actual, score = anomaly_score(maps, size, sigma)
        assert actual.dtype == score.dtype == torch.float32 and actual.is_contiguous()
        torch.testing.assert_close(actual.double(), filtered(maps, size, sigma), rtol=0, atol=1e-6)
        assert torch.equal(score, actual.amax((1, 2)))


@pytest.mark.parametrize("name", SCORE)
def test_anomaly_score_not_finite(name: str) -> None:
    maps = torch.rand(4, 6, 6)
    maps[0, 2, 3], maps[1, 5, 5], maps[2, 0, 0] = float("nan"), float("inf"), float("-inf")
    with use_implementation(name, "anomaly_score"):
        filtered_maps, score = anomaly_score([maps], (24, 24), 2.0)
        assert torch.equal(anomaly_score([maps[3:]], (24, 24), 2.0)[0], filtered_maps[3:])
    assert score[0].isnan() and not score[1].isfinite()
    assert not filtered_maps[2, :8, :8].isfinite().any() and score[3].isfinite()


@pytest.mark.parametrize("name", SCORE)
def test_anomaly_score_of_no_images(name: str) -> None:
    with use_implementation(name, "anomaly_score"):
        maps, score = anomaly_score([torch.zeros(0, 3, 4)], (9, 8), 1.0)
    assert maps.shape == (0, 9, 8) and score.shape == (0,)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    inputs = pyramids([(64, 32, 32), (96, 16, 16), (128, 8, 8)])
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(map_and_score(*inputs, (128, 128)))
    finally:
        torch.set_num_threads(before)
    for maps, score in results[1:]:
        assert torch.equal(maps, results[0][0]) and torch.equal(score, results[0][1])


@pytest.mark.skipif("cpu" not in available("cosine_map"), reason="the CPU library was not built")
@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_other_instruction_sets(capability: str) -> None:
    """The same tests with what a processor without AVX-512, or without AVX2, would run."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "cpu and not other", __file__],
        env={**os.environ, "INVAD_FAST_CPU_CAPABILITY": capability},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("mode", ["unified", "per_scale"])
def test_the_arrow(mode: str) -> None:
    inputs = pyramids(SCALES["pyramid"])
    maps, score = map_and_score(*inputs, (48, 40), mode)
    expected = filtered(straightforward(*inputs, mode == "unified"), (48, 40), 4.0)
    torch.testing.assert_close(maps.double(), expected, rtol=0, atol=2e-6)
    assert torch.equal(score, maps.amax((1, 2)))
    compiled = torch.compile(map_and_score, fullgraph=True, backend="aot_eager")
    for actual, eager in zip(compiled(*inputs, (48, 40), mode), (maps, score)):
        assert torch.equal(actual, eager)


def test_wrong_inputs_are_refused() -> None:
    f = torch.zeros(2, 3, 4, 5)
    for features, reconstructions in (
        ([], []),
        ([f], []),
        ([f], [f[:, :2]]),
        ([f, f[:1]], [f, f[:1]]),
        ([f[0]], [f[0]]),
        ([f.int()], [f.int()]),
        ([f[..., :0]], [f[..., :0]]),
    ):
        for name in available("cosine_map"):
            with pytest.raises(RuntimeError), use_implementation(name, "cosine_map"):
                cosine_map(features, reconstructions)
    m = torch.zeros(2, 3, 4)
    for maps, size, sigma in (
        ([], (4, 4), 4.0),
        ([m[0]], (4, 4), 4.0),
        ([m, m[:1]], (4, 4), 4.0),
        ([m[:, :0]], (4, 4), 4.0),
        ([m.int()], (4, 4), 4.0),
        ([m], (4, 0), 4.0),
        ([m], (4,), 4.0),
        ([m], (4, 4), -1.0),
        ([m], (4, 4), float("nan")),
    ):
        for name in available("anomaly_score"):
            with pytest.raises(RuntimeError), use_implementation(name, "anomaly_score"):
                anomaly_score(maps, size, sigma)
    with pytest.raises(InputError, match="no anomaly map mode 'best'"):
        anomaly_map([f], [f], (4, 4), "best")
