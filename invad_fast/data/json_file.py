"""Reading a JSON index, with a fault of the file told in one line."""

import json
from pathlib import Path
from typing import Any

from invad_fast.errors import InputError

GARBLED = (KeyError, IndexError, AttributeError, TypeError, ValueError, OverflowError)
"""What Python raises where JSON holds something else than is expected: Python reads ``Infinity``,
which no integer is, and integers that no float is."""


def read_json(path: Path) -> Any:
    """The content of the JSON file; `InputError` names a file that cannot be read as one."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable JSON file ({reason})") from None
