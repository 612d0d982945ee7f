"""A camera's frame to the model's 256×256: compiled, without the compiled core, and PIL alone.

"PIL" is its resize of an image that is there already, the least that any way through PIL takes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from timing import Rounds, timed

from invad_fast.inspection import preprocess as module
from invad_fast.inspection.pixel_formats import PIXEL_FORMATS

SIZE, FRAMES = (256, 256), {"5 MP": (2048, 2448), "1 MP": (1024, 1024), "as it is": (256, 256)}


def work(way: str, name: str, shape: tuple[int, int], monkeypatch) -> Callable[[], object]:
    channels = (3,) if PIXEL_FORMATS[name].layout == "colours" else ()
    frame = np.random.default_rng(0).integers(0, 256, (*shape, *channels), np.uint8)
    if way == "PIL":
        image = Image.fromarray(frame)
        return lambda: image.resize(SIZE[::-1], Image.Resampling.BILINEAR)
    if way == "NumPy and PIL":
        monkeypatch.setattr(module, "native_module", lambda: None)
    out = np.empty((*SIZE, 3), np.uint8)
    return lambda: module.preprocess(frame, name, SIZE, out=out)


@pytest.mark.parametrize("name", ["BGR8", "Mono8", "BayerRG8"])
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("way", ["NumPy and PIL", "compiled", "PIL"])
def test_preprocess(way: str, frame: str, name: str, benchmark, monkeypatch) -> None:
    run = work(way, name, FRAMES[frame], monkeypatch)
    run()
    group = f"preprocess-{name}-{frame}"
    timed(benchmark, group, way, "NumPy and PIL", run, Rounds(2, 20, 200))
