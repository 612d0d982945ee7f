"""features ─ fuser ─> style, folded."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from invad_fast.fuser import Aggregate, Fuser
from invad_fast.inference.convolution import ActivatedConv, FoldedConv, Target, UpsamplingConv
from invad_fast.inference.folding import layer, then_pointwise, with_batch_norm


class FoldedFuser(nn.Module):
    """Computes what ``fuser`` computes.

    Aggregation and merging are linear up to the merge's ReLU: Σᵢ mergeᵢ(aggregateᵢ(fᵢ)). Each term
    becomes one convolution from the feature's width straight to the style's.
    """

    def __init__(self, fuser: Fuser, target: Target) -> None:
        super().__init__()
        merge, bias = with_batch_norm(fuser.merge.conv.weight, None, fuser.merge.norm)
        terms = []
        first = 0
        for level in fuser.aggregate:
            assert isinstance(level, Aggregate)
            weight, shift = with_batch_norm(level.conv.weight, level.conv.bias, level.norm)
            columns = merge[:, first : first + len(shift), 0, 0]
            first += len(shift)
            terms.append((*then_pointwise(weight, shift, columns), level.conv.stride))
        bias = bias + sum(shift for _, shift, _ in terms)
        last = len(terms) - 1
        self.merge = nn.ModuleList(
            FoldedConv(
                weight,
                bias if index == last else None,
                target,
                slope=0.0 if index == last else None,
                stride=(stride[0], stride[1]),
                padding=(0, 0),
            )
            for index, (weight, _, stride) in enumerate(terms)
        )
        inner: Any = fuser.bottleneck
        pairs = ((inner.conv1, inner.bn1), (inner.conv2, inner.bn2), (inner.conv3, inner.bn3))
        self.bottleneck = nn.ModuleList(
            FoldedConv(*with_batch_norm(conv.weight, None, norm), target, slope=0.0)
            for conv, norm in pairs
        )
        self.rescale = nn.ModuleList(_folded(steps, target) for steps in fuser.rescale)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Features, finest first → style maps, finest first."""
        style = None
        for term, feature in zip(self.merge, features):
            style = term(feature, style, in_place=True)
        narrow, middle, wide = self.bottleneck
        style = wide(middle(narrow(style)), style, in_place=True)
        styles: list[Tensor] = []
        for rescale in self.rescale:
            style = rescale(style)
            styles.insert(0, style)
        return styles


def _folded(steps: Any, target: Target) -> nn.Sequential:
    kinds = (UpsamplingConv if step.upsample else ActivatedConv for step in steps)
    return nn.Sequential(*(kind(*layer(step), target) for kind, step in zip(kinds, steps)))
