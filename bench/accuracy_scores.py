"""Maps of one model become scores by several rules, and scores become figures."""

from __future__ import annotations

import numpy as np
import torch
from accuracy_training import BATCH, SIZE, Parts
from torch import Tensor, nn

from invad_fast.anomaly_map import map_and_score
from invad_fast.metrics import evaluate
from invad_fast.ops import anomaly_score

FIGURES = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro")
TOP = 0.01  # the share of pixels whose mean is a score


@torch.inference_mode()
def maps_of(network: nn.Module, parts: Parts) -> Tensor:
    """N×H×W before the Gaussian: its width is a matter of the rule."""
    found = []
    for first in range(0, len(parts.classes), BATCH):
        features, made = network([f[first : first + BATCH] for f in parts.features])
        found.append(map_and_score(features, made, SIZE, "unified", 0.0)[0])
    return torch.cat(found)


def smoothed(maps: Tensor, sigma: float) -> Tensor:
    return anomaly_score([maps], SIZE, sigma)[0]


def standardized(maps: Tensor, classes: list[str], good: Tensor, of: list[str]) -> Tensor:
    """By position and class: the good parts' mean taken out, divided by their deviation.

    The deviation has its mean over the map added, so that quiet places do not explode.
    """
    result = torch.empty_like(maps)
    for name in sorted(set(of)):
        known = good[[c == name for c in of]]
        own = [c == name for c in classes]
        deviation = known.std(0)
        result[own] = (maps[own] - known.mean(0)) / (deviation + deviation.mean())
    return result


def rules(test: Tensor, parts: Parts, good: Tensor, training: Parts) -> dict[str, tuple]:
    """rule → (maps N×H×W, scores N)."""
    found = {}
    for sigma in (2.0, 4.0, 8.0):
        raw, known = smoothed(test, sigma), smoothed(good, sigma)
        even = standardized(raw, parts.classes, known, training.classes)
        end = "" if sigma == 4 else f", sigma {sigma:g}"
        found |= {f"maximum{end}": (raw, maximum(raw)), f"top share{end}": (raw, top_share(raw))}
        found |= {
            f"standardised maximum{end}": (even, maximum(even)),
            f"standardised top share{end}": (even, top_share(even)),
        }
    return found


def maximum(maps: Tensor) -> Tensor:
    return maps.amax((1, 2))


def top_share(maps: Tensor) -> Tensor:
    flat = maps.flatten(1)
    return flat.topk(round(TOP * flat.shape[1])).values.mean(1)


def figures(maps: Tensor, scores: Tensor, parts: Parts) -> dict[str, dict[str, float]]:
    """class → figure → value; the image figure is of the scores, the others of the maps."""
    assert parts.masks is not None
    found = evaluate(maps.float().numpy(), parts.masks.numpy(), classes=parts.classes)["classes"]
    anomalous = parts.masks.flatten(1).amax(1) > 0
    for name, own in found.items():
        mine = torch.tensor([c == name for c in parts.classes])
        own["image_auroc"] = auroc(scores[mine].numpy(), anomalous[mine].numpy())
    return {name: {f: own[f] for f in FIGURES} for name, own in found.items()}


def auroc(scores: np.ndarray, anomalous: np.ndarray) -> float:
    bad, good = scores[anomalous][:, None], scores[~anomalous][None]
    return float((bad > good).mean() + 0.5 * (bad == good).mean())
