"""connected_regions: the 8-connected regions of masks, and how large each is."""

from __future__ import annotations

import torch
from torch import Tensor

from invad_fast.ops.arguments import FLOATS, INTEGERS, Arguments
from invad_fast.ops.dispatch import define


def connected_regions(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and areas of the regions that pixels form with their 8 neighbours (method.md §3).

    The outputs have the mask's shape, whatever it holds: no size depends on data, nothing waits
    for the device.

    Args:
        mask: N×H×W, bool, integers or floats; set where not 0. Fewer than 2³¹ pixels a map.

    Returns:
        (labels N×H×W int32: 1 + the first pixel, in raster order, of the pixel's region within its
        map; areas N×H×W int32: how many pixels that region has). Both 0 where the mask is not set.

    Raises:
        RuntimeError: a mask that is not N×H×W, of another type, or too large.
    """
    return _op(mask)


def _check(mask: Tensor) -> None:
    of = Arguments("connected_regions")
    of.one_of("mask", mask, (torch.bool, *INTEGERS, *FLOATS), "bool, integers or floats")
    of.require(mask.dim() == 3, lambda: f"mask must be N×H×W, not {tuple(mask.shape)}")
    of.require(
        mask.shape[1] * mask.shape[2] < 2**31,
        lambda: f"a map must have fewer than 2³¹ pixels, not {tuple(mask.shape)}",
    )


def _reference(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Every pixel takes the least label around it, then the label of that label's pixel."""
    n, h, w = mask.shape
    marked = mask != 0
    outside = h * w + 1
    labels = torch.arange(1, h * w + 1, device=mask.device).view(1, h, w).expand(n, h, w)
    labels = torch.where(marked, labels, outside)
    while marked.any():
        # float64 holds every label; the largest of the negative ones is the least
        around = -torch.nn.functional.max_pool2d(-labels[:, None].double(), 3, 1, 1)[:, 0]
        least = torch.where(marked, around.long(), outside)
        own = torch.nn.functional.pad(least.reshape(n, h * w), (0, 1), value=outside)
        jumped = own.gather(1, (least - 1).reshape(n, h * w)).view(n, h, w)
        if torch.equal(jumped, labels):
            break
        labels = jumped
    sizes = torch.zeros(n, h * w + 1, dtype=torch.int64, device=mask.device)
    places = (labels - 1).reshape(n, h * w)
    sizes.scatter_add_(1, places, torch.ones_like(places))
    areas = sizes.gather(1, places).view(n, h, w)
    return (labels * marked).int(), (areas * marked).int()


def _fake(mask: Tensor) -> tuple[Tensor, Tensor]:
    return mask.new_empty(mask.shape, dtype=torch.int32), mask.new_empty(
        mask.shape, dtype=torch.int32
    )


_op = define("connected_regions(Tensor mask) -> (Tensor, Tensor)", _check, _reference, _fake)
