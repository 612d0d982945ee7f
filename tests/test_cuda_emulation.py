"""csrc/cuda without a GPU: its sources run on the CPU against the reference (cuda_emulation/)."""

import ctypes
import math
import shutil
import subprocess
from pathlib import Path

import emulated_cuda
import pytest
import torch
from op_cases import DTYPES, SHAPES, VALUES, VARIANTS, assert_close, samples
from test_metrics_ops import BOUNDARIES, MASKS, check_histogram, check_regions

NATIVE = {source.stem for source in emulated_cuda.SOURCES}
CASES = [
    pytest.param(variant, shape, id=f"{title}-{'x'.join(map(str, shape))}")
    for title, variant in VARIANTS.items()
    if variant.op in NATIVE
    for shape in SHAPES
    if min(shape[2:]) >= variant.smallest
]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if emulated_cuda.compiler() is None:
        pytest.skip("no C++ compiler is here to build the emulation with")
    mistakes = emulated_cuda.EMULATION / "mistakes.cu"
    return emulated_cuda.build(
        tmp_path_factory.mktemp("cuda_emulation"), [*emulated_cuda.SOURCES, mistakes]
    )


@pytest.fixture(scope="session")
def having(library: Path) -> list[str]:
    return emulated_cuda.load(library)


def test_every_source_registers_its_op(having: list[str]) -> None:
    assert set(having) >= NATIVE


@pytest.mark.parametrize("variant, shape", CASES)
def test_values(having: list[str], variant, shape: tuple[int, ...]) -> None:
    for dtype in DTYPES:
        values = tuple(VALUES) if dtype == torch.float32 else ("usual",)
        for what, sample in samples(variant, shape, dtype, values=values):
            with emulated_cuda.emulated(having):
                result = sample.result(None)
            with emulated_cuda.emulated(having, order="reversed"):
                again = sample.result(None)
            assert_close(result, sample.expected(), sample.tolerance, what)
            assert torch.equal(result, again), f"{what}: depends on the order of threads"


@pytest.mark.parametrize("variant, shape", CASES)
def test_gradients(having: list[str], variant, shape: tuple[int, ...]) -> None:
    for dtype in DTYPES:
        values = ("usual", "shifted") if dtype == torch.float32 else ("usual",)
        for what, sample in samples(variant, shape, dtype, values=values):
            with emulated_cuda.emulated(having):
                gradients = sample.gradients(None)
            with emulated_cuda.emulated(having, order="reversed"):
                again = sample.gradients(None)
            for actual, other, exact in zip(gradients, again, sample.expected_gradients()):
                assert_close(actual, exact, 4 * sample.tolerance, what, 1.0)
                assert torch.equal(actual, other), f"{what}: depends on the order of threads"


@pytest.mark.parametrize("order", ["forward", "reversed"])
def test_regions_and_histograms(having: list[str], order: str) -> None:
    assert {"connected_regions", "score_histogram"} <= set(having)
    with emulated_cuda.emulated(having, order):
        for mask in MASKS.values():
            check_regions(mask)
        for count in BOUNDARIES:
            for dtype in DTYPES:
                check_histogram(count, dtype)


@pytest.mark.parametrize(
    "which, message",
    [
        (0, "threads wait at .*mistakes.cu:.*others have returned"),
        (1, "some threads wait at .*mistakes.cu:.*others at .*mistakes.cu:"),
        (2, "lanes of the mask are elsewhere, or done"),
        (3, "a shuffle reads a lane that is not in its mask"),
        (4, "wrote beyond the dynamic shared memory"),
    ],
)
def test_mistakes_are_found(library: Path, having: list[str], which: int, message: str) -> None:
    function = ctypes.CDLL(str(library)).run_mistake
    function.restype = ctypes.c_char_p
    written = (ctypes.c_float * 64)()
    with pytest.raises(RuntimeError, match=message):
        raise RuntimeError(function(which, written).decode())


def test_a_missing_barrier_is_seen(library: Path, having: list[str]) -> None:
    function = ctypes.CDLL(str(library)).run_mistake
    function.restype = ctypes.c_char_p
    written = (ctypes.c_float * 64)()
    assert function(5, written) == b""
    assert any(math.isnan(value) for value in written)


NVCC = shutil.which("nvcc")


@pytest.mark.skipif(NVCC is None, reason="nvcc is not here: the CUDA sources are not compiled")
@pytest.mark.parametrize("source", emulated_cuda.SOURCES, ids=lambda source: source.stem)
def test_nvcc_accepts(source: Path, tmp_path: Path) -> None:
    """For one architecture; setup.py compiles for all of them."""
    command = emulated_cuda.nvcc_command(str(NVCC), source, tmp_path / "kernels.o", "90")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    spilled = [line for line in done.stderr.splitlines() if " spill " in line]
    assert spilled and all("0 bytes spill stores" in line for line in spilled), done.stderr
