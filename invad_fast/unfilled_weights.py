"""Networks whose weights come from a file: made without the cost of random ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from invad_fast.errors import InputError

_MOST_WEIGHTS = 2**31  # 8 GiB in float32


class _Unfilled(TorchFunctionMode):
    """Random numbers are not drawn: memory stays as it is."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return function(*args, **(kwargs or {}))


@contextmanager
def sizes_only() -> Iterator[None]:
    """Modules made here have shapes and no memory."""
    with torch.device("meta"), _Unfilled():
        yield


def check_size(build: Callable[[], Any], model: nn.Module) -> None:
    """Refuses what no machine has room for, before any of it is allocated.

    Args:
        build: makes the layers of ``model``, which is left without memory.
    """
    try:
        with sizes_only():
            build()
    except InputError:
        raise
    except (RuntimeError, OverflowError):  # more bytes than an integer counts
        raise InputError("this configuration is larger than any machine") from None
    weights = sum(p.numel() for p in model.parameters())
    if weights > _MOST_WEIGHTS:
        raise InputError(
            f"this configuration has {weights:,} weights ({weights * 4e-9:,.0f} GB): at most "
            f"{_MOST_WEIGHTS:,}; choose fewer channels or blocks, or a smaller encoder"
        )


def fill(build: Callable[[], Any], model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Makes the layers of ``model`` and gives them ``tensors``, which must fit.

    Args:
        build: makes the layers; may be called twice.
    """
    if _holds_more_than_its_state(model):
        with _Unfilled():
            build()
    model.load_state_dict(tensors, assign=True)


def _holds_more_than_its_state(model: nn.Module) -> bool:
    """Whether it computes tensors of its own when it is made: a transformer's masks, say."""
    state = set(model.state_dict())
    if any(name not in state for name, _ in model.named_buffers()):
        return True
    return any(isinstance(v, Tensor) for m in model.modules() for v in vars(m).values())
