"""csrc/cuda without a GPU: its sources run on the CPU against the reference (cuda_emulation/)."""

import math
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import emulated_cuda
import pytest
import torch
from op_cases import DTYPES, SHAPES, VALUES, assert_close, samples
from ops import VARIANTS
from ops.style_modulation import variant as style_modulation
from test_metrics_ops import BOUNDARIES, MASKS, check_histogram, check_regions

NATIVE = {source.stem for source in emulated_cuda.SOURCES}
CASES = [
    pytest.param(variant, shape, id=f"{title}-{'x'.join(map(str, shape))}")
    for title, variant in VARIANTS.items()
    if variant.op in NATIVE
    for shape in SHAPES
    if min(shape[2:]) >= variant.smallest
]


def test_every_source_registers_its_op(having: list[str]) -> None:
    assert set(having) >= NATIVE


def dtypes(shape: tuple[int, ...]) -> list[torch.dtype]:
    """One for large shapes: they are there for their size."""
    return list(DTYPES)[:1] if math.prod(shape) > 100_000 else list(DTYPES)


@pytest.mark.parametrize("variant, shape", CASES)
def test_values(having: list[str], variant, shape: tuple[int, ...]) -> None:
    for dtype in dtypes(shape):
        values = tuple(VALUES) if dtype == torch.float32 else ("usual",)
        for what, sample in samples(variant, shape, dtype, values=values):
            with emulated_cuda.emulated(having):
                result = sample.result(None)
            assert_close(result, sample.expected(), sample.tolerance, what)


@pytest.mark.parametrize("variant, shape", CASES)
def test_gradients(having: list[str], variant, shape: tuple[int, ...]) -> None:
    for dtype in dtypes(shape):
        for what, sample in samples(variant, shape, dtype, values=("shifted",)):
            with emulated_cuda.emulated(having):
                gradients = sample.gradients(None)
            for actual, exact in zip(gradients, sample.expected_gradients()):
                assert_close(actual, exact, 4 * sample.tolerance, what, 1.0)


@pytest.mark.parametrize("variant, shape", CASES)
def test_no_order_of_threads_matters(having: list[str], variant, shape: tuple[int, ...]) -> None:
    """To the bit: a barrier that is missing and an atomic addition of floats both show."""
    if math.prod(shape) > 100_000:
        shape = (1, 8, 48, 64)  # of several blocks too, and faster
    for what, sample in samples(variant, shape, torch.float32, values=("usual",)):
        with emulated_cuda.emulated(having):
            once = [sample.result(None), *sample.gradients(None)]
        with emulated_cuda.emulated(having, order="reversed"):
            again = [sample.result(None), *sample.gradients(None)]
        for a, b in zip(once, again):
            assert torch.equal(a, b), what


@pytest.mark.parametrize("layout", ["channels first", "channels last"])
@pytest.mark.parametrize(
    "shape, width, dtype",
    [
        pytest.param((2100, 2, 1, 2), 16, torch.float32, id="many tiles of a block"),
        pytest.param((132, 40, 3, 8), 16, torch.bfloat16, id="64 channels of a block"),
        pytest.param((2, 3, 5, 7), 24, torch.float16, id="a wide latent"),
        pytest.param((2, 8, 3, 8), 40, torch.float32, id="a wide latent of vectors"),
    ],
)
def test_style_modulation_in_parts(
    having: list[str], shape: tuple[int, ...], width: int, dtype: torch.dtype, layout: str
) -> None:
    """What the samples of every op are too small for, or too regular."""
    given = {"layouts": (layout,), "values": ("usual",)}
    for what, sample in samples(style_modulation(width), shape, dtype, **given):
        with emulated_cuda.emulated(having):
            result, gradients = sample.result(None), sample.gradients(None)
        assert_close(result, sample.expected(), sample.tolerance, what)
        for actual, exact in zip(gradients, sample.expected_gradients()):
            assert_close(actual, exact, 4 * sample.tolerance, what, 1.0)


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
        (8, "a matrix's row does not begin at a multiple of 16 bytes"),
        (9, "cudaLaunchKernelEx.* failed"),
    ],
)
def test_mistakes_are_found(library: Path, having: list[str], which: int, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        raise RuntimeError(emulated_cuda.run_mistake(library, which, torch.zeros(64)))


def test_a_missing_barrier_is_seen(library: Path, having: list[str]) -> None:
    written = torch.zeros(64)
    assert emulated_cuda.run_mistake(library, 5, written) == ""
    assert written.isnan().any()


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if emulated_cuda.compiler() is None:
        pytest.skip("no C++ compiler is here to build the emulation with")
    folder = tmp_path_factory.mktemp("sanitized")
    try:
        library = emulated_cuda.build(folder, options=emulated_cuda.SANITIZERS)
    except AssertionError as error:
        if "asan" not in str(error):
            raise
        pytest.skip("this compiler has no AddressSanitizer")
    return library


def test_no_access_beyond_memory(sanitized: Path) -> None:
    done = emulated_cuda.run_sanitized(str(sanitized))
    assert done.returncode == 0 and "runtime error" not in done.stderr, done.stderr


def test_accesses_beyond_memory_are_found(sanitized: Path) -> None:
    done = emulated_cuda.run_sanitized(str(sanitized), "7", "6")
    assert "runtime error" in done.stderr and "misaligned address" in done.stderr
    assert done.returncode != 0 and "heap-buffer-overflow" in done.stderr


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, subprocess.CompletedProcess]:
    """What nvcc says of every source, for one architecture; setup.py compiles for all of them."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not here: the CUDA sources are not compiled")
    folder = tmp_path_factory.mktemp("nvcc")

    def one(source: Path) -> subprocess.CompletedProcess:
        command = emulated_cuda.nvcc_command(nvcc, source, folder / f"{source.stem}.o", "90")
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(emulated_cuda.SOURCES, pool.map(one, emulated_cuda.SOURCES)))


@pytest.mark.parametrize("source", emulated_cuda.SOURCES, ids=lambda source: source.stem)
def test_nvcc_compiles_without_spilling(compiled: dict, source: Path) -> None:
    done = compiled[source]
    assert done.returncode == 0, done.stderr
    spilled = [line for line in done.stderr.splitlines() if " spill " in line]
    assert spilled and all("0 bytes spill stores" in line for line in spilled), done.stderr
