"""What every test shares: the sample material beside the checkout, which may be absent."""

from pathlib import Path

import emulated_cuda
import pytest
import torch

# On a GPU float32 is compared with float64, and runs with each other: no TF32, one algorithm.
torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.deterministic = True

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden numbers, weights and sample images; none of it is in the repository."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside the checkout: its golden numbers and images are not here")
    return SHARED


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """csrc/cuda for the CPU, with the mistakes that it must find."""
    if emulated_cuda.compiler() is None:
        pytest.skip("no C++ compiler is here to build the emulation with")
    return emulated_cuda.build(tmp_path_factory.mktemp("cuda_emulation"))


@pytest.fixture(scope="session")
def having(library: Path) -> list[str]:
    """The ops that csrc/cuda has."""
    return emulated_cuda.load(library)
