"""The machine code of the Triton kernels, for GPUs that are not here."""

from collections.abc import Callable
from functools import partial

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed: it comes with torch's CUDA builds")

from triton_compilation import SHARED_MEMORY, MachineCode, compile_calls

from invad_fast.kernels.anomaly_score import anomaly_score
from invad_fast.kernels.bias_leaky_relu import bias_leaky_relu, bias_leaky_relu_backward
from invad_fast.kernels.blur_upsample import blur_upsample
from invad_fast.kernels.cosine_map import cosine_map
from invad_fast.kernels.normalize_modulate import normalize_modulate, normalize_modulate_backward
from invad_fast.kernels.style_modulation import style_modulation


def calls(dtype: torch.dtype, layout: torch.memory_format, n: int) -> dict[str, Callable]:
    """Each kernel at one of InvAD-lite's shapes, N×128×32×32."""

    def maps(channels: int, side: int = 32) -> torch.Tensor:
        shape = (n, channels, side, side)
        return torch.empty(shape, dtype=dtype, device="meta", memory_format=layout)

    x, both, style = maps(128), maps(256), maps(16)
    bias, mean = torch.empty(128, device="meta"), torch.empty(n, device="meta")
    weight, both_bias = torch.empty(256, 16, 3, 3, device="meta"), torch.empty(256, device="meta")
    return {
        "bias_leaky_relu": partial(bias_leaky_relu, x, bias, x),
        "bias_leaky_relu_backward": partial(bias_leaky_relu_backward, x, x, bias, True),
        "normalize_modulate": partial(normalize_modulate, x, both, 1e-5),
        "normalize_modulate_backward": partial(normalize_modulate_backward, x, x, both, mean, mean),
        "style_modulation": partial(style_modulation, x, style, weight, both_bias, 1e-5),
        "blur_upsample": partial(blur_upsample, maps(128, 33), bias, 1),
    }


def fits(code: MachineCode, capability: int) -> None:
    """Nothing spilled, and room for two blocks of 128 threads on a multiprocessor at the least."""
    assert code.stack == 0, f"{code.name} spills"
    assert code.registers * 128 * 2 <= 65536, code.name
    assert code.shared <= SHARED_MEMORY[capability] // 2, code.name


@pytest.mark.parametrize(
    "capability, dtype, layout",
    [
        (90, torch.bfloat16, torch.channels_last),
        (90, torch.float32, torch.contiguous_format),
        (80, torch.float16, torch.channels_last),
    ],
    ids=["sm_90 bf16 NHWC", "sm_90 fp32 NCHW", "sm_80 fp16 NHWC"],
)
def test_modulations_and_activations(
    capability: int, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    for op, call in calls(dtype, layout, 32).items():
        found = compile_calls(capability, call)
        for code in found:
            fits(code, capability)
        last = found[-1]
        rows_are_aligned = op != "blur_upsample" or layout == torch.channels_last  # 33 a row
        if rows_are_aligned:
            assert last.count(r"LDG\.E\.128") and last.count(r"STG\.E\.128"), f"{op}: 16 bytes"
        if op == "style_modulation":
            # warp group products from sm_90 on
            assert last.count("HGMMA" if capability == 90 else "HMMA")


def test_smallest_batch_has_small_tiles() -> None:
    """More programs at batch 1, and still on the tensor cores."""
    code = compile_calls(90, calls(torch.bfloat16, torch.channels_last, 1)["style_modulation"])[-1]
    fits(code, 90)
    assert code.count("HMMA")


def test_maps() -> None:
    """At InvAD's shapes: nothing spilled, features read 16 bytes at once."""
    maps = [
        torch.empty(
            (8, channels, side, side),
            dtype=torch.bfloat16,
            device="meta",
            memory_format=torch.channels_last,
        )
        for channels, side in ((256, 64), (512, 32))
    ]
    filtered_maps = [torch.empty(8, 64, 64, device="meta")]
    reading = compile_calls(90, lambda: cosine_map(maps, maps, True))
    filtering = compile_calls(90, lambda: anomaly_score(filtered_maps, [256, 256], 4.0))
    assert all(code.stack == 0 for code in reading + filtering)
    readers = [code for code in reading if "add_resized" not in code.name]
    assert len(readers) == 3 and all(code.count(r"LDG\.E\.128") for code in readers)
