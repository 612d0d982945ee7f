"""Painting with coverage masks: shapes as signed distances, noise, light, and the camera."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

Image = np.ndarray
"""H×W×3 float, 0 … 1."""
Coverage = np.ndarray
"""H×W float, 0 … 1: how much of each pixel a shape covers."""


class Canvas:
    """Coordinates of a square image, -1 … 1 in both directions, y down."""

    def __init__(self, size: int) -> None:
        self.size = size
        axis = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
        self.y, self.x = np.meshgrid(axis, axis, indexing="ij")

    def plain(self, colour) -> Image:
        """One colour everywhere."""
        return np.broadcast_to(np.float32(colour), (self.size, self.size, 3))

    def cover(self, distance: np.ndarray) -> Coverage:
        """Coverage from a signed distance (negative inside), one pixel of antialiasing."""
        return np.clip(0.5 - distance * self.size / 2, 0, 1)

    def around(self, cx: float, cy: float, reach: float) -> tuple[slice, slice]:
        """The pixels within ``reach`` of a point, and two more on each side."""
        pixels = self.size / 2
        sides = []
        for centre in (cy, cx):
            first, last = (centre - reach + 1) * pixels - 2, (centre + reach + 1) * pixels + 3
            sides.append(slice(max(int(first), 0), max(int(last), 0)))
        return sides[0], sides[1]

    def disk(self, cx: float, cy: float, radius: float) -> Coverage:
        near, coverage = self.around(cx, cy, radius), np.zeros_like(self.x)
        coverage[near] = self.cover(np.hypot(self.x[near] - cx, self.y[near] - cy) - radius)
        return coverage

    def box(self, cx: float, cy: float, hx: float, hy: float, round_: float = 0.0,
            angle: float = 0.0) -> Coverage:  # fmt: skip
        """A rounded box of half sides hx, hy, turned by ``angle`` radians."""
        c, s = np.cos(angle), np.sin(angle)
        near, coverage = self.around(cx, cy, np.hypot(hx, hy)), np.zeros_like(self.x)
        dx, dy = self.x[near] - cx, self.y[near] - cy
        u, v = dx * c + dy * s, dy * c - dx * s
        du, dv = np.abs(u) - hx + round_, np.abs(v) - hy + round_
        outside = np.hypot(np.maximum(du, 0), np.maximum(dv, 0))
        coverage[near] = self.cover(outside + np.minimum(np.maximum(du, dv), 0) - round_)
        return coverage

    def stroke(self, points: np.ndarray, width: float) -> Coverage:
        """A line through K×2 points (x, y)."""
        distance = np.full_like(self.x, np.inf)
        for (ax, ay), (bx, by) in zip(points[:-1], points[1:]):
            dx, dy = bx - ax, by - ay
            t = ((self.x - ax) * dx + (self.y - ay) * dy) / max(dx * dx + dy * dy, 1e-12)
            t = np.clip(t, 0, 1)
            distance = np.minimum(distance, np.hypot(self.x - ax - t * dx, self.y - ay - t * dy))
        return self.cover(distance - width / 2)

    def blob(self, rng: np.random.Generator, cx: float, cy: float, radius: float) -> Coverage:
        """An irregular spot in one piece: a disk whose radius changes with the direction."""
        dx, dy = self.x - cx, self.y - cy
        direction, edge = np.arctan2(dy, dx), np.float32(1)
        for waves in range(2, 7):
            strength, phase = rng.normal(0, 0.28 / waves), rng.uniform(0, 2 * np.pi)
            edge = edge + np.float32(strength) * np.cos(waves * direction + np.float32(phase))
        return self.cover(np.hypot(dx, dy) - radius * np.clip(edge, 0.4, 1.6))

    def noise(self, rng: np.random.Generator, scale: float, stretch: float = 1.0) -> np.ndarray:
        """Smooth noise of unit deviation; ``stretch`` lengthens it along x."""
        sigma = scale * self.size / 2
        white = rng.standard_normal((self.size, self.size), np.float32)
        # A Gaussian filter with periodic edges, as a product of spectra: its width costs nothing.
        across = np.fft.rfftfreq(self.size) * sigma * stretch
        down = np.fft.fftfreq(self.size)[:, None] * sigma
        gaussian = np.exp(-2 * np.pi**2 * (across**2 + down**2))
        field = np.fft.irfft2(np.fft.rfft2(white) * gaussian, white.shape)
        return (field / max(field.std(), 1e-12)).astype(np.float32)


def fill(image: Image, coverage: Coverage, colour) -> Image:
    """Paints ``colour`` (3, or an image) where ``coverage`` says."""
    rows, columns = np.flatnonzero(coverage.any(1)), np.flatnonzero(coverage.any(0))
    painted = np.array(image)
    if rows.size:
        near = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        target = np.asarray(colour, np.float32)
        target = target[near] if target.ndim == 3 else target
        painted[near] += coverage[near][..., None] * (target - painted[near])
    return painted


def shade(image: Image, factor: np.ndarray) -> Image:
    """Multiplies the brightness by H×W ``factor``."""
    return image * factor[..., None]


def random_walk(
    rng: np.random.Generator, x: float, y: float, length: float, bend: float, steps: int = 9
) -> np.ndarray:
    """K×2 points of a line around (x, y), each step off its direction by about ``bend`` radians."""
    angles = rng.uniform(0, 2 * np.pi) + np.sqrt(2) * rng.normal(0, bend, steps)
    steps_taken = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (length / steps)
    points = np.concatenate([np.zeros((1, 2)), np.cumsum(steps_taken, axis=0)])
    return points - points[steps // 2] + (x, y)


def curl(
    rng: np.random.Generator, x: float, y: float, length: float, steps: int = 14
) -> np.ndarray:
    """K×2 points of a curved line around (x, y), as a loose thread lies."""
    turns = rng.normal(0, 0.12) + rng.normal(0, 0.16, steps)
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(turns)
    points = np.cumsum(np.stack([np.cos(angles), np.sin(angles)], axis=1), axis=0)
    return (points - points[steps // 2]) * (length / steps) + (x, y)


def photograph(image: Image, rng: np.random.Generator) -> Image:
    """What the camera makes of a scene: uneven light, slight blur, sensor noise; not yet 8 bits.

    Two scenes taken with the same ``rng`` state differ only where the scenes do, blur included.
    """
    size = image.shape[0]
    canvas = Canvas(size)
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.06)
    light = 1 + np.float32(slope) * (
        np.float32(np.cos(angle)) * canvas.x + np.float32(np.sin(angle)) * canvas.y
    )
    light *= np.float32(rng.uniform(0.95, 1.05))
    image = ndimage.gaussian_filter(shade(image, light), (0.5, 0.5, 0))
    return image + 0.008 * rng.standard_normal(image.shape, np.float32)


def eight_bits(image: Image) -> np.ndarray:
    """Brightness 0 … 1 → H×W×3 uint8."""
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
