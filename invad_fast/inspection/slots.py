"""Memory that the inspector and its engine share: frames one way, maps the other."""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np


class Slots:
    """N places for a frame and its map, allocated once.

    The memory has no name, so nothing of it is left when both processes are killed.

    Attributes:
        inputs: N×H×W×3 uint8, RGB at the model's input size.
        maps: N×H×W float32.

    Args:
        file: descriptor of the memory (`new_memory`).
        count: N.
        input_size: (H, W).
    """

    def __init__(self, file: int, count: int, input_size: tuple[int, int]) -> None:
        self.input_size = height, width = input_size
        of_inputs, of_maps = count * height * width * 3, count * height * width * 4
        before = -(-of_inputs // 64) * 64  # maps start at a cache line
        if os.fstat(file).st_size != before + of_maps:
            os.ftruncate(file, before + of_maps)
        memory = mmap.mmap(file, before + of_maps)
        self.inputs = np.frombuffer(memory, np.uint8, of_inputs).reshape(count, height, width, 3)
        self.maps = np.frombuffer(memory, np.float32, of_maps // 4, before)
        self.maps = self.maps.reshape(count, height, width)


def new_memory() -> int:
    """A descriptor of memory without a name, for another process to inherit."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("invad_fast")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
