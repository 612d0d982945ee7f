"""Every op's calls with each argument made wrong, or unusual, in every way; and what comes of them.

``cases`` makes them of the calls in ``tests/ops``; the tests run each in every implementation, and
``op_memory.py`` where every access beyond an argument shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from ops import CALLS
from torch import Tensor
from torch.utils._pytree import tree_map

from invad_fast.ops.dispatch import NAMESPACE

DTYPES = (
    *(torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.complex64, torch.complex32),
)
# errors that a type's results may have of rounding, relative to the largest value or to 1
ROUNDING = {
    torch.float64: 1e-11,
    torch.float32: 1e-4,
    torch.bfloat16: 4e-2,
    torch.float16: 5e-3,
}
NUMBERS: dict[type, list] = {
    float: [
        *(0.0, -0.0, 1e-300, 1.0, 1000.0, 1001.0, 1e30, 3e38, 3.5e38, 1e300, -1.0, -1e300),
        *(math.inf, -math.inf, math.nan),
    ],
    int: [-(2**63), -1, 0, 1, 2, 3, 4, 2**31, 2**63 - 1],
    bool: [False, True],
}
LISTS_OF_NUMBERS: list[list[int]] = [
    *([], [5], [5, 6, 7], [1, 1], [0, 5], [5, -1], [2, 2**14 + 1]),
    *([2**40, 2**40], [-(2**63), 2**63 - 1]),
]


@dataclass(frozen=True)
class Case:
    """A call of an op.

    Attributes:
        title: which argument is changed, and how.
        valued: whether the results are numbers that must agree: sums of infinities need not, nor
            what unsorted boundaries give.
    """

    op: str
    title: str
    arguments: tuple
    valued: bool = True


def function(op: str) -> Callable:
    return getattr(getattr(torch.ops, NAMESPACE), op).default


def cases(op: str) -> Iterator[Case]:
    """The op's calls as they are, then with one argument changed."""
    torch.manual_seed(0)
    names = [argument.name for argument in function(op)._schema.arguments]
    for number, call in enumerate(CALLS[op]()):
        call = tree_map(lambda a: a.detach() if isinstance(a, Tensor) else a, call)
        yield Case(op, f"call {number}", call)
        for at, argument in enumerate(call):
            for title, changed in changes(argument):
                valued = title != "of infinity" and (title, names[at]) != ("of NaN", "boundaries")
                arguments = (*call[:at], changed, *call[at + 1 :])
                yield Case(op, f"call {number}, {names[at]} {title}", arguments, valued)


def changes(argument) -> Iterator[tuple[str, object]]:
    """(how, the argument so changed); none for an argument that is absent."""
    if isinstance(argument, Tensor):
        yield from tensors(argument)
    elif isinstance(argument, list) and isinstance(argument[0], Tensor):
        yield "without any", []
        yield "without the last", argument[:-1]
        yield "with the last twice", [*argument, argument[-1]]
        for at, each in enumerate(argument):
            for title, changed in tensors(each):
                yield f"[{at}] {title}", [*argument[:at], changed, *argument[at + 1 :]]
    elif isinstance(argument, list):
        yield from ((f"= {value}", value) for value in LISTS_OF_NUMBERS)
    elif argument is not None:
        yield from ((f"= {value}", value) for value in NUMBERS[type(argument)])


def tensors(t: Tensor) -> Iterator[tuple[str, Tensor]]:
    yield from (*sizes(t), *ranks(t), *strides(t))
    for dtype in DTYPES:
        if dtype != t.dtype:
            yield f"of {dtype}", t.to(dtype)
    yield "on meta", t.to("meta")
    yield "sparse", t.to_sparse()
    if t.is_floating_point():
        yield "of NaN", torch.full_like(t, math.nan)
        yield "of infinity", torch.full_like(t, math.inf)


def sizes(t: Tensor) -> Iterator[tuple[str, Tensor]]:
    for d, size in enumerate(t.shape):
        for other in sorted({0, 1, size - 1, size + 1, 2 * size} - {size}):
            picked = torch.arange(other) * size // max(other, 1)  # a rising row still rises
            yield f"of size {other} for {size} in dimension {d}", t.index_select(d, picked)
    yield "with no element at all", t.new_empty([0] * t.dim())


def ranks(t: Tensor) -> Iterator[tuple[str, Tensor]]:
    yield "of no dimension", t.flatten()[0].clone()
    yield "in a row", t.flatten().clone()
    yield "with a dimension before", t[None].clone()
    yield "with a dimension behind", t[..., None].clone()
    if t.dim():
        yield "of its first entry", t[0].clone()


def strides(t: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The same numbers otherwise laid out; and those that share memory."""
    wider = torch.full((*t.shape[:-1], 2 * t.shape[-1]), 9, dtype=t.dtype)
    yield "with every other element", wider[..., ::2].copy_(t)
    buffer = torch.full((t.numel() + 1,), 9, dtype=t.dtype)
    yield "one element further", buffer[1:].view(t.shape).copy_(t)
    if t.dim() > 1:
        yield (
            "with its dimensions reversed",
            t.permute(*reversed(range(t.dim()))).contiguous().permute(*reversed(range(t.dim()))),
        )
    if t.dim() == 4:
        yield "channels last", t.contiguous(memory_format=torch.channels_last)
    for d, size in enumerate(t.shape):
        if size > 1:
            yield f"expanded in dimension {d}", t.narrow(d, 0, 1).clone().expand(t.shape)
    yield "expanded from one number", t.flatten()[:1].clone()[0].expand(t.shape)


def outcome(call: Callable, arguments: tuple) -> tuple[Tensor, ...] | str:
    """The results, or the line of the refusal."""
    try:
        results = call(*arguments)
    except RuntimeError as error:
        return str(error)
    return (results,) if isinstance(results, Tensor) else tuple(results)


def assert_same(actual, expected, case: Case) -> None:
    """Refused with the same words, or of the same form and, but for rounding, the same numbers."""
    where = f"{case.op}, {case.title}"
    if isinstance(expected, str):
        refused = actual if isinstance(actual, str) else "nothing"
        assert expected.startswith(f"{case.op}: "), f"{where}: refused by accident: {expected}"
        assert actual == expected, (
            f"{where}: refused is {refused!r} where it should be {expected!r}"
        )
        return
    assert not isinstance(actual, str), f"{where}: refused where the reference is not: {actual}"
    assert len(actual) == len(expected), where
    for a, e in zip(actual, expected):
        form, wanted = ((t.shape, t.stride(), t.dtype) for t in (a, e))
        assert form == wanted, f"{where}: {form} where the reference has {wanted}"
        if not case.valued or a.device.type == "meta":
            continue
        most = e[e.isfinite()].abs().max().clamp(min=1).item() if e.isfinite().any() else 1.0
        allowed = ROUNDING.get(e.dtype, 0.0)
        torch.testing.assert_close(
            a, e, rtol=allowed, atol=allowed * most, equal_nan=True,
            msg=lambda text: f"{where}: {text}",
        )  # fmt: skip
