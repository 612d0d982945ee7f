"""Maps of one model become scores by several rules, and scores become figures."""

from __future__ import annotations

import numpy as np
import torch
from accuracy_training import BATCH, SIZE, Parts
from torch import Tensor, nn
from torch.nn import functional as F

from invad_fast.anomaly_map import map_and_score
from invad_fast.metrics import evaluate
from invad_fast.ops import anomaly_score

FIGURES = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro")
TOP = 0.01  # the share of pixels whose mean is a score
BANK, NEIGHBOUR_SIGMA = 6000, 4.0


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


@torch.inference_mode()
def nearest_neighbours(test: Parts, training: Parts) -> tuple[Tensor, Tensor]:
    """(maps N×H×W of test parts, of the training parts' other half), standardised by it.

    Strides 8 and 16, 3×3 averaged, joined; every other training part is the bank, the others say
    what a good part's distance is.
    """
    vectors = [_patches(p) for p in (test, training)]
    maps = torch.empty(len(test.classes), *SIZE)
    for name in sorted(set(training.classes)):
        own = torch.tensor([i for i, c in enumerate(training.classes) if c == name])
        bank = vectors[1][own[::2]].flatten(0, 2)
        generator = torch.Generator().manual_seed(0)
        bank = bank[torch.randperm(len(bank), generator=generator)[:BANK]]
        known = _distances(vectors[1][own[1::2]], bank)
        mine = torch.tensor([c == name for c in test.classes])
        found = _distances(vectors[0][mine], bank)
        maps[mine] = (found - maximum(known).mean()) / maximum(known).std()
    return maps, maximum(maps)


def _patches(parts: Parts) -> Tensor:
    """N×H×W×C at stride 8."""
    _, middle, coarse = (F.avg_pool2d(f, 3, 1, 1) for f in parts.features)
    coarse = F.interpolate(coarse, size=middle.shape[2:], mode="bilinear")
    return torch.cat([middle, coarse], 1).permute(0, 2, 3, 1)


def _distances(patches: Tensor, bank: Tensor) -> Tensor:
    n, h, w, c = patches.shape
    nearest = torch.cat([torch.cdist(p.reshape(-1, c), bank).amin(1) for p in patches])
    return smoothed(nearest.view(n, h, w), NEIGHBOUR_SIGMA)
