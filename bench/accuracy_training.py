"""Trains a variant of InvAD-lite on features that were encoded once."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accuracy_variants import Variant
from torch import Tensor, nn
from torch.nn import functional as F

from invad_fast import InvAD
from invad_fast.data import Dataset, load_mask, load_tensor
from invad_fast.encoder import Encoder
from invad_fast.losses import hard_cosine, squared_error

BATCH, SIZE, ENCODER = 16, (128, 128), "resnet18"
QUIET = Path(os.environ.get("INVAD_FAST_QUIET", "runs/QUIET"))
CHANNELS, STRIDES = (64, 128, 256), (4, 8, 16)


@dataclass(frozen=True)
class Parts:
    """N images' features (finest first), classes, and for test parts H×W masks."""

    features: list[Tensor]
    classes: list[str]
    masks: Tensor | None = None


@dataclass(frozen=True)
class Trained:
    """A model at a checkpoint: what reconstructs features, in the space of its map."""

    images: int
    seconds: float
    network: nn.Module


def encode(data: Dataset, weights: Path) -> tuple[Parts, Parts]:
    """(training parts, test parts)."""
    encoder = Encoder(ENCODER, (1, 2, 3), SIZE, weights).eval()
    test = list(data.test)
    masks = torch.stack([torch.from_numpy(load_mask(r, SIZE)) for r in test])
    return _encode(encoder, data.train), _encode(encoder, test, masks)


def _encode(encoder: Encoder, records: Sequence, masks: Tensor | None = None) -> Parts:
    batches = []
    for first in range(0, len(records), BATCH):
        images = [load_tensor(r.image, SIZE) for r in records[first : first + BATCH]]
        batches.append(encoder(torch.stack(images)))
    return Parts([torch.cat(s) for s in zip(*batches)], [r.class_name for r in records], masks)


def channel_statistics(features: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Mean and deviation of every channel, 1×C×1×1; a dead one's is a tenth of the others'."""
    found = []
    for f in features:
        deviation = f.std((0, 2, 3), keepdim=True)
        floor = 0.1 * deviation.mean()
        found.append((f.mean((0, 2, 3), keepdim=True), deviation.clamp_min(floor)))
    return found


class Network(nn.Module):
    """Features as encoded → (features, reconstructions) in the space of loss and map."""

    def __init__(self, variant: Variant, statistics: list[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.variant, self.statistics = variant, statistics
        self.model = InvAD(
            "invad-lite", None, encoder=None, channels=CHANNELS, strides=STRIDES, input_size=SIZE
        )
        if variant.dropout:
            dropout = nn.Dropout(variant.dropout)
            self.model.fuser.merge.register_forward_hook(lambda *call: dropout(call[-1]))

    def space(self, features: list[Tensor]) -> list[Tensor]:
        if not self.variant.standardized:
            return features
        return [(f - mean) / deviation for f, (mean, deviation) in zip(features, self.statistics)]

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        features = self.space(features)
        given = features
        if self.training and self.variant.noise:
            given = [f + self.variant.noise * f.std() * torch.randn_like(f) for f in features]
        return features, self.model.reconstruct(given)


def train(
    variant: Variant, parts: Parts, seed: int, checkpoints: Sequence[int]
) -> Iterator[Trained]:
    """The model at every checkpoint (images seen), the last of which is the run's length."""
    torch.manual_seed(seed)
    network = Network(variant, channel_statistics(parts.features)).train()
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), variant.learning_rate, variant.betas)
    averaged = copy.deepcopy(network) if variant.average else None
    steps, due = max(checkpoints) // BATCH, {c // BATCH for c in checkpoints}
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    seconds = 0.0
    for step in range(steps):
        while QUIET.exists():  # a measurement runs on this machine
            time.sleep(1)
        started = time.monotonic()
        if len(order) < BATCH:
            order = torch.randperm(len(parts.classes), generator=generator).tolist()
        chosen, order = order[:BATCH], order[BATCH:]
        for group in optimizer.param_groups:
            group["lr"] = variant.learning_rate * _rate(variant, step, steps)
        _step(network, optimizer, [f[chosen] for f in parts.features], step / steps)
        if averaged is not None:
            _follow(averaged, network, variant.average)
        seconds += time.monotonic() - started
        if step + 1 in due:
            yield Trained((step + 1) * BATCH, seconds, (averaged or network).eval())
            network.train()


def _step(network: Network, optimizer: torch.optim.Adam, given: list[Tensor], done: float) -> None:
    given = [f.to(memory_format=torch.channels_last) for f in given]
    with torch.autocast("cpu", torch.bfloat16):
        features, reconstructions = network(given)
    loss = 5.0 * _loss(network.variant.loss, features, reconstructions, done)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()


def _loss(name: str, features: list[Tensor], made: list[Tensor], done: float) -> Tensor:
    if name == "squared":
        return squared_error(features, made)
    if name == "cosine":
        return hard_cosine(features, made, done)
    distances = [1 - F.cosine_similarity(f, r.float()) for f, r in zip(features, made)]
    return torch.stack([d.mean() for d in distances]).sum()


def _rate(variant: Variant, step: int, steps: int) -> float:
    done = step / steps
    if not variant.cosine_decay:
        return 0.1 if done >= 0.8 else 1.0
    warm = min((step + 1) / (0.05 * steps), 1.0)
    return warm * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


@torch.no_grad()
def _follow(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    for mean, now in zip(averaged.state_dict().values(), network.state_dict().values()):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - decay)
        else:
            mean.copy_(now)
