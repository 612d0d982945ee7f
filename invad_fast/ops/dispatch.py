"""How an op is declared, which implementations it has, and how one is forced.

Each op's file declares it once: schema, plain-PyTorch reference (for every device), fake and
backward. Native libraries only add kernels under torch's dispatch keys CPU and CUDA, so the
dispatcher is the fallback: nothing else asks what is installed. Forcing an implementation puts it
over what the key holds, and takes it off again.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from invad_fast.errors import InputError
from invad_fast.ops import native_libraries

NAMESPACE = "invad_fast"
ENVIRONMENT = "INVAD_FAST_IMPLEMENTATION"
IMPLEMENTATIONS = ("reference", "cpu", "cuda", "triton")
_KEYS = {"cpu": "CPU", "cuda": "CUDA"}


@dataclass
class _Op:
    check: Callable[..., None]
    reference: Callable
    cuda_owner: str
    composition: str | None
    of_native: tuple[Callable, tuple[str, ...]] | None
    forced: str | None = None
    override: torch.library.Library | None = None


_library = torch.library.Library(NAMESPACE, "DEF")
_ops: dict[str, _Op] = {}
_native: set[tuple[str, str]] = set()


def define(
    schema: str,
    check: Callable[..., None],
    reference: Callable,
    fake: Callable,
    setup_context: Callable | None = None,
    backward: Callable | None = None,
    *,
    cuda_owner: str = "cuda",
    composition: str | None = None,
    of_native: tuple[Callable, tuple[str, ...]] | None = None,
) -> Callable:
    """Declares an op and returns it.

    Args:
        schema: as in ``torch.library``: "name(Tensor x, …) -> Tensor". An op that computes another
            op's gradient is called ``<op>_backward`` and lives in its file, in every room.
        check: refuses arguments, in the words of ``ops/arguments.py``. It is run before the
            reference, the fake and a Triton kernel: none of them looks again. Native code has the
            same in ``csrc/<op>.h``.
        reference: the plain-PyTorch implementation, right on every device. Its output may not
            alias an input, and has the strides that ``fake`` promises.
        fake: returns empty outputs.
        setup_context, backward: for autograd; both or neither.
        cuda_owner: "cuda" or "triton", whichever measured faster: it runs where both are there.
        composition: for an op whose reference already runs on other ops with native code: which.
        of_native: an implementation for the CPU that is made of other ops, and these: it runs where
            all of them have native code.
    """
    name = schema.split("(")[0]
    reference, fake = _after(check, reference), _after(check, fake)
    _library.define(schema)
    _library.impl(name, reference, "CompositeExplicitAutograd")
    qualified = f"{NAMESPACE}::{name}"
    torch.library.register_fake(qualified, fake, lib=_library)
    if backward is not None:
        torch.library.register_autograd(
            qualified, backward, setup_context=setup_context, lib=_library
        )
    _ops[name] = _Op(check, reference, cuda_owner, composition, of_native)
    return getattr(getattr(torch.ops, NAMESPACE), name).default


def _after(check: Callable[..., None], function: Callable) -> Callable:
    @functools.wraps(function)
    def run(*arguments):
        check(*arguments)
        return function(*arguments)

    return run


def ops() -> tuple[str, ...]:
    """Names of all declared ops."""
    return tuple(_ops)


def implementations(op: str) -> dict[str, str | None]:
    """For each implementation of ``op``: None where it is available, else why it is not.

    ``triton`` is also available on a machine with no GPU under ``TRITON_INTERPRET=1``.
    """
    if op not in _ops:
        raise InputError(f"no op {op!r}: there are {', '.join(_ops)}")
    reasons: dict[str, str | None] = {"reference": None}
    for name in _KEYS:
        if (op, name) in _native:
            usable = name == "cpu" or torch.cuda.is_available()
            reasons[name] = None if usable else "torch sees no CUDA device"
        else:
            missing = _ops[op].composition or f"csrc/{name}/ has no {op}"
            reasons[name] = native_libraries.failure(name) or missing
    reasons["triton"] = _why_no_triton(op)
    return reasons


def kernels_of(device: str) -> dict[str, str]:
    """Op → the implementation that runs on tensors of the device ("cpu" or "cuda")."""
    found = {}
    for op, entry in _ops.items():
        native = "triton" if device == "cuda" and _triton_owns(op) else device
        here = native == "triton" or (op, native) in _native
        found[op] = entry.forced or (native if here else "reference")
    return found


@contextmanager
def use_implementation(name: str, op: str | None = None) -> Iterator[None]:
    """Forces an implementation inside a ``with`` block, in every thread of the process.

    On the device that the implementation is for: with ``"cuda"``, tensors on the CPU still run
    what they always run. ``"reference"`` holds for every device.

    Args:
        name: one of ``IMPLEMENTATIONS``.
        op: the op to force, with its backward; None for every op that has the implementation.

    Raises:
        InputError: with the reason, where the implementation is not available.
    """
    chosen = _having(name, op)
    before = {each: _ops[each].forced for each in chosen}
    try:
        for each in chosen:
            _force(each, name)
        yield
    finally:
        for each, forced in before.items():
            _force(each, forced)


def start() -> None:
    """Loads what is installed and honours INVAD_FAST_IMPLEMENTATION; after the last ``define``."""
    forced = os.environ.get(ENVIRONMENT)
    if forced == "reference":
        native_libraries.refuse(f"{ENVIRONMENT}=reference")
    else:
        native_libraries.load()
    for op in _ops:
        for name, key in _KEYS.items():
            if torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::{op}", key):
                _native.add((op, name))
    for op, entry in _ops.items():
        if entry.of_native and all((each, "cpu") in _native for each in entry.of_native[1]):
            _library.impl(op, _after(entry.check, entry.of_native[0]), "CPU")
            _native.add((op, "cpu"))
        _force(op, None)
    if forced:
        for op in _having(forced, None):
            _force(op, forced)


def _having(name: str, op: str | None) -> list[str]:
    """The ops to force: one with its backward, or all that have the implementation."""
    if name not in IMPLEMENTATIONS:
        raise InputError(f"no implementation {name!r}: choose one of {', '.join(IMPLEMENTATIONS)}")
    wanted = list(_ops) if op is None else [op, f"{op}_backward"]
    reasons = {each: implementations(each)[name] for each in wanted if each in _ops or each == op}
    having = [each for each, reason in reasons.items() if reason is None]
    if not having or (op is not None and op not in having):
        reason = next(iter(reasons.values()))
        raise InputError(f"the implementation {name} is not available: {reason}")
    return having


def _force(op: str, name: str | None) -> None:
    """Puts ``name`` over the native kernels; None leaves what runs by itself."""
    entry = _ops[op]
    if entry.override is not None:
        entry.override._destroy()
        entry.override = None
    entry.forced = name
    by_itself = "triton" if _triton_owns(op) else "cuda"
    over: dict[str, Callable] = {}
    if name == "reference":
        over = {key: entry.reference for key in _KEYS.values()}
    elif name == "triton" or (by_itself == "triton" and name != "cuda"):
        over = {key: _triton(op) for key in ("CUDA", *_interpreter_keys(name))}
    if over:
        entry.override = torch.library.Library(NAMESPACE, "IMPL")
        for key, function in over.items():
            entry.override.impl(op, function, key, allow_override=True)


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _interpreter_keys(name: str | None) -> tuple[str, ...]:
    return ("CPU",) if name == "triton" and _interpreted() else ()


def _module_of(op: str) -> str:
    return f"invad_fast.kernels.{op.removesuffix('_backward')}"


def _why_no_triton(op: str) -> str | None:
    if find_spec(_module_of(op)) is None:
        return _ops[op].composition or f"kernels/ has no {op}"
    if find_spec("triton") is None:
        return "triton is not installed"
    if not torch.cuda.is_available() and not _interpreted():
        return "torch sees no CUDA device"
    return None if hasattr(importlib.import_module(_module_of(op)), op) else f"kernels/ has no {op}"


def _triton_owns(op: str) -> bool:
    """Whether Triton runs on CUDA tensors by itself: where it is the faster, or the only one."""
    if not torch.cuda.is_available() or _why_no_triton(op) is not None:
        return False
    return _ops[op].cuda_owner == "triton" or (op, "cuda") not in _native


def _triton(op: str) -> Callable:
    check, reference = _ops[op].check, _ops[op].reference
    kernel = _after(check, getattr(importlib.import_module(_module_of(op)), op))

    def run(x: torch.Tensor | list[torch.Tensor], *arguments):
        # the kernels sum in float32, which would not do for float64
        wide = any(t.dtype == torch.float64 for t in (x if isinstance(x, list) else [x]))
        return (reference if wide else kernel)(x, *arguments)

    return run
