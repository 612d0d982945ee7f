"""What every refusal is: one line."""

from collections.abc import Callable

import pytest

from invad_fast import InputError


def one_line(match: str, call: Callable[[], object]) -> str:
    """The line with which ``call`` refuses, in which ``match`` is found."""
    with pytest.raises(InputError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)
