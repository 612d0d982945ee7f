"""The network as it was trained: the form of a method that has no folded one."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from invad_fast.device import choose_device
from invad_fast.feature_predictor import FeaturePredictor
from invad_fast.inference.form import InferenceForm


class PlainForm(InferenceForm):
    """Computes what ``source`` computes in eval mode, to the bit on the same device.

    Args:
        source: the trained model.
        device: "auto", "cpu" or "cuda".
    """

    def __init__(self, source: FeaturePredictor, device: str = "auto") -> None:
        super().__init__(source, "plain", "fp32")
        self.device = choose_device(device)
        self.net = copy.deepcopy(source).to(self.device)
        self.encoder, self.standardization = self.net.encoder, self.net.standardization
        self.memory = self.net.memory
        self.freeze()

    @torch.inference_mode()
    def reconstruct(self, features: Sequence[Tensor]) -> list[Tensor]:
        return self.net.reconstruct([f.to(self.device) for f in features])

    @torch.inference_mode()
    def encode(self, images: Tensor) -> list[Tensor]:
        return super().encode(images.to(self.device))
