"""InvAD: image ─ encoder ─> features ─ fuser ─> style ─ decoder ─> reconstruction."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from invad_fast.config import InvADConfig, preset
from invad_fast.decoder import Decoder
from invad_fast.encoder import PRETRAINED
from invad_fast.errors import InputError
from invad_fast.fuser import Fuser
from invad_fast.inference import OptimizedInvAD
from invad_fast.losses import hard_cosine, squared_error
from invad_fast.method import TrainedMethod
from invad_fast.prediction import AUTO
from invad_fast.standardization import Standardization
from invad_fast.training.schedule import Schedule


class InvAD(TrainedMethod):
    """Learning Feature Inversion for multi-class anomaly detection (arXiv 2404.10760).

    Args:
        config: an InvADConfig, or the name of a preset: "invad" or "invad-lite".
        encoder_weights: "pretrained" for timm's hub, "package", a file or a directory, None for
            random ones.
        **changes: fields of the preset to replace, for example ``encoder="resnet18"``.
    """

    method = "invad"
    map_mode = "unified"
    config_type = InvADConfig
    schedules = {
        "paper": Schedule(
            epochs=300,
            batch_size=32,
            learning_rate=0.001,
            rate_batch=8,
            betas=(0.0, 0.99),
            clip=5.0,
            drop_after=0.8,
            config={"standardized": False, "loss": "squared"},
        ),
        "fast": Schedule(
            epochs=30,
            least_images=20_000,
            batch_size=16,
            learning_rate=0.002,
            rate_batch=16,
            betas=(0.9, 0.99),
            clip=5.0,
            warm_up=0.05,
            config={"standardized": True, "loss": "hard_cosine"},
        ),
    }
    default_schedule = "fast"

    def __init__(
        self,
        config: InvADConfig | str = "invad",
        encoder_weights: str | Path | None = PRETRAINED,
        **changes: Any,
    ) -> None:
        if isinstance(config, str):
            config = preset(config, **changes)
        elif changes:
            raise InputError("change fields with dataclasses.replace(config, …), or name a preset")
        super().__init__(config, encoder_weights)

    def _build(self, config: InvADConfig, encoder_weights: str | Path | None) -> None:
        super()._build(config, encoder_weights)
        self.fuser = Fuser(config)
        self.decoder = Decoder(config)
        self._standardize()

    def _standardize(self) -> None:
        chosen = self.config.standardized
        self.standardization = Standardization(self.config.channels) if chosen else None

    def take_up(self, schedule: Schedule) -> None:
        before = self.config
        self.config = dataclasses.replace(before, **schedule.config)  # type: ignore[type-var]
        if self.config.standardized != before.standardized:
            self._standardize()

    def reconstruct(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features, finest first → reconstructions of the same shapes; differentiable."""
        self._check_features(features)
        style = self.fuser(list(features))
        return self.decoder(style)

    def loss(
        self, features: Sequence[Tensor], reconstructions: Sequence[Tensor], progress: float = 1.0
    ) -> Tensor:
        if self.config.loss == "hard_cosine":
            return self.config.loss_weight * hard_cosine(features, reconstructions, progress)
        return reconstruction_loss(features, reconstructions, self.config.loss_weight)

    def for_inference(self, precision: str = AUTO, device: str = "auto") -> OptimizedInvAD:
        """:meth:`optimize`, as every method has it."""
        return self.optimize(precision, device)

    def optimize(
        self, precision: str = AUTO, device: str = "auto", cuda_graph: bool = True
    ) -> OptimizedInvAD:
        """A faster copy for predictions: weights folded, ops fused; see ``invad_fast.inference``.

        Args:
            precision: "fp32" (equal to this model to rounding), "bf16" or "fp16"; "auto" for the
                one that the thresholds were set in, fp32 without any. One that the device has no
                unit for runs in 32 bits on rounded weights, as fast as fp32.
            device: "auto", "cpu" or "cuda".
            cuda_graph: on CUDA, run a captured graph for every shape of images.
        """
        return OptimizedInvAD(self, self.fuser, self.decoder, precision, device, cuda_graph)

    def load_reference(self, source: dict[str, Tensor] | str | Path) -> InvAD:
        """Loads an authors' checkpoint; see :func:`invad_fast.reference_checkpoint`."""
        from invad_fast.reference_checkpoint import load_reference

        load_reference(self, source)
        return self


def reconstruction_loss(
    features: Sequence[Tensor], reconstructions: Sequence[Tensor], weight: float
) -> Tensor:
    """weight · Σᵢ mean((fᵢ − rᵢ)²), in float32 (paper §3.4)."""
    return weight * squared_error(features, reconstructions)
