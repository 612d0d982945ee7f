"""InvAD folded for one device and one precision: what ``InvAD.optimize`` returns."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from invad_fast.allocator import keep_freed_memory
from invad_fast.checked import unknown_name
from invad_fast.decoder import Decoder
from invad_fast.device import choose_device, has_unit
from invad_fast.errors import InputError, InputWarning
from invad_fast.feature_predictor import FeaturePredictor
from invad_fast.fuser import Fuser
from invad_fast.inference.convolution import Target
from invad_fast.inference.cuda_graph import CapturedGraphs
from invad_fast.inference.decoder import FoldedDecoder
from invad_fast.inference.encoder import fold_encoder
from invad_fast.inference.form import InferenceForm
from invad_fast.inference.fuser import FoldedFuser
from invad_fast.prediction import AUTO

# name → type of what is computed, and the one that weights are rounded to before
PRECISIONS: dict[str, tuple[torch.dtype, torch.dtype | None]] = {
    "fp32": (torch.float32, None),
    "bf16": (torch.bfloat16, None),
    "fp16": (torch.float16, None),
    "bf16-rounded": (torch.float32, torch.bfloat16),
    "fp16-rounded": (torch.float32, torch.float16),
}


class OptimizedInvAD(InferenceForm):
    """Predicts what ``source`` predicts, faster; a copy that later training does not change.

    On a CPU the process holds on to its memory from then on (`invad_fast.allocator`).

    Args:
        source: the trained model, whose arrows ``fuser`` and ``decoder`` are.
        precision: "fp32", "bf16" or "fp16"; "auto" for that of the thresholds, fp32 without any.
            One that the device has no unit for becomes "bf16-rounded" or "fp16-rounded", which is
            said: 32 bits on weights that are rounded to it, as fast as fp32.
        device: "auto", "cpu" or "cuda".
        cuda_graph: on CUDA, predictions replay a captured graph.

    Raises:
        InputError: for another precision, or a device that is not there.
    """

    def __init__(
        self,
        source: FeaturePredictor,
        fuser: Fuser,
        decoder: Decoder,
        precision: str = AUTO,
        device: str = "auto",
        cuda_graph: bool = True,
    ) -> None:
        place = choose_device(device)
        precision = _settled(source, precision, place)
        super().__init__(source, "folded", precision)
        target = Target(place, *PRECISIONS[precision])
        if target.device.type == "cpu":
            keep_freed_memory()
        self.target, self.precision = target, precision
        self.encoder = None if source.encoder is None else fold_encoder(source.encoder, target)
        for part in (self.standardization, self.memory):
            if part is not None:
                part.to(target.device)
        self.fuser = FoldedFuser(fuser, target)
        self.decoder = FoldedDecoder(decoder, target)
        self.freeze()
        self._graphs = None
        # Which bank a part is compared with is known on the CPU alone: a graph cannot wait for it.
        if target.device.type == "cuda" and cuda_graph and self.memory is None:
            self._graphs = CapturedGraphs(super()._run)

    @torch.inference_mode()
    def reconstruct(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features, finest first → reconstructions of the same shapes."""
        self._check_features(features)
        return self.decoder(self.fuser([self.target.place(f) for f in features]))

    @torch.inference_mode()
    def encode(self, images: Tensor) -> list[Tensor]:
        """Images N×3×H×W → features N×Cᵢ×Hᵢ×Wᵢ, finest first, in this form's precision."""
        return super().encode(self.target.place(images))

    def _run(
        self,
        images: Tensor,
        mode: str,
        sigma: float,
        class_name: str | Sequence[str | None] | None = AUTO,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if self._graphs is None:
            return super()._run(images, mode, sigma, class_name)
        maps, score, descriptor = self._graphs(self.target.place(images), mode, sigma)
        return maps, score, descriptor


def _settled(source: FeaturePredictor, precision: str, device: torch.device) -> str:
    """The precision that was asked for, or that the thresholds were set in."""
    if precision == AUTO:
        rule = source.thresholds.rule
        precision = (rule.precision if rule else None) or "fp32"
    if precision not in PRECISIONS:
        raise InputError(unknown_name("precision", precision, (AUTO, *PRECISIONS)))
    if has_unit(device, precision):
        return precision
    warnings.warn(
        f"this {device.type.upper()} has no unit for {precision}: the model runs in 32 bits on "
        f"weights that are rounded to {precision}, no faster than in fp32",
        InputWarning,
        stacklevel=4,
    )
    return f"{precision}-rounded"
