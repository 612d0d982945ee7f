"""Classes of options whose fields say what they may be; anything else is one line.

The bounds are declared with the types (pydantic), and checked wherever such an object is made: by
the command line, a benchmark's file, or a call.
"""

from __future__ import annotations

import difflib
import functools
import operator
from collections.abc import Iterable
from numbers import Real as RealNumber
from typing import Annotated, Any, TypeVar, dataclass_transform, get_args

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from invad_fast.errors import InputError

T = TypeVar("T")


def _whole(value: Any) -> int:
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise PydanticCustomError("whole", "must be a whole number")


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, RealNumber):
        raise PydanticCustomError("real", "must be a number")
    return float(value)


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number of any library's kind; no truth value, and no text that looks like one."""

Real = Annotated[float, BeforeValidator(_real)]
"""A number of any library's kind, likewise."""

Gib = Annotated[float, Field(ge=0, le=2**30)]
"""A bound on memory in units of 2³⁰ bytes; more would be no 64-bit number of bytes."""


class FieldError(InputError):
    """One field is at fault: ``field`` names it, ``fault`` says what is wrong with it."""

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"{field}: {fault}")
        self.field, self.fault = field, fault

    def __reduce__(self) -> tuple[type[FieldError], tuple[str, str]]:
        return FieldError, (self.field, self.fault)  # processes tell each other


@dataclass_transform(frozen_default=True, kw_only_default=True)
def checked(cls: type[T]) -> type[T]:
    """Makes ``cls`` a frozen dataclass whose fields are checked; InputError names the first fault.

    Fields may carry ``pydantic.Field`` bounds; numbers that are not finite are refused, and so are
    true and false for numbers. A fault of one field is a `FieldError`.
    """
    config = ConfigDict(allow_inf_nan=False, extra="forbid")
    made: Any = dataclass(frozen=True, kw_only=True, config=config)(cls)
    initialize = made.__init__

    @functools.wraps(initialize)
    def __init__(self: Any, *unnamed: Any, **fields: Any) -> None:
        if unnamed:
            first = next(iter(made.__dataclass_fields__))
            raise InputError(f"{cls.__name__} takes its fields by name: {cls.__name__}({first}=…)")
        unknown = next((name for name in fields if name not in made.__dataclass_fields__), None)
        if unknown is not None:
            raise InputError(unknown_name("option", unknown, made.__dataclass_fields__))
        for name, value in fields.items():
            # For pydantic true is the number 1.
            if _holds_flag(value) and not _mentions_flag(made.__pydantic_fields__[name].annotation):
                raise FieldError(name, "must not be true or false")
        try:
            initialize(self, **fields)
        except ValidationError as error:
            place = error.errors()[0]["loc"]
            if not place or isinstance(_own(error), InputError):
                raise InputError(one_line(error)) from None
            raise FieldError(str(place[0]), _fault(error)) from None

    made.__init__ = __init__
    return made


def one_line(error: ValidationError, where: str = "") -> str:
    """The first fault as ``field: must be …, not VALUE``; ``where`` goes in front."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"] if part != "__root__")
    own = _own(error)
    if isinstance(own, InputError):  # of fields that contradict each other: it says all
        return f"{where}: {own}" if where else str(own)
    if first["type"] == "missing":
        return f"{where}: it has no {name}" if where else f"no {name} is given"
    place = f"{where}: {name}" if where and name else where or name
    return f"{place}: {_fault(error)}"


def _own(error: ValidationError) -> Any:
    """The exception that a check of ours raised, if the first fault is one."""
    return error.errors()[0].get("ctx", {}).get("error")


def _fault(error: ValidationError) -> str:
    first = error.errors()[0]
    said = str(first["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    said = said.replace("a valid tuple", "a list")
    return f"{said[:1].lower()}{said[1:]}, not {_shown(first['input'])}"


def _holds_flag(value: Any) -> bool:
    several = isinstance(value, (list, tuple))
    return isinstance(value, bool) or (several and any(isinstance(v, bool) for v in value))


def _mentions_flag(annotation: Any) -> bool:
    return annotation is bool or any(_mentions_flag(part) for part in get_args(annotation))


def _shown(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The line for a name that is not known: the closest ones, or all where none is close."""
    choices = list(known)
    close = difflib.get_close_matches(str(name), choices, 3, 0.6)
    if close:
        return f"no {kind} {name!r}: did you mean {' or '.join(repr(c) for c in close)}?"
    return f"no {kind} {name!r}" + (f": choose {', '.join(choices)}" if choices else "")
