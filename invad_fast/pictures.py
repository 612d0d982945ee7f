"""Pictures of maps: one fixed colour scale, contours of the mask and of what was found."""

from __future__ import annotations

import matplotlib
import numpy as np
from PIL import Image
from scipy import ndimage

TRUTH_COLOUR = (0, 229, 255)
FOUND_COLOUR = (255, 64, 64)
GAP = 6


def colour_map(scores: np.ndarray, scale: float) -> np.ndarray:
    """H×W scores → H×W×3 uint8: black at 0, the brightest colour from ``scale`` on."""
    shades = matplotlib.colormaps["inferno"](np.clip(scores / max(scale, 1e-12), 0, 1))
    return (shades[..., :3] * 255).astype(np.uint8)


def overlay(image: np.ndarray, scores: np.ndarray, scale: float) -> np.ndarray:
    """The map over the image, more opaque where the score is higher."""
    opacity = 0.75 * np.clip(scores / max(scale, 1e-12), 0, 1)[..., None]
    return (image * (1 - opacity) + colour_map(scores, scale) * opacity).astype(np.uint8)


def contour(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """``image`` with the outline of ``mask`` drawn on it."""
    mask = mask.astype(bool)
    outline = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)
    drawn = image.copy()
    drawn[outline] = colour
    return drawn


def panel(
    image: np.ndarray,
    scores: np.ndarray,
    scale: float,
    mask: np.ndarray | None = None,
    threshold: float | None = None,
) -> Image.Image:
    """Input with the mask's contour, map, and overlay with the contour of what was found.

    Args:
        image: H×W×3 uint8.
        scores: H×W.
        scale: score that gets the brightest colour.
        mask: H×W, outlined in cyan.
        threshold: pixels above it are outlined in red.
    """
    first = image if mask is None else contour(image, mask, TRUTH_COLOUR)
    last = overlay(image, scores, scale)
    if threshold is not None:
        last = contour(last, scores > threshold, FOUND_COLOUR)
    gap = np.full((image.shape[0], GAP, 3), 255, np.uint8)
    return Image.fromarray(np.hstack([first, gap, colour_map(scores, scale), gap, last]))


def score_histogram(classes: dict[str, tuple[np.ndarray, np.ndarray, float | None]]):
    """Image scores of normal against anomalous parts with the threshold (paper, Figure 3).

    Args:
        classes: name → (scores N, anomalous N, threshold).

    Returns:
        A matplotlib figure, one row a class.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.2 + 1.7 * len(classes)), layout="constrained")
    rows = figure.subplots(len(classes), 1, squeeze=False)[:, 0]
    for axes, (name, (scores, anomalous, threshold)) in zip(rows, classes.items()):
        bins = np.linspace(0, float(scores.max()) * 1.02 or 1.0, 50)
        axes.hist(scores[~anomalous], bins, color="#3f7cac", alpha=0.8, label="normal")
        axes.hist(scores[anomalous], bins, color="#d1495b", alpha=0.7, label="anomalous")
        if threshold is not None:
            axes.axvline(threshold, color="black", linestyle="--", label="threshold")
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_ylabel("parts")
    rows[0].legend(frameon=False, fontsize=8)
    rows[-1].set_xlabel("image score")
    return figure
