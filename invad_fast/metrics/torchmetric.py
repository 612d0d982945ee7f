"""The streaming metrics as a torchmetrics.Metric; only who imports this needs torchmetrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from invad_fast.metrics.anomaly_metrics import CELLS, AnomalyMetrics
from invad_fast.metrics.engines import cells
from invad_fast.metrics.image_scores import IMAGE_CELLS

_COLUMNS = ("keys", "normal", "anomalous", "weight")
_NUMBERS = ("shift", "regions")
_ENDS = ("low", "high")


class AnomalyMetric(Metric):
    """SPEC §3's figures of one class, with all that torchmetrics does: collections, DDP, Lightning.

    The states have a fixed size (10 MB), and those of processes add up to the very state that one
    process would have. Every update packs them: :class:`AnomalyMetrics` alone is faster.

    Args:
        protocol, pooling: as for :class:`AnomalyMetrics`.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    pixels: Tensor
    images: Tensor
    batches: Tensor

    def __init__(self, protocol: str = "paper", pooling: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._settings = (protocol, pooling)
        for name, capacity in (("pixels", CELLS), ("images", IMAGE_CELLS)):
            self.add_state(name, pack(cells(capacity).state(), capacity), dist_reduce_fx=add_packed)
        # with masks, without
        self.add_state("batches", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self, maps: Tensor, masks: Tensor | None = None, labels: Tensor | None = None
    ) -> None:
        """As :meth:`AnomalyMetrics.update`."""
        metrics = self._metrics()
        metrics.update(maps, masks, labels)
        state = metrics.state()
        self.pixels = pack(state["pixels"], CELLS).to(self.device)
        self.images = pack(state["images"], IMAGE_CELLS).to(self.device)
        self.batches[int(masks is None)] += 1

    def compute(self) -> dict[str, Tensor]:
        """Figure → value, and ``<figure>_error`` → how far it can be from the exact one."""
        figures = {}
        for name, bounds in self._metrics().bounds().items():
            figures[name] = torch.tensor(bounds.value)
            figures[f"{name}_error"] = torch.tensor(bounds.error)
        return figures

    def _metrics(self) -> AnomalyMetrics:
        metrics = AnomalyMetrics("streaming", *self._settings)
        with_masks, without = self.batches.tolist()
        metrics.merge_state(
            {
                "settings": ("streaming", *self._settings),
                "has_masks": bool(with_masks) if with_masks or without else None,
                "pixels": unpack(self.pixels),
                "images": unpack(self.images),
            }
        )
        return metrics


def pack(state: dict[str, Any], capacity: int) -> Tensor:
    """The state of cells as (capacity + 2)×4 int64; the first two rows are all but the cells."""
    count = len(state["keys"])
    packed = np.zeros((capacity + 2, 4), np.int64)
    packed[0, :3] = [count, *(state[name] for name in _NUMBERS)]
    packed[1, :2] = np.array([state[name] for name in _ENDS], np.float32).view(np.int32)
    for column, name in enumerate(_COLUMNS):
        packed[2 : count + 2, column] = state[name]
    return torch.from_numpy(packed)


def unpack(packed: Tensor) -> dict[str, Any]:
    """The inverse of ``pack``."""
    rows = packed.cpu().numpy()
    count = int(rows[0, 0])
    numbers = {name: int(rows[0, 1 + i]) for i, name in enumerate(_NUMBERS)}
    ends = rows[1, :2].astype(np.int32).view(np.float32)
    columns = {name: rows[2 : count + 2, i].copy() for i, name in enumerate(_COLUMNS)}
    columns["keys"] = columns["keys"].astype(np.uint32)
    return {**numbers, **dict(zip(_ENDS, ends.tolist())), **columns}


def add_packed(packed: Tensor) -> Tensor:
    """The sum of P packed states, P×(capacity + 2)×4: what torchmetrics reduces processes with."""
    capacity = packed.shape[1] - 2
    total = cells(capacity)
    for one in packed:
        total.add_state(unpack(one))
    return pack(total.state(), capacity).to(packed.device)
