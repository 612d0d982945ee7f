"""What every test shares: the sample material beside the checkout, which may be absent."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden numbers, weights and sample images; none of it is in the repository."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside the checkout: its golden numbers and images are not here")
    return SHARED
