"""InvAD folded for one device and one precision: what ``InvAD.optimize`` returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from invad_fast.allocator import keep_freed_memory
from invad_fast.device import choose_device
from invad_fast.errors import InputError
from invad_fast.inference.convolution import Target
from invad_fast.inference.cuda_graph import CapturedGraphs
from invad_fast.inference.decoder import FoldedDecoder
from invad_fast.inference.encoder import fold_encoder
from invad_fast.inference.fuser import FoldedFuser
from invad_fast.method import Predictor

if TYPE_CHECKING:
    from invad_fast.model import InvAD

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class OptimizedInvAD(Predictor):
    """Predicts what ``model`` predicts, faster; a copy that later training does not change.

    On a CPU the process holds on to its memory from then on (`invad_fast.allocator`).

    Args:
        model: the trained model.
        precision: "fp32", "bf16" or "fp16".
        device: "auto", "cpu" or "cuda".
        cuda_graph: on CUDA, predictions replay a captured graph.

    Raises:
        InputError: for another precision, or a device that is not there.
    """

    def __init__(
        self,
        model: InvAD,
        precision: str = "fp32",
        device: str = "auto",
        cuda_graph: bool = True,
    ) -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise InputError(f"no precision {precision!r}: choose {', '.join(PRECISIONS)}")
        target = Target(choose_device(device), PRECISIONS[precision])
        if target.device.type == "cpu":
            keep_freed_memory()
        self.target, self.precision = target, precision
        self.config, self.classes = model.config, model.classes
        self.thresholds = dict(model.thresholds)
        self.map_mode = model.map_mode
        self.encoder = None if model.encoder is None else fold_encoder(model.encoder, target)
        self.fuser = FoldedFuser(model.fuser, target)
        self.decoder = FoldedDecoder(model.decoder, target)
        self.eval().requires_grad_(False)
        self._graphs = None
        if target.device.type == "cuda" and cuda_graph:
            self._graphs = CapturedGraphs(super()._map_and_score)

    @torch.inference_mode()
    def reconstruct(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features, finest first → reconstructions of the same shapes."""
        self._check_features(features)
        return self.decoder(self.fuser([self.target.place(f) for f in features]))

    @torch.inference_mode()
    def encode(self, images: Tensor) -> list[Tensor]:
        """Images N×3×H×W → features N×Cᵢ×Hᵢ×Wᵢ, finest first, in this form's precision."""
        return super().encode(self.target.place(images))

    def _map_and_score(self, images: Tensor, mode: str, sigma: float) -> tuple[Tensor, Tensor]:
        if self._graphs is None:
            return super()._map_and_score(images, mode, sigma)
        self._check_images(images)
        maps, score = self._graphs(self.target.place(images), mode, sigma)
        return maps, score
