"""Batch norm over the batches of all processes together, on any device.

torch's own SyncBatchNorm refuses CPU tensors. A process's batch may be small (32 images over 8
processes are 4 each), and statistics of 4 train another model than statistics of 32.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with the mean and variance over N×H×W of every process's N×C×H×W.

    Every process must hold as many samples. In eval mode, and without a process group, it is the
    ordinary one.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized()):
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        count = x.numel() // x.shape[1] * dist.get_world_size()
        # Sums of differences from a value that all share, near the mean once training is under
        # way: one exchange gives both moments, and large means cost no precision.
        shift = self.running_mean.detach().clone()
        exact = torch.promote_types(x.dtype, torch.float32)
        centred = x.to(exact) - shift.view(1, -1, 1, 1)
        sums = _AllReduce.apply(torch.stack([centred.sum((0, 2, 3)), (centred**2).sum((0, 2, 3))]))
        mean, square = sums / count
        variance = square - mean**2
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean + shift, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        offset = self.bias - mean * scale
        return (centred * scale.view(1, -1, 1, 1) + offset.view(1, -1, 1, 1)).to(x.dtype)


class _AllReduce(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        total = grad.clone()
        dist.all_reduce(total)
        return total


def synchronise_batch_norms(model: nn.Module) -> None:
    """Makes every `nn.BatchNorm2d` of ``model`` a `SyncedBatchNorm2d`, in place."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            # The class alone changes: parameters stay the objects that an optimizer holds.
            module.__class__ = SyncedBatchNorm2d
