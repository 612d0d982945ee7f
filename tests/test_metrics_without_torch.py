"""The metrics of NumPy arrays neither need torch nor load it."""

import subprocess
import sys

# The package's own __init__ is passed by: what it imports is not this test's matter.
PROGRAM = """
import importlib.util, sys, types
sys.modules["torch"] = None  # any import of it is an ImportError
package = types.ModuleType("invad_fast")
package.__path__ = list(importlib.util.find_spec("invad_fast").submodule_search_locations)
sys.modules["invad_fast"] = package

import numpy as np
from invad_fast.metrics import AnomalyMetrics, evaluate, image_scores, per_image_recall

random = np.random.default_rng(0)
maps, masks = random.random((4, 9, 9), np.float32), np.zeros((4, 9, 9), bool)
masks[:2, 2:5, 2:5] = True
for mode in ("exact", "streaming"):
    metrics = AnomalyMetrics(mode)
    metrics.update(maps, masks)
    found, expected = metrics.compute(), evaluate(maps, masks)
    np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=1e-9)
assert np.isnan(per_image_recall(maps, masks, 0.1, 0.9)).tolist() == [False, False, True, True]
assert image_scores(maps, 3).shape == (4,)
"""


def test_figures_of_arrays_need_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
