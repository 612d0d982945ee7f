"""What is installed, which backends there are, and why the others are not."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import timm
import torch

from invad_fast.device import has_bf16
from invad_fast.ops import implementations
from invad_fast.ops.dispatch import IMPLEMENTATIONS, ops
from invad_fast.version import release


def report() -> tuple[dict[str, str], dict[str, dict[str, str | None]]]:
    """(versions and hardware by name, implementations of every op with their reasons)."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none seen by torch"
    facts = {
        "invad_fast": release(),
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "CPU": f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads",
        "CPU bfloat16": "native" if has_bf16(torch.device("cpu")) else "emulated: slower than fp32",
        "CUDA device": device,
    }
    return facts, {op: implementations(op) for op in ops()}


def machine() -> str:
    """As people call it: "2 cores of AMD EPYC, AVX512", with the GPU where torch sees one."""
    processor = platform.processor() or platform.machine()
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
        processor = found[1] if found else processor
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = f"{cores} cores of {processor}, {torch.backends.cpu.get_cpu_capability()}"
    if torch.cuda.is_available():
        name += f"; {torch.cuda.get_device_name()}"
    return name


def reasons(table: dict[str, dict[str, str | None]]) -> dict[str, str]:
    """For each implementation that some op lacks, why; with names where that holds for a few."""
    found: dict[str, str] = {}
    for name in IMPLEMENTATIONS:
        lacking: dict[str, list[str]] = {}
        for op, row in table.items():
            reason = row[name]
            if reason is not None:
                lacking.setdefault(reason, []).append(op)
        parts = [
            reason if 2 * len(names) > len(table) else f"{', '.join(names)}: {reason}"
            for reason, names in lacking.items()
        ]
        if parts:
            found[name] = "; ".join(parts)
    return found
