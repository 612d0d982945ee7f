"""Secrets come from the environment or from a file that it names, and from no command line."""

from __future__ import annotations

import os
from pathlib import Path

from invad_fast.errors import InputError


def secret(name: str) -> str | None:
    """What the variable ``name`` holds, or the file that ``name``_FILE names; None for neither.

    Raises:
        InputError: where the file cannot be read, or what it holds is empty.
    """
    value, file = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value is not None and file is not None:
        raise InputError(f"give {name} or {name}_FILE, not both")
    if file is not None:
        try:
            value = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise InputError(f"cannot read {file}, which {name}_FILE names: {why}") from None
    if value == "":
        raise InputError(f"{name} is empty" if file is None else f"{file} is empty: {name}_FILE")
    return value
