"""The streaming metrics as a torchmetrics.Metric; only who imports this needs torchmetrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from invad_fast.errors import InputError
from invad_fast.metrics.anomaly_metrics import CELLS, AnomalyMetrics
from invad_fast.metrics.engines import cells
from invad_fast.metrics.image_scores import IMAGE_CELLS
from invad_fast.metrics.states import VERSION

_COUNTS = ("normal", "anomalous", "weight")
_FLOATS = ("low", "high", "limit")


class AnomalyTorchMetric(Metric):
    """A class's figures (method.md §3) as torchmetrics has them: collections, DDP, Lightning.

    The states have a fixed size (10 MB), and those of processes add up: to the very state that one
    process would have, as long as there are no more distinct scores than cells, and beyond to one
    with bounds as rigorous. The sum is a function, ``add_packed``, because no row of a state means
    the same scores in every process: that would need their range in advance. Every update packs
    the states: :class:`AnomalyMetrics` alone is faster.

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
        checked = AnomalyMetrics("streaming", protocol, pooling)
        self._settings = (checked.protocol, checked.pooling)
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
                "version": VERSION,
                "settings": ("streaming", *self._settings),
                "has_masks": bool(with_masks) if with_masks or without else None,
                "pixels": unpack(self.pixels),
                "images": unpack(self.images),
            }
        )
        return metrics


def pack(state: dict[str, Any], capacity: int) -> Tensor:
    """The state of cells as (capacity + 2)×4 int64; the first two rows are all but the cells."""
    count = len(state["last"])
    packed = np.zeros((capacity + 2, 4), np.int64)
    packed[0, :2] = count, state["regions"]
    packed[1, :3] = np.array([state[name] for name in _FLOATS], np.float32).view(np.int32)
    cells = packed[2 : count + 2]
    cells[:, 0] = state["last"].astype(np.int64) << 6 | state["bits"]
    for column, name in enumerate(_COUNTS, 1):
        cells[:, column] = state[name]
    return torch.from_numpy(packed)


def unpack(packed: Tensor) -> dict[str, Any]:
    """The inverse of ``pack``.

    Raises:
        InputError: what no ``pack`` gives, such as from a checkpoint of another metric.
    """
    rows = packed.cpu().numpy()
    fits = rows.dtype == np.int64 and rows.ndim == 2 and rows.shape[1] == 4 and len(rows) >= 2
    if not fits or not 0 <= rows[0, 0] <= len(rows) - 2 or (rows[2:, 0] >> 38).any():
        raise InputError("this is not the state of an AnomalyTorchMetric: load one that it saved")
    count, regions = rows[0, :2].tolist()
    floats = rows[1, :3].astype(np.int32).view(np.float32)
    cells = rows[2 : count + 2]
    return {
        "last": (cells[:, 0] >> 6).astype(np.uint32),
        "bits": (cells[:, 0] & 63).astype(np.uint8),
        **{name: cells[:, column].copy() for column, name in enumerate(_COUNTS, 1)},
        "regions": regions,
        **dict(zip(_FLOATS, floats.tolist())),
    }


def add_packed(packed: Tensor) -> Tensor:
    """The sum of P packed states, P×(capacity + 2)×4: what torchmetrics reduces processes with."""
    capacity = packed.shape[1] - 2
    total = cells(capacity)
    for one in packed:
        total.add_state(unpack(one))
    return pack(total.state(), capacity).to(packed.device)
