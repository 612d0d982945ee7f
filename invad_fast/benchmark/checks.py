"""What a configuration's values may be: each check returns the value, or says what it must be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any


class Invalid(Exception):
    """What a value should have been."""


def checked(key: str, check: Callable[[Any], Any], value: Any) -> Any:
    """The value as ``check`` returns it; :class:`Invalid` names the key otherwise."""
    try:
        return check(value)
    except Invalid as error:
        raise Invalid(f"{key}: must be {error}, not {value!r}") from None


def text(value: Any) -> str:
    """Text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise Invalid("text")
    return value


def folder_name(value: Any) -> str:
    """Text that can name a folder."""
    if not isinstance(value, str) or not re.fullmatch(r"[\w+-][\w+. -]*", value):
        raise Invalid("a name that a folder can have (letters, digits, + - . _)")
    return value


def whole(least: int) -> Callable[[Any], int]:
    """Whole numbers from ``least`` on."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise Invalid(f"a whole number of at least {least}")
        return value

    return check


def number(least: float, exclusive: bool = False) -> Callable[[Any], float]:
    """Finite numbers from ``least`` on, or above it; YAML 1.1's text 1e-3 included."""

    def check(value: Any) -> float:
        try:
            # YAML 1.1 reads 1e-3 as text.
            number = float(value) if isinstance(value, (int, float, str)) else math.nan
        except ValueError:
            number = math.nan
        fits = number > least if exclusive else number >= least
        if isinstance(value, bool) or not fits or math.isinf(number):
            raise Invalid(f"a number {'above' if exclusive else 'of at least'} {least:g}")
        return number

    return check


def one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    """One of the choices."""

    def check(value: Any) -> str:
        if value not in choices:
            raise Invalid(f"one of {', '.join(choices)}")
        return value

    return check


def list_of(check: Callable[[Any], Any]) -> Callable[[Any], tuple]:
    """A list that is not empty, each item checked, none twice → tuple."""

    def check_all(value: Any) -> tuple:
        if not isinstance(value, list) or not value:
            raise Invalid("a list that is not empty")
        for item in value:
            try:
                check(item)
            except Invalid as error:
                raise Invalid(f"a list, each item {error}") from None
        if len(set(value)) < len(value):
            raise Invalid("a list without repetitions")
        return tuple(value)

    return check_all


def optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """null, or what ``check`` takes."""
    return lambda value: None if value is None else check(value)


def flag(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise Invalid("true or false")
    return value


def counts(value: Any) -> tuple:
    """A list of block counts, which may repeat."""
    if not isinstance(value, list) or not value:
        raise Invalid("a list that is not empty")
    return tuple(whole(1)(item) for item in value)
