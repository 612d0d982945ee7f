"""Which device, and which precision of arithmetic on it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from invad_fast.errors import InputError
from invad_fast.ops import native_libraries


def choose_device(name: str) -> torch.device:
    """ "auto" takes a CUDA device where torch sees one, the CPU elsewhere."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise InputError(f"no device {name!r}: choose auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("torch sees no CUDA device: choose --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"torch sees {torch.cuda.device_count()} CUDA devices, and none is {name!r}: they are "
            "counted from cuda:0"
        )
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; emulated it is ten times slower than fp32.

    A CPU that is held to less (``INVAD_FAST_CPU_CAPABILITY``, ``ATEN_CPU_CAPABILITY``) does not.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    if native_libraries.cpu_capability() is not None and not native_libraries.has_bf16():
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def has_unit(device: torch.device, precision: str) -> bool:
    """Whether the device computes in "fp32", "bf16" or "fp16" by instructions for it."""
    if precision == "bf16":
        return has_bf16(device)
    if precision == "fp16" and device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return True


def choose_precision(name: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """ "auto" takes bf16 where the device has it, fp32 elsewhere."""
    if name == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    if name == "bf16":
        return "bf16"
    if name == "fp32":
        return "fp32"
    raise InputError(f"no training precision {name!r}: choose auto, fp32 or bf16")


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Convolutions in bfloat16 under "bf16"; nothing under "fp32"."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
