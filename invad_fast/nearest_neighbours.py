"""Nearest neighbours: features ─ memory of good parts ─> distances. Nothing is trained.

K. Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022 (PatchCore), has
the idea of a bank of good patches; a bank a class, two scales on stride 8 and scores in deviations
of good parts are ours (method.md §9). Written from the paper alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invad_fast.config import MemoryConfig
from invad_fast.encoder import PRETRAINED
from invad_fast.errors import InputError
from invad_fast.method import Method
from invad_fast.training.memorize import memorize


class NearestNeighbours(Method):
    """A memory bank of good patches on any timm encoder.

    Args:
        config: a MemoryConfig; None for wide_resnet50_2 at 256×256.
        encoder_weights: "pretrained" for timm's hub, "package", a file or a directory, None for
            random ones.
        **changes: fields of MemoryConfig, where ``config`` is None.
    """

    method = "memory"
    map_mode = "unified"
    config_type = MemoryConfig
    reconstructs = False
    teach = staticmethod(memorize)

    def __init__(
        self,
        config: MemoryConfig | None = None,
        encoder_weights: str | Path | None = PRETRAINED,
        **changes: Any,
    ) -> None:
        if config is not None and changes:
            raise InputError("change fields with dataclasses.replace(config, …), or give no config")
        super().__init__(MemoryConfig(**changes) if config is None else config, encoder_weights)
