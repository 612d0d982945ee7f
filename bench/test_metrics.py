"""All figures of a test set: ours, the straightforward way and adeval in one run; three curves."""

import functools
import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from metrics_baseline import smooth_maps, straightforward
from timing import DEVICE, Rounds, timed

from invad_fast.metrics import AnomalyMetrics, evaluate
from invad_fast.metrics.engines import borrow
from invad_fast.metrics.engines.native_scores import native_module

pytestmark = pytest.mark.skipif(native_module() is None, reason="invad_fast._scores was not built")

COUNT = 400
ROUNDS = Rounds(seconds=2.0, least=1, most=9)

maps_of = functools.lru_cache(maxsize=1)(smooth_maps)


def adeval_1000_bins(maps: np.ndarray, masks: np.ndarray) -> object:
    """Three figures, approximate."""
    adeval = pytest.importorskip("adeval")
    with pytest.MonkeyPatch.context() as patch:  # adeval is older than NumPy 2.4
        patch.setattr(np, "trapz", np.trapezoid, raising=False)
        return adeval.auroc_aupr_aupro(list(maps), list(masks.astype(np.uint8)), nstrips=1000)


def paper(maps: np.ndarray, masks: np.ndarray) -> dict:
    return evaluate(maps, masks)


def exact(maps: np.ndarray, masks: np.ndarray) -> dict:
    return evaluate(maps, masks, "exact")


def streaming(maps: np.ndarray, masks: np.ndarray) -> dict:
    metrics = AnomalyMetrics("streaming")
    for i in range(0, len(maps), 16):
        metrics.update(maps[i : i + 16], masks[i : i + 16])
    return metrics.compute()


@pytest.mark.parametrize("ways", [straightforward, adeval_1000_bins, paper, exact, streaming])
def test_all_figures(benchmark, ways: Callable) -> None:
    """400 maps, some 600 regions; ratios to the straightforward way."""
    maps, masks = maps_of(COUNT)
    if ways is paper:
        few = maps[:24], masks[:24]
        expected, figures = straightforward(*few), evaluate(*few)
        for name in expected.keys() & figures.keys():
            assert figures[name] == pytest.approx(expected[name], abs=1e-6), f"{name}: not timed"
    if ways is not straightforward:  # takes half a minute
        ways(maps, masks)
    group = f"all figures of {COUNT} maps"
    timed(benchmark, group, ways.__name__, "straightforward", lambda: ways(maps, masks), ROUNDS)


@pytest.mark.parametrize("count", [10, 1_000, 100_000])
def test_cost_does_not_grow_with_thresholds(benchmark, count: int) -> None:
    maps, masks = maps_of(COUNT)
    scores, _, _ = borrow(maps[:100], masks[:100].view(np.uint8))
    boundaries = np.unique(np.linspace(scores.low, scores.high, count).astype(np.float32))
    nothing = np.empty(0, np.int64)
    timed(
        benchmark, "counts of 100 maps", f"{count} thresholds", "10 thresholds",
        lambda: scores.ranking(boundaries, nothing), ROUNDS,
    )  # fmt: skip


@pytest.mark.parametrize("way", [paper, streaming])
@pytest.mark.parametrize("count", [50, 100, 200, 400])
def test_cost_is_linear_in_pixels(benchmark, count: int, way: Callable) -> None:
    maps, masks = (array[:count] for array in maps_of(COUNT))
    group = f"all figures, {way.__name__}"
    timed(benchmark, group, f"{count} maps", "50 maps", lambda: way(maps, masks), ROUNDS)


def test_coco_ad_sized(benchmark) -> None:
    """4,952 maps, as the test set of COCO-AD has, 1.3 GB of scores."""
    maps, masks = smooth_maps(4952)
    timed(benchmark, "all figures of 4,952 maps", "paper", "", lambda: paper(maps, masks), ROUNDS)


@pytest.mark.skipif(DEVICE.type != "cuda", reason="there is no GPU here")
@pytest.mark.parametrize("way", [paper, exact])
@pytest.mark.parametrize("count", [COUNT, 4952])
def test_on_a_gpu(benchmark, count: int, way: Callable) -> None:
    """Tensors that are there already; the name says the most memory beside them."""
    maps, masks = smooth_maps(count)
    tensors = torch.from_numpy(maps).to(DEVICE), torch.from_numpy(masks).to(DEVICE)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    assert way(*tensors) == pytest.approx(way(maps, masks), abs=1e-9)
    beside = (torch.cuda.max_memory_allocated() - before) / maps.nbytes
    group = f"all figures of {count:,} maps on a GPU"
    name = f"{way.__name__}, {beside:.2f} of the maps' memory beside them"
    timed(benchmark, group, name, "", lambda: way(*tensors), ROUNDS)


# Memory that was freed before counts neither for nor against the call: it is given back first.
MEMORY = """
import ctypes, re, sys
sys.path.insert(0, "bench")
from metrics_baseline import smooth_maps
from invad_fast.metrics import AnomalyMetrics, evaluate

def peak(name="VmHWM"):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

mode, count = sys.argv[1], int(sys.argv[2])
maps, masks = smooth_maps(64)
evaluate(maps, masks)

def start():
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    open("/proc/self/clear_refs", "w").write("5")  # VmHWM begins anew
    return peak("VmRSS")

if mode == "evaluate":
    import numpy as np
    maps, masks = np.concatenate([maps] * (count // 64)), np.concatenate([masks] * (count // 64))
    before = start()
    evaluate(maps, masks)
else:
    before, metrics = start(), AnomalyMetrics(mode)
    for _ in range(count // 64):
        for i in range(0, 64, 16):
            metrics.update(maps[i : i + 16], masks[i : i + 16])
    metrics.errors()
print(peak() - before)
"""


@pytest.mark.parametrize("mode", ["evaluate", "exact", "streaming"])
@pytest.mark.parametrize("count", [256, 1024, 4096])
def test_memory(benchmark, count: int, mode: str) -> None:
    """The most that is used beside the caller's own arrays, in MB: ``extra_info`` and the name."""
    command = [sys.executable, "-c", MEMORY, mode, str(count)]

    def measure() -> float:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(re.findall(r"[\d.]+", done.stdout)[-1])

    beside = benchmark.pedantic(measure)
    benchmark.group = "memory beside the maps"
    benchmark.extra_info["name"] = f"{mode}, {count // 4} MB of maps: {beside:.0f} MB"
