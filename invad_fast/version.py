"""Which release this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def release() -> str:
    """The version that pip installed, or that there is none: a checkout may be run as it lies."""
    try:
        return version("invad-fast")
    except PackageNotFoundError:
        return "(a checkout that is not installed)"
