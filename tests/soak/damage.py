"""Random damage to bytes and to JSON values."""

from __future__ import annotations

import copy
import random
from typing import Any

_EXTREME = (0, 1, 127, 128, 255, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged(data: bytes, rng: random.Random, most: int = 6) -> bytes:
    """``data`` with a few places changed, cut out, doubled or put in; half of them near its
    start, where formats say what follows."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, most)):
        near = min(len(changed), 400) if rng.random() < 0.5 else len(changed)
        at, length = rng.randrange(near + 1), rng.choice((1, 2, 4, 16, 64))
        kind = rng.randrange(7)
        if kind == 0:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(_EXTREME) % 256**size
            changed[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = changed[at : at + length]
        elif kind == 5:
            changed[at:at] = rng.randbytes(length)
        elif rng.random() < 0.3:  # else most of them are cut short
            del changed[at:]
    return bytes(changed)


def any_value(rng: random.Random, depth: int = 0) -> Any:
    """What JSON may hold where something else is expected."""
    texts = ("", " ", "x", "NaN", "null", "..", "/", "a\nb", "\0", "\x1b[2J", "é\u202e", "\ud800",
             "9" * 400, "x" * 3000, "../" * 40)  # fmt: skip
    numbers = (0, 1, -1, 2, 255, 2**31, -(2**63), 2**64, 10**30, 0.5, -0.0, 1e308, 1e-320)
    odd = (float("nan"), float("inf"), True, False, None)
    kind = rng.randrange(6 if depth < 4 else 3)
    if kind < 3:
        return rng.choice((texts, numbers, odd)[kind])
    if kind == 3:
        return [any_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 4:
        return {str(any_value(rng, 9)): any_value(rng, depth + 1) for _ in range(rng.randrange(4))}
    nested: Any = []
    for _ in range(rng.choice((20, 50, 150))):
        nested = [nested]
    return nested


def nested_deeply(text: str, rng: random.Random) -> str:
    """JSON with one of its texts or keys in brackets, as many as no parser follows."""
    words = text.split('"')
    at, depth = rng.randrange(1, len(words)), rng.choice((300, 3000, 200_000))
    return '"'.join(words[:at]) + "[" * depth + "]" * depth + '"'.join(words[at:])


def with_odd_values(value: Any, rng: random.Random) -> Any:
    """A copy with a few of its places changed, taken out, renamed or doubled."""
    changed = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = [(None, None), *_places(changed)]
        holder, key = places[rng.randrange(len(places) if rng.random() < 0.99 else 1)]
        if holder is None:
            changed = any_value(rng) if rng.random() < 0.05 else changed
        elif rng.random() < 0.7:
            holder[key] = any_value(rng)
        elif isinstance(holder, list):
            holder[key : key + 1] = [] if rng.random() < 0.5 else [holder[key]] * 2
        else:
            kept = holder.pop(key)
            if rng.random() < 0.5:
                holder[str(any_value(rng, 9))] = kept
    return changed


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(list or object, index or key) of everything in it."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, (dict, list)):
            pairs = holder.items() if isinstance(holder, dict) else enumerate(holder)
            for key, inner in pairs:
                found.append((holder, key))
                waiting.append(inner)
    return found
