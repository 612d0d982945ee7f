"""Machine code of the Triton kernels at the models' shapes, compiled with no GPU.

Writes ``static_triton.csv`` beside itself: for every call of an op that a model makes
(``op_costs.py``), its backward, ``style_modulation`` in the place of each modulation, and for the
maps, for each dtype and layout, what the compiled kernel takes of a multiprocessor. Kernels of one
tile and type serve many shapes: each is listed once. One architecture alone leaves the lines of
the other.

    python bench/static_triton.py [--architectures 80,90]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from op_costs import BATCHES, MODELS, map_calls, model_calls
from ops import GRADIENTS
from ops.style_modulation import fused
from static_rows import widths, write
from torch import Tensor
from triton_compilation import MachineCode, compiled_for, machine_code

from invad_fast.kernels.anomaly_score import anomaly_score
from invad_fast.kernels.bias_leaky_relu import bias_leaky_relu, bias_leaky_relu_backward
from invad_fast.kernels.blur_upsample import blur_upsample
from invad_fast.kernels.cosine_map import cosine_map
from invad_fast.kernels.normalize_modulate import normalize_modulate, normalize_modulate_backward
from invad_fast.kernels.style_modulation import style_modulation

DTYPES = {torch.bfloat16: "BFloat16", torch.float16: "Half", torch.float32: "float"}
LAYOUTS = {torch.contiguous_format: "NCHW", torch.channels_last: "NHWC"}
OPS: dict[str, Callable] = {
    "anomaly_score": anomaly_score,
    "bias_leaky_relu": bias_leaky_relu,
    "bias_leaky_relu_backward": bias_leaky_relu_backward,
    "blur_upsample": blur_upsample,
    "cosine_map": cosine_map,
    "normalize_modulate": normalize_modulate,
    "normalize_modulate_backward": normalize_modulate_backward,
    "style_modulation": style_modulation,
}


@dataclass(frozen=True)
class Kernel:
    """One kernel's machine code.

    Attributes:
        op: whose call, or backward, launches it.
        form: the type and layout of its tensors, and its compile-time constants.
        warps: of a multiprocessor's 64, as many as the registers allow.
        stack: bytes a thread, where the compiler put what did not fit into registers.
        shared: bytes a block.
        loads, stores: instructions on global memory by width in bits, "128:8 16:2".
        products: instructions on the tensor cores.
    """

    op: str
    kernel: str
    form: str
    architecture: str
    registers: int
    warps: int
    stack: int
    shared: int
    loads: str
    stores: str
    products: int


def kernels_for(architecture: str) -> Iterator[Kernel]:
    """All kernels for an architecture, such as "90", in the order that the ops launch them."""
    seen = set()
    for dtype, name in DTYPES.items():
        for op, layout, call in _calls(dtype):
            with compiled_for(int(architecture)) as kernels:
                call()
            for kernel in kernels:
                key = op, kernel.metadata.name, f"{name} {layout} {_constants(kernel)}"
                if key not in seen:
                    seen.add(key)
                    yield _described(*key, architecture, machine_code(kernel))


def _described(op: str, kernel: str, form: str, architecture: str, code: MachineCode) -> Kernel:
    mnemonics = re.findall(r"\b(?:LDG|STG)[\w.]*", code.sass)
    rounded = 32 * 8 * -(-code.registers // 8)  # a warp's registers, given out by 8 a thread
    return Kernel(
        op,
        kernel.removeprefix("_"),
        form,
        f"sm_{architecture}",
        code.registers,
        min(65536 // rounded, 64),
        code.stack,
        code.shared,
        widths(mnemonics, "LDG"),
        widths(mnemonics, "STG"),
        code.count(r"\bHG?MMA\."),
    )


def _constants(kernel) -> str:
    """ "ROWS=8 COLUMNS=64": what is written in capitals in the kernel's parameters."""
    names = kernel.src.fn.arg_names
    values = {names[path[0]]: value for path, value in kernel.src.constants.items()}
    return " ".join(
        name if value is True else f"{name}={value}"
        for name, value in values.items()
        if name.isupper() and name != "LAST" and value is not False
    )


def _calls(dtype: torch.dtype) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Of both models at every batch in both layouts: op, layout, the call itself."""
    for name in MODELS:
        for batch in BATCHES:
            made = [*model_calls(name, batch, dtype), *map_calls(name, batch, dtype)]
            for op, arguments, _ in made:
                for layout, title in LAYOUTS.items():
                    for each, given in ((op, arguments), *_beside(op, arguments)):
                        yield (
                            each.removesuffix("_backward"),
                            title,
                            partial(OPS[each], *(_laid_out(a, layout) for a in given)),
                        )


def _laid_out(argument, layout: torch.memory_format):
    if isinstance(argument, list):
        return [_laid_out(each, layout) for each in argument]
    if isinstance(argument, Tensor) and argument.dim() == 4:
        return argument.contiguous(memory_format=layout)
    return argument


def _beside(op: str, arguments: tuple) -> Iterator[tuple[str, tuple]]:
    """The backward of a call, and the fused op that may replace it."""
    if op in ("bias_leaky_relu", "normalize_modulate"):
        yield GRADIENTS[op](*arguments)
    if op == "normalize_modulate" and (given := fused(*arguments)) is not None:
        yield "style_modulation", given


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--architectures", default="80,90", help="default 80,90")
    architectures = parser.parse_args().architectures.split(",")
    rows = [asdict(kernel) for each in architectures for kernel in kernels_for(each)]
    write(Path(__file__).with_suffix(".csv"), rows)
    spilling = [row for row in rows if row["stack"]]
    for row in spilling:
        sys.stdout.write(f"spills: {row['kernel']} {row['form']} {row['architecture']}\n")
    sys.stdout.write(f"{len(rows)} kernels, {len(spilling)} with registers spilled\n")


if __name__ == "__main__":
    main()
