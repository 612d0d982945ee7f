"""Which device, and which precision of arithmetic on it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from invad_fast.errors import InputError


def choose_device(name: str) -> torch.device:
    """ "auto" takes a CUDA device where torch sees one, the CPU elsewhere."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"no device {name!r}: choose auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("torch sees no CUDA device: choose --device cpu")
    return device


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Convolutions in bfloat16 under "bf16"; nothing under "fp32"."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
