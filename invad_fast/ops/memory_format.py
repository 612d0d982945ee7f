"""The memory layout that an op works in: NCHW or channels last, the same rule in every language."""

from __future__ import annotations

import torch
from torch import Tensor


def memory_format_of(x: Tensor) -> torch.memory_format:
    """Channels last where the channels of one pixel are neighbours, else contiguous.

    An input that is not dense in its layout is copied into it; outputs are always dense in it.
    ``csrc/stable.h`` has the same rule.
    """
    last = not x.is_contiguous() and x.shape[1] > 1 and x.stride(1) == 1
    return torch.channels_last if last else torch.contiguous_format


def empty_like(x: Tensor, shape: tuple[int, ...] | torch.Size | None = None) -> Tensor:
    """An uninitialised tensor of x's dtype and device, dense in x's layout.

    Args:
        x: N×C×H×W.
        shape: of four numbers; x's where None.
    """
    return torch.empty(
        x.shape if shape is None else shape,
        dtype=x.dtype,
        device=x.device,
        memory_format=memory_format_of(x),
    )


def in_memory_format(
    x: Tensor, layout: torch.memory_format, dtype: torch.dtype | None = None
) -> Tensor:
    """x itself where it is dense in ``layout`` and of ``dtype`` (any, where None), else a copy."""
    return x.to(dtype or x.dtype).contiguous(memory_format=layout)


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """What statistics and sums over x are kept in: float32, and float64 for float64."""
    return torch.promote_types(x.dtype, torch.float32)
