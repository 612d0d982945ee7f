"""How images are scored: the rule, where a person changes it, and the work's own options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from invad_fast.checked import Gib, checked
from invad_fast.data.levels import LevelsOption
from invad_fast.data.region_of_interest import RegionOption
from invad_fast.prediction import MOST_SIGMA, MapMode, ScoreRule

Precision = Literal["auto", "fp32", "bf16", "fp16", "bf16-rounded", "fp16-rounded"]


@checked
class ScoringOptions:
    """Options of whatever makes maps of images.

    Attributes:
        precision: of the arithmetic; "auto" for the one that the model's thresholds were set in,
            fp32 without any. See `invad_fast.inference.model.OptimizedInvAD`.
        mode, sigma, pooling, levels, least_area, region: of the score rule; None for the model's
            own. Under another rule than the thresholds' there is no threshold.
        device: "auto", "cpu" or "cuda".
        batch_size: images at once.
        workers: threads that decode images; 0 decodes between the batches.
        cache: folder that keeps the resized images for the next time, at most ``cache_gib`` of
            them; None for none.
        skip_damaged: leave out images that cannot be read, and say how many; else they are listed
            and nothing is scored.
    """

    precision: Precision = "auto"
    mode: MapMode | None = None
    sigma: Annotated[float, Field(ge=0, le=MOST_SIGMA)] | None = None
    pooling: Annotated[int, Field(ge=1, le=65536)] | None = None
    device: str = "auto"
    batch_size: Annotated[int, Field(ge=1)] = 16
    workers: Annotated[int, Field(ge=0, le=1024)] = 2
    cache: Path | None = None
    cache_gib: Gib = 20.0
    levels: LevelsOption = None
    least_area: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    region: RegionOption = None
    skip_damaged: bool = False

    def rule(self, own: ScoreRule) -> ScoreRule:
        """The model's own rule with what was chosen here."""
        return own.but(**self.changes())

    def changes(self) -> dict[str, Any]:
        """The fields of the score rule that were chosen here, but for the precision."""
        names = ("mode", "sigma", "pooling", "levels", "least_area", "region")
        return {k: getattr(self, k) for k in names if getattr(self, k) is not None}
