"""The good parts: five products of different character, each one a little different."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from invad_fast.data.production_line.paint import Canvas, Coverage, Image, fill, shade


@dataclass
class Part:
    """A part as drawn, and what a defect needs to know of it.

    Attributes:
        image: the good part.
        surface: where a defect may have its centre.
        pieces: coverage of each piece that may be missing.
        beneath: the part without those pieces.
        body: what of the image is the part; None for all of it.
    """

    image: Image
    surface: Coverage
    pieces: list[Coverage] = field(default_factory=list)
    beneath: Image | None = None
    body: Coverage | None = None


def fabric(canvas: Canvas, rng: np.random.Generator) -> Part:
    """Plain weave: threads over and under each other, in two blues."""
    pitch = canvas.size / 16
    drift = canvas.noise(rng, 0.5) * 0.25
    columns = np.arange(canvas.size)[None] + rng.uniform(0, pitch) + drift
    rows = np.arange(canvas.size)[:, None] + rng.uniform(0, pitch) + drift.T
    warp = np.abs(np.sin(np.pi * columns / pitch))
    weft = np.abs(np.sin(np.pi * rows / pitch))
    over = (np.floor(columns / pitch) + np.floor(rows / pitch)) % 2
    over = ndimage.gaussian_filter(over, 0.6)
    image = fill(canvas.plain((0, 0, 0)), np.ones_like(over), (0.13, 0.2, 0.36))
    image = fill(image, over * warp, (0.36, 0.5, 0.7))
    image = fill(image, (1 - over) * weft, (0.27, 0.4, 0.62))
    image = shade(image, 1 + 0.05 * canvas.noise(rng, 0.02, 3) + 0.03 * canvas.noise(rng, 0.4))
    return Part(image, np.ones_like(over))


def wood(canvas: Canvas, rng: np.random.Generator) -> Part:
    """A planed board: long grain, year rings drifting across it."""
    drift = canvas.y * 9 + 0.9 * canvas.noise(rng, 0.25, 4) + rng.uniform(0, 6)
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * drift / 3)
    grain = canvas.noise(rng, 0.012, 14)
    base = np.array([0.72, 0.53, 0.34]) * rng.uniform(0.95, 1.05)
    image = canvas.plain(base)
    image = shade(image, 1 - 0.16 * rings + 0.05 * grain)
    return Part(image, np.ones_like(grain))


def metal(canvas: Canvas, rng: np.random.Generator) -> Part:
    """A brushed plate with four countersunk screws on a dark table."""
    table = canvas.plain((0.09, 0.1, 0.11))
    cx, cy = rng.uniform(-0.03, 0.03, 2)
    angle = rng.normal(0, 0.02)
    plate = canvas.box(cx, cy, 0.84, 0.84, 0.1, angle)
    brushed = canvas.plain((0.62, 0.64, 0.66))
    brushed = shade(brushed, 1 + 0.06 * canvas.noise(rng, 0.008, 20) + 0.05 * canvas.x)
    bare = fill(table, plate, brushed)
    image, screws = bare, []
    for sx, sy in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        x, y = cx + 0.6 * sx - angle * 0.6 * sy, cy + 0.6 * sy + angle * 0.6 * sx
        ring = canvas.disk(x, y, 0.155)
        image = fill(image, ring, (0.3, 0.31, 0.33))
        image = fill(image, canvas.disk(x, y, 0.13), (0.75, 0.76, 0.76))
        turn = rng.uniform(0, np.pi)
        image = fill(image, canvas.box(x, y, 0.105, 0.022, 0, turn), (0.22, 0.22, 0.24))
        screws.append(ring)
        bare = fill(bare, canvas.disk(x, y, 0.1), (0.05, 0.05, 0.06))
    free = plate * (1 - np.max(screws, axis=0))
    return Part(image, ndimage.minimum_filter(free, 5), screws, bare, body=plate)


def board(canvas: Canvas, rng: np.random.Generator) -> Part:
    """A circuit board: tracks, a chip with pins, resistors and round capacitors."""
    cx, cy = rng.uniform(-0.03, 0.03, 2)
    image = canvas.plain((0.06, 0.3, 0.19))
    image = shade(image, 1 + 0.04 * canvas.noise(rng, 0.03))
    for y in (-0.82, -0.7, 0.72, 0.84):
        image = fill(image, canvas.box(cx, cy + y, 0.9, 0.022), (0.16, 0.47, 0.3))
    for x in (-0.3, -0.1, 0.1, 0.3):
        image = fill(image, canvas.box(cx + x, cy, 0.02, 0.75), (0.16, 0.47, 0.3))
    spots = [(-0.66, y) for y in (-0.42, 0.0, 0.42)] + [(0.66, -0.42), (0.66, 0.42)]
    for x, y in spots:
        for end in (-0.12, 0.12):
            pad = canvas.box(cx + x + end, cy + y, 0.06, 0.1, 0.02)
            image = fill(image, pad, (0.78, 0.76, 0.68))
    for x in np.linspace(-0.27, 0.27, 5):
        for end in (-0.42, 0.42):
            image = fill(image, canvas.box(cx + x, cy + end, 0.03, 0.1), (0.8, 0.79, 0.75))
    beneath, pieces = image, []
    for index, (x, y) in enumerate(spots):
        jitter = rng.normal(0, 0.008, 2)
        where = (cx + x + jitter[0], cy + y + jitter[1])
        if index < 3:
            piece = canvas.box(*where, 0.13, 0.075, 0.01, rng.normal(0, 0.03))
            image = fill(image, piece, (0.1, 0.1, 0.11))
            image = fill(image, canvas.box(*where, 0.07, 0.02), (0.75, 0.75, 0.73))
        else:
            piece = canvas.disk(*where, 0.15)
            image = fill(image, piece, (0.58, 0.6, 0.63))
            image = fill(
                image, canvas.disk(where[0] - 0.03, where[1] - 0.03, 0.08), (0.8, 0.81, 0.83)
            )
        pieces.append(piece)
    chip = canvas.box(cx, cy, 0.34, 0.36, 0.03)
    image = fill(image, chip, (0.14, 0.14, 0.15))
    image = fill(image, canvas.disk(cx - 0.25, cy - 0.27, 0.04), (0.3, 0.3, 0.31))
    image = fill(image, canvas.box(cx + 0.02, cy, 0.2, 0.03), (0.45, 0.45, 0.45))
    return Part(image, canvas.box(0, 0, 0.9, 0.9), pieces, beneath)


def blister(canvas: Canvas, rng: np.random.Generator) -> Part:
    """A blister of nine two-coloured capsules in an aluminium foil."""
    image = canvas.plain((0.72, 0.74, 0.77))
    knurl = np.sin(60 * (canvas.x + canvas.y)) * np.sin(60 * (canvas.x - canvas.y))
    image = shade(image, 1 + 0.03 * knurl + 0.03 * canvas.noise(rng, 0.3))
    cx, cy = rng.uniform(-0.03, 0.03, 2)
    pieces, beneath = [], image
    for y in (-0.6, 0.0, 0.6):
        for x in (-0.6, 0.0, 0.6):
            where = (cx + x, cy + y)
            cavity = canvas.box(*where, 0.17, 0.27, 0.16)
            image = fill(image, cavity, (0.6, 0.62, 0.66))
            beneath = fill(beneath, cavity, (0.6, 0.62, 0.66))
            angle = rng.normal(0, 0.08)
            capsule = canvas.box(*where, 0.12, 0.22, 0.12, angle)
            upper = capsule * (canvas.y < where[1])
            image = fill(image, capsule, (0.93, 0.9, 0.84))
            image = fill(image, upper, (0.76, 0.2, 0.18))
            shine = canvas.box(where[0] - 0.045, where[1], 0.014, 0.14, 0.01, angle)
            image = fill(image, 0.55 * shine, (1, 1, 1))
            pieces.append(capsule)
    return Part(image, canvas.box(0, 0, 0.92, 0.92), pieces, beneath)


PRODUCTS = {"fabric": fabric, "wood": wood, "metal": metal, "board": board, "blister": blister}
