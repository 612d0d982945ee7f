"""All figures of a test set: ours, the straightforward way and adeval in one run; three curves.

`pytest bench/test_metrics.py -s` prints the ratios that the README gives.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
from metrics_baseline import smooth_maps, straightforward

from invad_fast.metrics import AnomalyMetrics, evaluate
from invad_fast.metrics.engines import borrow
from invad_fast.metrics.native_scores import native_module

pytestmark = pytest.mark.skipif(native_module() is None, reason="invad_fast._scores was not built")


def seconds(function: Callable[[], object], rounds: int = 5) -> float:
    """The median of some rounds."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def test_against_the_straightforward_and_adeval(monkeypatch: pytest.MonkeyPatch) -> None:
    """400 maps, some 600 regions; adeval on 100 of them, its cost does not depend on that."""
    adeval = pytest.importorskip("adeval")
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)  # adeval is older than NumPy 2.4
    maps, masks = smooth_maps(400)
    few, few_masks = maps[:24], masks[:24]
    expected = straightforward(few, few_masks)
    for name, figure in evaluate(few, few_masks).items():
        if name in expected:
            assert figure == pytest.approx(expected[name], abs=1e-6), f"{name}: wrong is not timed"
    ours = seconds(lambda: evaluate(maps, masks)) / len(maps)
    exact = seconds(lambda: evaluate(maps, masks, "exact")) / len(maps)
    slow = seconds(lambda: straightforward(maps, masks), 1) / len(maps)
    some, some_masks = list(maps[:100]), list(masks[:100].astype(np.uint8))
    theirs = seconds(lambda: adeval.auroc_aupr_aupro(some, some_masks, nstrips=1000), 1) / 100
    print(
        f"\na map of 256×256, all figures: {1e3 * ours:.3f} ms (protocol exact {1e3 * exact:.3f}); "
        f"straightforward {1e3 * slow:.1f} ms = {slow / ours:.0f}×; "
        f"adeval, 3 figures of 1,000 bins, {1e3 * theirs:.2f} ms = {theirs / ours:.1f}×"
    )


def test_cost_does_not_grow_with_thresholds() -> None:
    maps, masks = smooth_maps(100)
    scores, _, _ = borrow(maps, masks.view(np.uint8))
    nothing = np.empty(0, np.int64)
    print("\nthresholds: ms for 100 maps")
    for count in (10, 100, 1_000, 10_000, 100_000):
        boundaries = np.unique(np.linspace(scores.low, scores.high, count).astype(np.float32))
        print(f"{count:7}: {1e3 * seconds(lambda b=boundaries: scores.ranking(b, nothing)):.1f}")


def test_cost_is_linear_in_pixels() -> None:
    maps, masks = smooth_maps(800)
    print("\nmaps: ms a map, exact and streaming")
    for count in (25, 50, 100, 200, 400, 800):
        own, streaming = (maps[:count], masks[:count]), AnomalyMetrics("streaming")
        start = time.perf_counter()
        for i in range(0, count, 16):
            streaming.update(own[0][i : i + 16], own[1][i : i + 16])
        streaming.compute()
        streamed = (time.perf_counter() - start) / count
        exact = seconds(lambda o=own: evaluate(*o), 3) / count
        print(f"{count:5}: {1e3 * exact:.3f} {1e3 * streamed:.3f}")


def test_coco_ad_sized() -> None:
    """4,952 maps, as the test set of COCO-AD has, 1.3 GB of scores."""
    maps, masks = smooth_maps(4952)
    taken = seconds(lambda: evaluate(maps, masks), 3)
    print(f"\n4,952 maps of 256×256, all figures: {taken:.2f} s ({masks.mean():.1%} anomalous)")


MEMORY = """
import re, sys
sys.path.insert(0, "bench")
from metrics_baseline import smooth_maps
from invad_fast.metrics import AnomalyMetrics, evaluate

def peak(name="VmHWM"):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

mode, count = sys.argv[1], int(sys.argv[2])
maps, masks = smooth_maps(64)
evaluate(maps[:1, :9, :9], masks[:1, :9, :9], labels=[1])
if mode == "evaluate":
    import numpy as np
    maps, masks = np.concatenate([maps] * (count // 64)), np.concatenate([masks] * (count // 64))
    before = peak("VmRSS")
    evaluate(maps, masks)
else:
    before, metrics = peak("VmRSS"), AnomalyMetrics(mode)
    for _ in range(count // 64):
        for i in range(0, 64, 16):
            metrics.update(maps[i : i + 16], masks[i : i + 16])
    metrics.errors()
print(peak() - before)
"""


def test_memory() -> None:
    """Beside the caller's own arrays."""
    print("\nmaps: MB of the maps, then beside them: evaluate, exact, streaming")
    for count in (256, 1024, 4096):
        beside = []
        for mode in ("evaluate", "exact", "streaming"):
            command = [sys.executable, "-c", MEMORY, mode, str(count)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            beside.append(float(re.findall(r"[\d.]+", done.stdout)[-1]))
        print(f"{count:5}: {count / 4:.0f}; {', '.join(f'{m:.0f}' for m in beside)}")
