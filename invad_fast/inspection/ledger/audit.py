"""The audit trail: who changed what of a recipe, when; each row's hash covers the one before.

Whoever can write the file can write all of it anew, hashes and head: that is not found. Keep the
head that `ledger verify` prints elsewhere, and compare.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import Any

START = "0" * 64
STATION = ""
"""In the place of a recipe's name: the row is of the station."""

_COLUMNS = ("at", "who", "recipe", "key", "old", "new", "previous")


def note_recipe(
    connection: sqlite3.Connection,
    name: str,
    digest: str,
    content: dict[str, Any],
    who: str,
    at: int,
) -> int:
    """Adds a row for each key in which the recipe differs from the last of its name.

    Returns:
        How many rows.
    """
    found = connection.execute("SELECT digest, content FROM recipes WHERE name = ?", (name,))
    last = found.fetchone()
    if last is not None and last[0] == digest:
        return 0
    old = {} if last is None else flat(json.loads(last[1]))
    new = flat(content)
    keys = [
        key for key in (*new, *(k for k in old if k not in new)) if old.get(key) != new.get(key)
    ]
    for key in keys:
        _append(connection, (at, who, name, key, old.get(key), new.get(key)))
    text = json.dumps(content, ensure_ascii=False)
    connection.execute("INSERT OR REPLACE INTO recipes VALUES (?, ?, ?)", (name, digest, text))
    connection.execute(
        "INSERT OR REPLACE INTO recipe_versions VALUES (?, ?, ?)", (digest, name, text)
    )
    return len(keys)


def note_change(
    connection: sqlite3.Connection, key: str, old: str | None, new: str | None, who: str, at: int
) -> None:
    """Adds a row for what somebody changed at the station."""
    _append(connection, (at, who, STATION, key, json.dumps(old), json.dumps(new)))


def _append(connection: sqlite3.Connection, values: tuple[Any, ...]) -> None:
    previous, count = head(connection)
    row = (*values, previous)
    connection.execute(
        f"INSERT INTO audit ({', '.join(_COLUMNS)}, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*row, hash_of(row)),
    )
    for counter, value in (("audit head", hash_of(row)), ("audit rows", count + 1)):
        connection.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (counter, value))


def head(connection: sqlite3.Connection) -> tuple[str, int]:
    """(hash of the last row, how many there are), as noted when it was written."""
    held = dict(connection.execute("SELECT name, value FROM counters WHERE name LIKE 'audit %'"))
    return held.get("audit head", START), held.get("audit rows", 0)


def hash_of(row: tuple[Any, ...]) -> str:
    """SHA-256 over a row's values, the previous hash among them."""
    return hashlib.sha256(json.dumps(row, ensure_ascii=True).encode()).hexdigest()


def broken(connection: sqlite3.Connection) -> str | None:
    """What is wrong with the chain, in words; None where nothing is."""
    previous, count = START, 0
    columns = ", ".join(_COLUMNS)
    for *row, held in connection.execute(f"SELECT {columns}, hash FROM audit ORDER BY id"):
        count += 1
        if row[-1] != previous or hash_of(tuple(row)) != held:
            return f"row {count} of the audit trail was changed, or one before it taken out"
        previous = held
    if (previous, count) != head(connection):
        return f"the audit trail ends after {count} rows and should have {head(connection)[1]}"
    return None


def unaccounted(connection: sqlite3.Connection) -> list[str]:
    """The recipes that are not what the audit trail's rows made of them, in words."""
    made: dict[str, dict[str, str]] = {}
    for name, key, new in connection.execute("SELECT recipe, key, new FROM audit ORDER BY id"):
        if name == STATION:
            continue
        held = made.setdefault(name, {})
        if new is None:
            held.pop(key, None)
        else:
            held[key] = new
    kept = {
        name: flat(json.loads(content))
        for name, content in connection.execute("SELECT name, content FROM recipes")
    }
    return [
        f"the recipe {name!r} is not what the audit trail's rows made of it"
        for name in sorted(made.keys() | kept.keys())
        if made.get(name) != kept.get(name)
    ]


def flat(content: Any, path: str = "") -> dict[str, str]:
    """Nested dictionaries → dotted path → value as JSON; lists are values."""
    if not isinstance(content, dict) or not content:
        return {path: json.dumps(content, ensure_ascii=False)} if path else {}
    found: dict[str, str] = {}
    for key, value in content.items():
        found |= flat(value, f"{path}.{key}" if path else str(key))
    return found
