"""The range that images of more than 8 bits are scaled from, in every place where it is chosen."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from invad_fast.errors import InputError

Levels = tuple[int, int]
"""The values of a channel of 16 bits that become black and white."""

FULL_RANGE: Levels = (0, 65535)


def levels_of(value: Any) -> Levels | None:
    """(low, high), or the same as text, "0:4095"; None stays None.

    Raises:
        InputError: where it is no range of a 16-bit channel.
    """
    if value is None:
        return None
    parts = value.split(":") if isinstance(value, str) else value
    try:
        low, high = (int(part) for part in parts)
    except (TypeError, ValueError):
        raise InputError(
            f"levels are a low and a higher number, as 0:4095, not {value!r}"
        ) from None
    if not 0 <= low < high <= FULL_RANGE[1]:
        raise InputError(f"levels must rise within 0 to 65535, not from {low} to {high}")
    return low, high


LevelsOption = Annotated[Levels | None, BeforeValidator(levels_of)]
"""A field of options or of a score rule."""
