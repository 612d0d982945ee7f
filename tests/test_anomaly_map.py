"""cosine_map, anomaly_score and the arrow they make, against method.md §2 written straight."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import emulated_cuda
import numpy as np
import pytest
import torch
from another_process import run_again
from op_cases import DTYPES, LAYOUTS, available, placed
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from invad_fast import InputError
from invad_fast.anomaly_map import anomaly_map, map_and_score
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
EMULATED = "emulated"  # csrc/cuda on the CPU, see cuda_emulation/
UNIFIED = pytest.mark.parametrize("unified", [True, False], ids=["unified", "per_scale"])


@dataclass(frozen=True)
class Implementation:
    """A function as one implementation of its op runs it."""

    function: Callable
    name: str
    emulated_ops: list[str]

    def __call__(self, *arguments):
        if self.name != EMULATED:
            with use_implementation(self.name, self.function.__name__):
                return placed(self.function, self.name)(*arguments)
        with emulated_cuda.emulated(self.emulated_ops):
            results = self.function(*arguments)
        with emulated_cuda.emulated(self.emulated_ops, order="reversed"):
            again = self.function(*arguments)
        for result, other in zip(results, again):
            torch.testing.assert_close(result, other, rtol=0, atol=0, equal_nan=True)
        return results

    @property
    def slow(self) -> bool:
        """Interpreted or emulated: seconds where others take milliseconds."""
        return self.name in (EMULATED, "triton")


def implementation(request: pytest.FixtureRequest, function: Callable) -> Implementation:
    """The one that the fixture's parameter names."""
    if request.param == "triton":  # fewer programs: the interpreter takes milliseconds for each
        patch = request.getfixturevalue("monkeypatch")
        patch.setattr("invad_fast.kernels.cosine_map.PIXELS", 256)
    emulated_ops = request.getfixturevalue("having") if request.param == EMULATED else []
    return Implementation(function, request.param, emulated_ops)


@pytest.fixture(params=[*available("cosine_map"), EMULATED])
def cosine(request: pytest.FixtureRequest) -> Implementation:
    return implementation(request, cosine_map)


@pytest.fixture(params=[*available("anomaly_score"), EMULATED])
def score(request: pytest.FixtureRequest) -> Implementation:
    return implementation(request, anomaly_score)


def straightforward(features: list[Tensor], reconstructions: list[Tensor], unified: bool):
    """method.md §2 word for word, in float64."""
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


def assert_maps(
    cosine: Implementation, inputs, unified: bool, tolerance: float = 2e-6
) -> list[Tensor]:
    actual = cosine(*inputs, unified)
    expected = straightforward(*inputs, unified)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected):
        assert a.dtype == torch.float32 and a.is_contiguous()
        torch.testing.assert_close(a.double(), e, rtol=0, atol=tolerance, equal_nan=True)
    return actual


@UNIFIED
@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES)
def test_cosine_map(cosine: Implementation, scales, unified: bool) -> None:
    """The inputs are what they are in their type: nothing is rounded but sums."""
    inputs = list(itertools.product(DTYPES, LAYOUTS))
    if cosine.slow:
        inputs = inputs[:: len(LAYOUTS) + 1]  # every type, each in another layout
    for dtype, layout in inputs:
        assert_maps(cosine, pyramids(scales, (dtype, dtype), layout=layout), unified)
    mixed = [(torch.float32, torch.bfloat16), (torch.float16, torch.float32)]
    for dtypes in mixed[: 1 if cosine.slow else None]:
        assert_maps(cosine, pyramids(scales, dtypes, layout="mixed"), unified)


@UNIFIED
@pytest.mark.parametrize("scale", [1e-30, 1e-14, 1e-10, 1e-5, 1e4, 1e15])
def test_cosine_map_of_huge_and_tiny(cosine: Implementation, scale: float, unified: bool) -> None:
    """Tiny: below each of the two smallest norms that method.md §2 divides by."""
    assert_maps(cosine, pyramids(SCALES["fractional"], scale=scale), unified)


@UNIFIED
def test_cosine_map_of_zero_vectors(cosine: Implementation, unified: bool) -> None:
    features, reconstructions = pyramids(SCALES["pyramid"])
    for f, r in zip(features, reconstructions):
        f[0], r[1, :, 1:] = 0, 0
        f[1, :, 0], r[1, :, 0, :2] = 0, 0
    maps = assert_maps(cosine, (features, reconstructions), unified, 1e-5)
    assert all((m[0] == 1).all() for m in maps)


