"""The defects: each changes a part's image; where it did is the mask."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from invad_fast.data.production_line.paint import Canvas, Image, curl, fill, random_walk, shade
from invad_fast.data.production_line.products import Part


def _place(part: Part, canvas: Canvas, rng: np.random.Generator) -> tuple[float, float]:
    """A point of the part's surface, away from the image's edge."""
    inner = (part.surface > 0.9) & (np.maximum(np.abs(canvas.x), np.abs(canvas.y)) < 0.75)
    index = rng.choice(np.flatnonzero(inner))
    return canvas.x.flat[index], canvas.y.flat[index]


def scratch(part: Part, canvas: Canvas, rng: np.random.Generator) -> Image:
    """A long thin line, brighter or darker than the surface."""
    points = random_walk(rng, *_place(part, canvas, rng), rng.uniform(0.5, 0.9), 0.08)
    line = canvas.stroke(points, rng.uniform(0.03, 0.045))
    dark = part.image[line > 0.5].mean() < 0.35  # scratched, it bares what is brighter
    tone = 0.92 if dark else rng.choice([0.12, 0.92])
    return fill(part.image, 0.75 * line, (tone, tone, tone))


def stain(part: Part, canvas: Canvas, rng: np.random.Generator) -> Image:
    """A liquid's trace, darkening what it soaked."""
    spot = canvas.blob(rng, *_place(part, canvas, rng), rng.uniform(0.13, 0.2))
    spot = ndimage.gaussian_filter(spot, canvas.size / 128)
    return part.image * (1 - spot[..., None] * np.array([0.38, 0.45, 0.52]))


def hole(part: Part, canvas: Canvas, rng: np.random.Generator) -> Image:
    """A hole with a torn bright rim."""
    x, y = _place(part, canvas, rng)
    radius = rng.uniform(0.07, 0.11)
    outline = rng.integers(2**32)
    rim = canvas.blob(np.random.default_rng(outline), x, y, radius * 1.3)
    core = canvas.blob(np.random.default_rng(outline), x, y, radius)
    return fill(fill(part.image, 0.5 * rim, (0.85, 0.83, 0.8)), core, (0.03, 0.03, 0.04))


def dent(part: Part, canvas: Canvas, rng: np.random.Generator) -> Image:
    """A hollow: dark where it turns from the light, bright where it turns to it."""
    x, y = _place(part, canvas, rng)
    radius = rng.uniform(0.12, 0.17)
    u, v = (canvas.x - x) / radius, (canvas.y - y) / radius
    hollow = np.exp(-1.2 * (u**2 + v**2)) * ((u**2 + v**2) < 4)
    return shade(part.image, np.clip(1 + 0.85 * (u + v) * hollow, 0.3, 1.6))


def crack(part: Part, canvas: Canvas, rng: np.random.Generator) -> Image:
    """A jagged dark line."""
    points = random_walk(rng, *_place(part, canvas, rng), rng.uniform(0.4, 0.7), 0.5, 12)
    return fill(part.image, 0.85 * canvas.stroke(points, 0.035), (0.08, 0.05, 0.04))


def broken(part: Part, canvas: Canvas, rng: np.random.Generator) -> Image:
    """One piece is cracked through: a jagged dark gap within it."""
    piece = part.pieces[rng.integers(len(part.pieces))]
    index = rng.choice(np.flatnonzero(piece > 0.9))
    points = random_walk(rng, canvas.x.flat[index], canvas.y.flat[index], 0.6, 0.5, 12)
    return fill(part.image, 0.9 * piece * canvas.stroke(points, 0.06), (0.3, 0.2, 0.17))


def fibre(part: Part, canvas: Canvas, rng: np.random.Generator) -> Image:
    """A foreign thread lying on the part."""
    points = curl(rng, *_place(part, canvas, rng), rng.uniform(0.5, 0.8))
    return fill(part.image, 0.9 * canvas.stroke(points, 0.035), (0.86, 0.8, 0.42))


def rust(part: Part, canvas: Canvas, rng: np.random.Generator) -> Image:
    """Corrosion: a mottled orange-brown patch."""
    spot = canvas.blob(rng, *_place(part, canvas, rng), rng.uniform(0.13, 0.19))
    mottle = np.clip(0.6 + 0.25 * canvas.noise(rng, 0.03), 0, 1)
    return fill(part.image, spot * mottle, (0.48, 0.24, 0.1))


def broken_thread(part: Part, canvas: Canvas, rng: np.random.Generator) -> Image:
    """A missing weft thread: the dark ground shows along a row."""
    x, y = _place(part, canvas, rng)
    gap = canvas.box(x, y, rng.uniform(0.25, 0.4), 0.045, 0.02)
    return fill(part.image, 0.85 * gap, (0.1, 0.15, 0.27))


def missing(part: Part, canvas: Canvas, rng: np.random.Generator) -> Image:
    """One piece is not there: what lies beneath it shows."""
    piece = part.pieces[rng.integers(len(part.pieces))]
    return fill(part.image, np.clip(2 * ndimage.maximum_filter(piece, 3), 0, 1), part.beneath)


def discoloured(part: Part, canvas: Canvas, rng: np.random.Generator) -> Image:
    """One piece has another colour: of another batch, red turned to a dull olive."""
    piece = part.pieces[rng.integers(len(part.pieces))]
    return fill(part.image, 0.45 * piece, part.image[..., [1, 0, 2]])


def bridge(part: Part, canvas: Canvas, rng: np.random.Generator) -> Image:
    """Solder between two neighbouring pins of the chip."""
    x, side = rng.choice([-0.2, -0.07, 0.07, 0.2]), rng.choice([-0.45, 0.45])
    spot = canvas.blob(rng, x, side, rng.uniform(0.09, 0.12))
    return fill(part.image, spot, (0.84, 0.84, 0.82))


DEFECTS = {
    "fabric": (broken_thread, stain, hole, fibre),
    "wood": (scratch, stain, hole, crack),
    "metal": (scratch, dent, rust, missing),
    "board": (missing, bridge, scratch, fibre),
    "blister": (missing, discoloured, broken, stain),
}

VISIBLE = 0.02  # of full brightness: what changes less cannot be seen and is not in the mask
SMALLEST = 0.002  # of the image: a defect that happens to show less is drawn anew


def changed(good: Image, defective: Image) -> np.ndarray:
    """H×W bool: where a defect changed the part visibly, gaps of a pixel closed."""
    mask = np.abs(defective - good).max(axis=2) > VISIBLE
    return mask | ndimage.binary_closing(mask, np.ones((3, 3)))
