"""One captured CUDA graph for every shape of input: a replay launches what would be 500 kernels.

Not run on a GPU yet: it was written without one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3  # runs before the capture, in which libraries choose algorithms and allocate


class CapturedGraphs:
    """``function``, replayed from a graph for every shape that it has seen.

    Args:
        function: of one CUDA tensor and hashable options; returns CUDA tensors. It may not wait
            for the device.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]]) -> None:
        self.function = function
        self._graphs: dict[tuple, tuple[torch.cuda.CUDAGraph, Tensor, tuple[Tensor, ...]]] = {}
        self._memory: Any = None  # of all graphs: one runs at a time

    def __call__(self, x: Tensor, *options) -> tuple[Tensor, ...]:
        """The function's results, copied out of the graph's own buffers."""
        key = (x.shape, x.dtype, *options)
        if key not in self._graphs:
            self._graphs[key] = self._capture(x, options)
        graph, buffer, results = self._graphs[key]
        buffer.copy_(x)
        graph.replay()
        return tuple(result.clone() for result in results)

    def _capture(self, x: Tensor, options: tuple):
        buffer = x.clone()
        stream = torch.cuda.Stream(x.device)
        stream.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.function(buffer, *options)
        torch.cuda.current_stream(x.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory):
            results = self.function(buffer, *options)
        self._memory = graph.pool()
        return graph, buffer, results
