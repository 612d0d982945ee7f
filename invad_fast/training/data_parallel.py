"""One model on several processes: gradients and batch statistics of all of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from invad_fast.distributed import World
from invad_fast.training.synced_batch_norm import synchronise_batch_norms
from invad_fast.training.trainable import Trainable


class Reconstruction(nn.Module):
    """`Trainable.reconstruct` as a forward, which is what torch's wrappers take."""

    def __init__(self, model: Trainable) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return self.model.reconstruct(features)


def training_forward(
    model: Trainable, world: World, device: torch.device
) -> Callable[[list[Tensor]], list[Tensor]]:
    """``model.reconstruct`` whose gradients and batch statistics are those of all processes.

    Every process starts from the main one's weights, and must hold as many samples as any other.
    """
    if world.size == 1:
        return model.reconstruct
    synchronise_batch_norms(model)
    with warnings.catch_warnings():
        # Newer torch has another name for broadcast_buffers, which torch 2.10 does not know.
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(
            Reconstruction(model),
            device_ids=[device.index] if device.type == "cuda" else None,
            broadcast_buffers=False,  # the running statistics are the same everywhere
            gradient_as_bucket_view=True,
        )
