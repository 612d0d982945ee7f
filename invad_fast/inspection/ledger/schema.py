"""The ledger's tables, and how an older ledger becomes one of today.

Each index that a row enters is a page more that its transaction writes: they are few, and a part
that passes is in two.

Of a view, width and height are of its frame in pixels, regions and figures JSON: [x, y, width,
height, peak] of the strongest regions in pixels of the frame; name → number of the picture. An
alarm says at which part it was raised, and since which part what it tells of has been so.

Times are microseconds of UTC since 1970, durations microseconds of a clock that is never set.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from invad_fast.errors import InputError, first_line

VERSION = 2
APPLICATION = 0x494E5641  # "INVA": by it the file says that it is a ledger

TABLES = """
CREATE TABLE parts (
    id INTEGER PRIMARY KEY,
    station TEXT NOT NULL,
    part_id TEXT NOT NULL,
    triggered_at INTEGER NOT NULL,
    decided_at INTEGER,
    verdict TEXT CHECK (verdict IN ('PASS', 'REJECT', 'NOT_INSPECTED')),
    reason TEXT,
    score REAL,
    threshold REAL,
    class_name TEXT,
    recipe TEXT NOT NULL,
    recipe_digest TEXT NOT NULL,
    latency_us INTEGER,
    encoder INTEGER,
    CHECK ((verdict IS NULL) = (decided_at IS NULL)),
    CHECK ((verdict = 'NOT_INSPECTED') = (reason IS NOT NULL))
);
CREATE INDEX parts_by_time ON parts (triggered_at);
CREATE INDEX parts_by_name ON parts (part_id);
CREATE INDEX parts_not_passed ON parts (verdict, score) WHERE verdict <> 'PASS';
CREATE TABLE views (
    part INTEGER NOT NULL REFERENCES parts (id),
    view INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT,
    detail TEXT NOT NULL,
    score REAL,
    threshold REAL,
    class_name TEXT,
    width INTEGER,
    height INTEGER,
    regions TEXT,
    figures TEXT,
    PRIMARY KEY (part, view)
) WITHOUT ROWID;
CREATE TABLE gaps (
    id INTEGER PRIMARY KEY,
    station TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    parts INTEGER NOT NULL CHECK (parts > 0),
    reason TEXT NOT NULL
);
CREATE TABLE alarms (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    recipe TEXT NOT NULL,
    recipe_digest TEXT NOT NULL,
    class_name TEXT,
    part INTEGER,
    since INTEGER,
    detail TEXT NOT NULL
);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    recipe TEXT NOT NULL,
    key TEXT NOT NULL,
    old TEXT,
    new TEXT,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE TABLE recipes (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    content TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE recipe_versions (
    digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    content TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE pictures (
    id INTEGER PRIMARY KEY,
    part INTEGER NOT NULL,
    view INTEGER NOT NULL,
    why TEXT NOT NULL CHECK (why IN ('reject', 'near miss', 'sample')),
    file TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL,
    kept_at INTEGER NOT NULL,
    removed_at INTEGER
);
CREATE INDEX pictures_by_part ON pictures (part);
CREATE TABLE openings (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    next_id INTEGER NOT NULL
);
CREATE TABLE counters (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE schema_version (version INTEGER NOT NULL);
"""

RESERVED = "reserved ids"
"""The counter of the ids that may have been given out."""

# version → the statements that make a ledger of the next one out of it.
MIGRATIONS: dict[int, str] = {
    1: """
    ALTER TABLE views ADD COLUMN width INTEGER;
    ALTER TABLE views ADD COLUMN height INTEGER;
    ALTER TABLE views ADD COLUMN regions TEXT;
    ALTER TABLE views ADD COLUMN figures TEXT;
    CREATE TABLE alarms (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        recipe TEXT NOT NULL,
        recipe_digest TEXT NOT NULL,
        class_name TEXT,
        part INTEGER,
        since INTEGER,
        detail TEXT NOT NULL
    );
    CREATE TABLE recipe_versions (
        digest TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        content TEXT NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO recipe_versions SELECT digest, name, content FROM recipes""",
}


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the tables of a new ledger; brings an older one up to today, after a copy of it.

    Raises:
        InputError: for a file that is no ledger, and for one of a newer version.
    """
    version = version_of(connection, path)
    if version is None:
        with connection:
            connection.executescript(
                f"BEGIN; {TABLES} INSERT INTO schema_version VALUES ({VERSION});"
                f"PRAGMA application_id = {APPLICATION}; COMMIT;"
            )
        return
    if version < VERSION:
        copy = path.with_name(f"{path.name}.version-{version}")
        copy.unlink(missing_ok=True)
        connection.execute("VACUUM INTO ?", (str(copy),))
        for old in range(version, VERSION):
            connection.executescript(
                f"BEGIN; {MIGRATIONS[old]}; UPDATE schema_version SET version = {old + 1}; COMMIT;"
            )


def version_of(connection: sqlite3.Connection, path: Path) -> int | None:
    """The version of a ledger; None for a file without tables.

    Raises:
        InputError: for a file that is no ledger, and for one of a newer version.
    """
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            return None
        marked = connection.execute("PRAGMA application_id").fetchone()[0]
        if marked != APPLICATION:
            raise InputError(f"{path} is a database of something else: choose another ledger")
        version: int = connection.execute("SELECT version FROM schema_version").fetchone()[0]
    except (sqlite3.Error, TypeError) as error:
        raise InputError(
            f"{path} is no ledger, or a damaged one ({first_line(error)}): move it away, or "
            "`invad-fast ledger restore` a backup"
        ) from None
    if version > VERSION:
        raise InputError(
            f"{path} is a ledger of version {version}, and this invad_fast writes {VERSION}: "
            "update it"
        )
    return version