def test_cosine_map_of_equal_and_opposed(cosine: Implementation) -> None:
    features, _ = pyramids(SCALES["fractional"])
    assert cosine(features, features)[0].abs().max() < 1e-6
    assert (cosine(features, [-f for f in features])[0] - 2).abs().max() < 1e-6


@UNIFIED
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_cosine_map_not_finite(cosine: Implementation, value: float, unified: bool) -> None:
    """Sizes whose ratio is exact, so that both formulas interpolate the same pixels."""
    features, reconstructions = pyramids([(4, 5, 9), (6, 3, 5), (3, 2, 3)], n=3)
    features[1][0, 2, 1, 1], reconstructions[2][1, 0, 1, 2] = value, value
    features[0][1, 1, 4, 8] = value
    maps = assert_maps(cosine, (features, reconstructions), unified)
    assert maps[0][2].isfinite().all() and any(m[:2].isnan().any() for m in maps)


@UNIFIED
def test_cosine_map_of_no_images(cosine: Implementation, unified: bool) -> None:
    maps = assert_maps(cosine, pyramids(SCALES["pyramid"], n=0), unified)
    assert [m.shape for m in maps] == [(0, 12, 12), (0, 6, 6), (0, 3, 3)][: 1 if unified else 3]


def test_cosine_map_in_float64(cosine: Implementation) -> None:
    inputs = tuple([t.double() for t in side] for side in pyramids(SCALES["fractional"]))
    actual = cosine(*inputs)[0]
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
    ([(32, 32), (16, 16), (8, 8)], (96, 96)),
    ([(40, 30), (40, 30)], (16, 16)),
    ([(1, 1), (1, 3)], (8, 9)),
    ([(9, 8)], (1, 1)),
    ([(6, 11)], (6, 11)),
    ([(3, 130)], (50, 67)),
]


@pytest.mark.parametrize("shapes, size", RESIZES, ids=[f"to {size}" for _, size in RESIZES])
def test_anomaly_score(score: Implementation, shapes, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    kinds = list(itertools.product(DTYPES, (0.0, 0.6, 4.0, 30.0)))
    for dtype, sigma in kinds[:: len(DTYPES) if score.slow else 1]:
        maps = [torch.rand(2, *shape).to(dtype) for shape in shapes]
        maps[0] = maps[0].mT.contiguous().mT
        actual, scores = score(maps, size, sigma)
        assert actual.dtype == scores.dtype == torch.float32 and actual.is_contiguous()
        torch.testing.assert_close(actual.double(), filtered(maps, size, sigma), rtol=0, atol=1e-6)
        assert torch.equal(scores, actual.amax((1, 2)))


def test_anomaly_score_in_float64(score: Implementation) -> None:
    maps = [torch.rand(2, 9, 7, dtype=torch.float64), torch.rand(2, 3, 4)]
    actual = score(maps, (30, 40), 4.0)[0]
    torch.testing.assert_close(actual, filtered(maps, (30, 40), 4.0), rtol=0, atol=1e-14)


def test_anomaly_score_not_finite(score: Implementation) -> None:
    maps = torch.rand(4, 6, 6)
    maps[0, 2, 3], maps[1, 5, 5], maps[2, 0, 0] = float("nan"), float("inf"), float("-inf")
    filtered_maps, scores = score([maps], (24, 24), 2.0)
    assert torch.equal(score([maps[3:]], (24, 24), 2.0)[0], filtered_maps[3:])
    assert scores[0].isnan() and not scores[1].isfinite()
    assert not filtered_maps[2, :8, :8].isfinite().any() and scores[3].isfinite()


def test_anomaly_score_of_no_images(score: Implementation) -> None:
    maps, scores = score([torch.zeros(0, 3, 4)], (9, 8), 1.0)
    assert maps.shape == (0, 9, 8) and scores.shape == (0,)


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
def test_other_instruction_sets_in_another_process(capability: str) -> None:
    """What a processor without AVX-512, or without AVX2, would run."""
    run_again(__file__, "cpu and not another_process", {"INVAD_FAST_CPU_CAPABILITY": capability})


def test_triton_in_its_interpreter_in_another_process() -> None:
    pytest.importorskip("triton", reason="triton is not installed: it comes with torch's builds")
    run_again(__file__, "triton and not another_process", {"TRITON_INTERPRET": "1"})


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


def test_cosine_map_refuses(cosine: Implementation) -> None:
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
        with pytest.raises(RuntimeError):
            cosine(features, reconstructions)
    with pytest.raises(InputError, match="no anomaly map mode 'best'"):
        anomaly_map([f], [f], (4, 4), "best")


def test_anomaly_score_refuses(score: Implementation) -> None:
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
        with pytest.raises(RuntimeError):
            score(maps, size, sigma)
