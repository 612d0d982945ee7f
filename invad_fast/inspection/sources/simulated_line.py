"""A line that was never built: parts of the demo's products, at a rate, with what goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from invad_fast.checked import Real, Whole, checked, unknown_name
from invad_fast.errors import InputError
from invad_fast.inspection.part import Reason
from invad_fast.inspection.sources.picture import Picture

GOOD = "good"
_PRODUCTS, _DRAWN = 1, 2  # streams of random numbers
_STREAM = 7  # no set of the demo is made of these parts
_IN_MEMORY = 256  # pictures of a line whose pace the painting could not keep


@checked
class LineOptions:
    """What a simulated line does.

    Attributes:
        parts: how many come; None for no end.
        rate: parts a second; None for as fast as they are inspected, every part painted afresh.
            At a rate the parts are drawn from 256 that were painted before.
        jitter: standard deviation of the time between two parts, as a share of it.
        burst: parts that come at once, at every so manieth interval; 1 for none.
        defects: share of the parts that have one.
        faults: share of the parts with a fault of the camera: no frame, half a frame, a grey or a
            16-bit one.
        seed: of all that is drawn; the same seed is the same line.
    """

    parts: Annotated[Whole, Field(ge=1)] | None = None
    rate: Annotated[Real, Field(gt=0, le=100_000)] | None = None
    jitter: Annotated[Real, Field(ge=0, le=10)] = 0.1
    burst: Annotated[Whole, Field(ge=1, le=10_000)] = 1
    defects: Annotated[Real, Field(ge=0, le=1)] = 0.1
    faults: Annotated[Real, Field(ge=0, le=1)] = 0.0
    seed: Annotated[Whole, Field(ge=0)] = 0


class SimulatedLine:
    """Parts of the demo's products one after another; see :class:`LineOptions`.

    Args:
        size: side of the square pictures.
        products: of these; those of the demo.
    """

    def __init__(
        self, options: LineOptions, size: int, products: Sequence[str] | None = None
    ) -> None:
        from invad_fast.data.production_line import DEFECTS, PRODUCTS

        names = list(PRODUCTS if products is None else products)
        for name in names:
            if name not in PRODUCTS:
                raise InputError(
                    "a simulated line makes " + unknown_name("product", name, PRODUCTS)
                )
        self.options, self.size = options, size
        # Painting takes a core: it does not run beside the engine whose times are measured.
        self.at_once = 1 if options.rate is None else None
        self._index = {name: number for number, name in enumerate(PRODUCTS)}
        self._kinds = {name: [kind.__name__ for kind in DEFECTS[name]] for name in names}
        self._stopped = threading.Event()

    def stop(self) -> None:
        """No further part comes."""
        self._stopped.set()

    def __iter__(self) -> Iterator[Picture]:
        rng = np.random.default_rng((self.options.seed, _DRAWN))
        fresh = self._painted()
        painted = [] if self.at_once else [next(fresh) for _ in range(_IN_MEMORY)]
        due, number, place = time.monotonic(), 0, 0
        while not self._stopped.is_set():
            for _ in range(self.options.burst):
                if number == self.options.parts:
                    return
                if painted:  # never the same twice running: that is what a frozen camera does
                    place = (place + 1 + int(rng.integers(len(painted) - 1))) % len(painted)
                picture = painted[place] if painted else next(fresh)
                yield self._photographed(picture, number, rng)
                number += 1
            if self.options.rate is not None:
                period = self.options.burst / self.options.rate
                due += max(0.0, period * (1 + self.options.jitter * rng.standard_normal()))
                self._stopped.wait(max(0.0, due - time.monotonic()))

    def _painted(self) -> Iterator[Picture]:
        from invad_fast.data.production_line import photograph_part

        rng = np.random.default_rng((self.options.seed, _PRODUCTS))
        names, number = list(self._kinds), 0
        while True:
            name = names[number % len(names)]
            kinds = self._kinds[name]
            defective = rng.random() < self.options.defects
            defect = kinds[rng.integers(len(kinds))] if defective else None
            seed = (self.options.seed, self._index[name], _STREAM, number)
            pixels, _ = photograph_part(name, defect, self.size, seed)
            yield Picture(name, pixels, defect=defect or GOOD)
            number += 1

    def _photographed(self, picture: Picture, number: int, rng: np.random.Generator) -> Picture:
        """The picture as the camera delivers it, which may fail."""
        part, pixels = f"{picture.part_id}-{number}", picture.frame
        assert pixels is not None  # it was painted
        if rng.random() >= self.options.faults:
            return Picture(part, pixels, defect=picture.defect)
        fault = rng.integers(4)
        if fault == 0:
            reason, detail = Reason.CAMERA, "no frame came"
            return Picture(part, None, reason=reason, detail=detail, defect=picture.defect)
        broken = [pixels[: len(pixels) // 2, :, 0], pixels[..., 0], pixels.astype(np.uint16)]
        return Picture(part, broken[fault - 1], defect=picture.defect)
