"""Runs every case of ``op_arguments`` where an access beyond a tensor's memory ends the process.

As a script, in a process of its own:

    op_memory.py guarded [LIBRARY]    each argument ends, and then begins, at a page that none may
                                      touch
    op_memory.py usual LIBRARY        as torch allocates, for a library built with AddressSanitizer

LIBRARY has the ops in the namespace of ``emulated_cuda``; without it, what is installed runs. Each
case is named on standard error before it runs, so that the last one named is the one that failed.
When all are done, one byte beyond a tensor is read: a process that outlives that has seen nothing.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import emulated_cuda
import torch
from op_arguments import Case, cases, function, outcome
from op_cases import available
from torch import Tensor

from invad_fast.ops.dispatch import ops

PAGE = mmap.PAGESIZE


class Arena:
    """Memory between two pages that none may touch; what is placed in it lasts until the next."""

    def __init__(self, size: int = 1 << 20) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        self._memory = mmap.mmap(-1, size + 2 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._first, self._last = start + PAGE, start + PAGE + size
        for page in (start, self._last):
            if libc.mprotect(page, PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect failed")

    def place(self, t: Tensor, at_end: bool) -> Tensor:
        """t's elements, strides included, up to the last page or from the first one on."""
        if t.layout != torch.strided or t.device.type != "cpu" or t.numel() == 0:
            return t
        extent = 1 + sum((size - 1) * stride for size, stride in zip(t.shape, t.stride()))
        length = extent * t.element_size()
        if length > self._last - self._first:
            raise ValueError(f"{length} bytes do not fit")
        start = self._last - length if at_end else self._first
        buffer = (ctypes.c_char * length).from_address(start)
        row = torch.frombuffer(buffer, dtype=torch.uint8).view(t.dtype)
        row.copy_(t.as_strided((extent,), (1,)))
        return row.as_strided(t.shape, t.stride())


class Guard:
    """Every tensor of a call in an arena of its own."""

    def __init__(self) -> None:
        self._arenas: list[Arena] = []

    def place(self, arguments: tuple, at_end: bool) -> tuple:
        free = iter(range(1000))

        def placed(argument):
            if isinstance(argument, list):
                return [placed(each) for each in argument]
            if not isinstance(argument, Tensor):
                return argument
            number = next(free)
            if number == len(self._arenas):
                self._arenas.append(Arena())
            return self._arenas[number].place(argument, at_end)

        return tuple(map(placed, arguments))


def placements(memory: str) -> list[Callable[[tuple], tuple]]:
    if memory == "usual":
        return [lambda arguments: arguments]
    guard = Guard()
    return [partial(guard.place, at_end=at_end) for at_end in (True, False)]


def all_cases(having: list[str]) -> Iterator[Case]:
    for op in having:
        yield from cases(op)


def main(memory: str, library: str | None = None) -> None:
    torch.set_num_threads(1)
    if library is None:
        having, running = [op for op in ops() if "cpu" in available(op)], nullcontext()
    else:
        having = emulated_cuda.load(Path(library))
        running = emulated_cuda.emulated(having)
    done = 0
    with running:
        for place in placements(memory):
            for case in all_cases(having):
                os.write(2, f"{case.op}, {case.title}\n".encode())
                outcome(function(case.op), place(case.arguments))
                done += 1
    sys.stdout.write(f"{done} cases of {len(having)} ops\n")
    sys.stdout.flush()
    (given,) = placements(memory)[0]((torch.zeros(10_000),))
    ctypes.string_at(given.data_ptr(), given.nbytes + 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
