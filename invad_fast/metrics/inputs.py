"""What users give, checked, and as the arrays that the engines read.

Whatever a figure is asked of comes through here: maps, masks, labels, and every option. What is
wrong with it is one InputError, whichever library would have stumbled over it.
"""

from __future__ import annotations

import difflib
import operator
import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from invad_fast.errors import InputError
from invad_fast.metrics.engines import device_of

if TYPE_CHECKING:
    import torch

# The engines number a map's pixels with 31 bits.
MOST_PIXELS = (1 << 31) - 1
# Types of tensors that hold numbers one by one, as NumPy's arrays do.
_READABLE = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
    "float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128",
)  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Checked maps with their masks: arrays, or tensors on one device.

    Attributes:
        maps: N×H×W float32, dense; the caller's own memory where it was that already.
        masks: N×H×W uint8 (or bool, of tensors), anomalous where not 0; None where there are none.
        labels: N bool, an array; None where they are to be taken from the masks.
    """

    maps: Any
    masks: Any | None
    labels: np.ndarray | None


def check(
    maps: ArrayLike,
    masks: ArrayLike | None,
    labels: ArrayLike | None,
    device: torch.device | None,
) -> Batch:
    """Arrays, tensors of any device, or nested lists, made one :class:`Batch`.

    Scores of float64 are rounded to float32, which keeps their order. Masks of any type are
    anomalous where they are not 0, so that 0/1, 0/255 and bool are all right. Labels are bools, or
    0 and 1: other numbers mean different things to different people.

    Args:
        device: where the batch is to be; None for arrays on the host.

    Raises:
        InputError: shapes that do not fit, types that are no numbers, masks with NaN, labels that
            are neither true nor false, neither masks nor labels. Whether the scores are finite is
            seen where they are read.
    """
    scores = check_maps(maps, device)
    own_masks = None if masks is None else _check_masks(masks, tuple(scores.shape), device)
    if labels is None:
        if masks is None:
            raise InputError("without masks, labels are needed: which images are anomalous")
        return Batch(scores, own_masks, None)
    return Batch(scores, own_masks, _check_labels(labels, len(scores)))


def check_maps(maps: ArrayLike, device: torch.device | None) -> Any:
    """N×H×W float32, dense: an array, or a tensor on ``device``."""
    given = _as_tensor_or_array(maps, "maps")
    shape = tuple(given.shape)
    _refuse_other_types(given, "maps", "must be numbers, such as float32")
    if len(shape) != 3 or 0 in shape:
        raise InputError(f"maps must be N×H×W with N ≥ 1, not {shape}{_advice(shape)}")
    if shape[1] * shape[2] > MOST_PIXELS:
        raise InputError(f"maps of {shape[1]}×{shape[2]} have 2^31 pixels or more: cut them up")
    if device is None or isinstance(given, np.ndarray):
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused later
            scores = np.ascontiguousarray(_on_host(given, "maps"), np.float32)
        if device is None:
            return scores
    import torch

    tensor = torch.tensor(scores) if isinstance(given, np.ndarray) else given
    return tensor.to(device, torch.float32).contiguous()


def as_array(values: Any, what: str) -> np.ndarray:
    """An array of what may be a tensor, also on another device or of a type NumPy has not.

    Args:
        what: the argument's name, for the message.

    Raises:
        InputError: nothing that has one shape and one value in every place.
    """
    return _on_host(_as_tensor_or_array(values, what), what)


def refuse_not_finite(maps: np.ndarray | torch.Tensor) -> None:
    """Names the first of N×H×W maps that has a score that is not finite; nothing if none has."""
    if isinstance(maps, np.ndarray):
        finite = [np.isfinite(scores).all() for scores in maps]
    else:
        finite = maps.isfinite().flatten(1).all(1).tolist()
    if not all(finite):
        raise InputError(
            f"map {finite.index(False)} has scores that are not finite (NaN or infinite): nothing "
            "can be ranked that way; look for what made it so"
        )


def chosen(value: Any, options: Sequence[str], what: str) -> str:
    """``value``, which must be one of ``options``."""
    if isinstance(value, str) and value in options:
        return value
    near = difflib.get_close_matches(value, options, 1) if isinstance(value, str) else []
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(f"no {what} {shown(value)}: {meant}choose {' or '.join(options)}")


def shown(value: Any) -> str:
    """A wrong value as it stands in a message: of one line, and not too long."""
    try:
        text = repr(value).replace("\n", " ")
    except Exception:  # of another library's object; Python's own, of integers with 5,000 digits
        text = f"this {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}…"


def window(pooling: Any, height: int | None = None, width: int | None = None) -> int | None:
    """A pooling window, which must fit maps of height × width where these are known."""
    if pooling is None:
        return None
    try:
        size = operator.index(pooling)
    except TypeError:
        size = 0
    if size < 1 or _is_bool(pooling):
        raise InputError(
            f"pooling {shown(pooling)} is no window: give a whole number, 1 or more, or None"
        )
    if height is not None and width is not None and size > min(height, width):
        raise InputError(f"pooling {shown(size)} does not fit maps of {height}×{width}")
    return size


def rate(value: Any, what: str) -> float:
    """A share of pixels, 0 … 1."""
    try:
        share = float("nan") if isinstance(value, str) or _is_bool(value) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        share = float("nan")
    if not 0 <= share <= 1:
        raise InputError(f"{what} must be a number in [0, 1], not {shown(value)}")
    return share


def class_names(classes: Any, count: int) -> list[str]:
    """The class of each of ``count`` maps."""
    try:
        names = [] if isinstance(classes, (str, bytes, Mapping, Set)) else list(classes)
    except TypeError:
        names = []
    if not names:
        raise InputError(f"classes must be a list of names, one for each map, not {shown(classes)}")
    if len(names) != count:
        raise InputError(f"{len(names)} class names for {count} maps: give one for each")
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise InputError(f"class {i} is named {shown(name)}, which is no text: give str(name)")
    return [str(name) for name in names]


def _check_masks(masks: ArrayLike, shape: tuple[int, ...], device: torch.device | None) -> Any:
    given = _as_tensor_or_array(masks, "masks")
    _refuse_other_types(given, "masks", "must be bool or numbers, such as uint8")
    if tuple(given.shape) != shape:
        raise InputError(f"masks {tuple(given.shape)} do not fit maps {shape}: resize them first")
    if device is None or device_of(given) is None:
        marks = _mask_bytes(_on_host(given, "masks"))
        if device is None:
            return marks
        import torch

        return torch.tensor(marks).to(device)  # bytes, not what they were, travel
    if given.is_floating_point() and given.isnan().any():
        raise InputError("masks have pixels that are not numbers (NaN)")
    if str(given.dtype) in ("torch.uint16", "torch.uint32", "torch.uint64"):
        given = given.long()  # which torch compares; no other value becomes 0
    marked = given if str(given.dtype) in ("torch.bool", "torch.uint8") else given != 0
    return marked.to(device).contiguous()


def _mask_bytes(marks: np.ndarray) -> np.ndarray:
    if marks.dtype == np.bool_:
        return np.ascontiguousarray(marks).view(np.uint8)
    if marks.dtype == np.uint8:
        return np.ascontiguousarray(marks)
    if np.isnan(marks).any():
        raise InputError("masks have pixels that are not numbers (NaN)")
    return np.ascontiguousarray(marks != 0).view(np.uint8)


def _check_labels(labels: ArrayLike, count: int) -> np.ndarray:
    given = as_array(labels, "labels")
    wanted = "must be true or false (or 1 or 0), one for each map"
    if given.shape != (count,):
        raise InputError(f"labels of shape {given.shape} do not fit {count} maps: they {wanted}")
    _refuse_other_types(given, "labels", wanted)
    other = np.flatnonzero((given != 0) & (given != 1))
    if len(other):
        raise InputError(f"labels {wanted}: number {other[0]} is {given[other[0]]}")
    return given != 0


def _as_tensor_or_array(values: Any, what: str) -> Any:
    """A dense tensor on its own device, without gradient, or an array."""
    torch = sys.modules.get("torch")  # who has not loaded it has no tensors
    if torch is not None and isinstance(values, torch.Tensor):
        return _plain_tensor(values, what)
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise InputError(f"{what} are masked in places: fill these first, with {what}.filled(…)")
    if isinstance(values, (list, tuple)) and any(map(_has_shape, values)):
        return _stacked(values, what)
    return _converted(lambda: np.asarray(values), what)


def _stacked(values: Sequence[Any], what: str) -> np.ndarray:
    """A list of arrays or tensors as one array."""
    parts = [as_array(value, what) for value in values]
    for i, part in enumerate(parts):
        if part.shape != parts[0].shape:
            raise InputError(
                f"{what} differ in shape: number 0 has {parts[0].shape}, number {i} {part.shape}: "
                "bring them to one shape, or give each shape a call of its own"
            )
    return _converted(lambda: np.stack(parts), what)


def _plain_tensor(tensor: torch.Tensor, what: str) -> torch.Tensor:
    if tensor.is_nested:
        raise InputError(f"{what} are a nested tensor, of several shapes: bring them to one")
    if tensor.is_quantized:
        raise InputError(f"{what} are a quantised tensor: give {what}.dequantize()")
    kind = str(tensor.layout).removeprefix("torch.")
    if kind != "strided":
        raise InputError(f"{what} are a tensor of layout {kind}: give {what}.to_dense()")
    if tensor.is_meta or hasattr(tensor, "fake_mode"):
        raise InputError(f"{what} are a meta or fake tensor, which holds no values: give real ones")
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in _READABLE:
        raise InputError(f"{what} are a tensor of {name}: give {what}.float()")
    return tensor.detach().resolve_conj().resolve_neg()


def _on_host(values: Any, what: str) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values
    if str(values.dtype) == "torch.bfloat16":
        values = values.float()
    return _converted(lambda: values.cpu().numpy(), what)


def _converted(convert: Any, what: str) -> np.ndarray:
    """What ``convert`` makes of other libraries' objects, which may raise anything."""
    try:
        return convert()
    except MemoryError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(
            f"{what} cannot be read as one array ({reason}): give an array, a tensor, or nested "
            "lists of one shape"
        ) from error


def _refuse_other_types(values: Any, what: str, wanted: str) -> None:
    if isinstance(values, np.ndarray):
        right = values.dtype.kind in "fiub"
    else:
        right = not values.is_complex()
    if not right:
        raise InputError(f"{what} {wanted}, not {values.dtype}")


def _advice(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return ": one map is maps[None]"
    if len(shape) == 4 and 1 in shape[1:]:
        return f": take the channel away, with maps.squeeze({shape.index(1, 1)})"
    return ""


def _has_shape(value: Any) -> bool:
    return hasattr(value, "shape") and not isinstance(value, np.generic)


def _is_bool(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_)) or str(getattr(value, "dtype", "")) == "torch.bool"
