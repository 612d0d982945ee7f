"""Several processes that train or evaluate as one, on one machine or many, as torchrun starts them.

`torchrun --nproc-per-node 2 -m invad_fast -- train …` sets the environment that `join` reads (the
``--`` keeps torchrun from taking ``--run`` for an option of its own). Without it there is one
process, no process group exists, and all that is here returns its argument.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from invad_fast.device import choose_device
from invad_fast.errors import InputError

T = TypeVar("T")

# While one process writes a cache or draws pictures the others wait for it. A process that died
# is no matter of this limit: torchrun sees it at once and stops the others.
PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class World:
    """This process among those that work together.

    Attributes:
        rank, size: its number, and how many there are, on all machines.
        local_rank, local_size: the same on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes the results."""
        return self.rank == 0

    @property
    def leads_machine(self) -> bool:
        """Whether this is the process that writes this machine's caches."""
        return self.local_rank == 0

    def own(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share of ``items``: every ``size``-th; `interleave` undoes it."""
        return items[self.rank :: self.size]

    def on_main(self, action: Callable[[], T]) -> T:
        """What ``action`` returns on the main process, which alone runs it; all raise its error."""
        return self._from(0, action)

    def on_machine(self, action: Callable[[], T]) -> T:
        """The same with one process of every machine."""
        return self._from(self.rank - self.local_rank, action)

    def _from(self, leader: int, action: Callable[[], Any]) -> Any:
        if self.size == 1:
            return action()
        outcome: Any = None
        if self.rank == leader:
            try:
                outcome = action()
            except InputError as error:
                outcome = error
        outcome = self.gather(outcome)[leader]
        if isinstance(outcome, InputError):
            raise outcome
        return outcome

    def gather(self, value: T) -> list[T]:
        """The ``value`` of every process, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def gather_on_main(self, value: T) -> list[T]:
        """The ``value`` of every process, on the main one only; nothing on the others."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size if self.main else []
        dist.gather_object(value, values if self.main else None)
        return values

    def gather_on_machine(self, value: T) -> list[T]:
        """The ``value`` of every process of this machine."""
        first = self.rank - self.local_rank
        return self.gather(value)[first : first + self.local_size]

    def interleave(self, rows: Tensor, total: int) -> Tensor:
        """The rows that every process computed of its `own` items, put back in their order.

        Args:
            rows: n×…, CPU, one row for each own item.
            total: how many items there are in all processes together.
        """
        if self.size == 1:
            return rows
        longest = -(-total // self.size)
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.stack(parts, 1).flatten(0, 1)[:total]

    def mean(self, value: Tensor) -> Tensor:
        """The mean of ``value`` over all processes."""
        if self.size == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value / self.size

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            dist.barrier()


ALONE = World()


def restarted() -> bool:
    """Whether torchrun started this process again after one of them died."""
    return _whole("TORCHELASTIC_RESTART_COUNT", 0) > 0


def _whole(name: str, default: int, least: int = 0) -> int:
    """An environment variable that torchrun sets."""
    text = os.environ.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise InputError(
            f"the environment variable {name} must be a whole number from {least}, not {text!r}: "
            "torchrun sets it; without torchrun unset it"
        )
    return int(text)


def join(device: str) -> tuple[World, torch.device]:
    """This process's place, and its device: of several GPUs of a machine each process has one.

    Raises:
        InputError: where a machine has more processes than GPUs, the device is not there, or
            torchrun's environment variables make no sense.
    """
    chosen = choose_device(device)
    size = _whole("WORLD_SIZE", 1, 1)
    if size == 1 or "RANK" not in os.environ:
        return ALONE, chosen
    rank, local_rank = _whole("RANK", 0), _whole("LOCAL_RANK", 0)
    local_size = _whole("LOCAL_WORLD_SIZE", 1, 1)
    if rank >= size or local_rank >= local_size:
        raise InputError(
            f"process {rank} of {size}, {local_rank} of {local_size} on its machine: RANK and "
            "LOCAL_RANK count from 0 (torchrun sets them)"
        )
    if chosen.type == "cuda":
        gpus = torch.cuda.device_count()
        if local_size > gpus:
            raise InputError(
                f"{local_size} processes on a machine with {gpus} GPUs: give torchrun "
                f"--nproc-per-node {gpus}, or --device cpu"
            )
        chosen = torch.device("cuda", local_rank)
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        _meet(size, chosen)
    return World(rank, size, local_rank, local_size), chosen


def _meet(size: int, device: torch.device) -> None:
    """Makes the process group, of the processes of this attempt only.

    torchrun may keep its store over a restart, with the addresses of processes that are gone.
    """
    try:
        store, rank, _ = next(dist.rendezvous("env://", timeout=PATIENCE))
    except ValueError as error:  # of its variables
        raise InputError(
            f"{size} processes cannot meet: {error}; start them with torchrun, or unset WORLD_SIZE"
        ) from None
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    dist.init_process_group(
        # Objects and maps travel between CPUs, gradients between GPUs where there are any.
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore(f"attempt {attempt}", store),
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    atexit.register(dist.destroy_process_group)
