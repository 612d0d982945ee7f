"""Whether a ledger can be believed: its pages, its accounts, its audit trail."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from invad_fast.inspection.ledger import audit
from invad_fast.inspection.ledger.reading import reading

_VERDICT_OF_VIEWS = """
SELECT count(*) FROM parts p WHERE verdict IN ('PASS', 'REJECT') AND (
    NOT EXISTS (SELECT 1 FROM views v WHERE v.part = p.id)
    OR (verdict = 'REJECT') != EXISTS
        (SELECT 1 FROM views v WHERE v.part = p.id AND v.verdict = 'REJECT')
    OR (verdict = 'PASS') != NOT EXISTS
        (SELECT 1 FROM views v WHERE v.part = p.id AND v.verdict != 'PASS')
)"""

# Ids are given out one after another, but for those that an opening leaves out.
_MISSING = """
WITH used AS (SELECT max(ifnull((SELECT max(id) FROM parts), 0),
                         ifnull((SELECT max(last_id) FROM gaps), 0)) AS last)
SELECT max(0, used.last
    - ifnull((SELECT sum(next_id - last_id - 1) FROM openings WHERE next_id <= used.last), 0)
    - (SELECT count(*) FROM parts) - ifnull((SELECT sum(parts) FROM gaps), 0)) FROM used"""


def verify(path: Path) -> tuple[list[str], str]:
    """(what is wrong, in words; the audit trail's head as "hash, N rows").

    Rows of parts are not chained: who may write the file may change them, unseen; one that is
    taken out is missed. Of the audit trail a changed, removed or added row is found, unless all of
    it is written anew, and so is a recipe that is not what its rows made of it.

    Raises:
        InputError: for what is no ledger at all.
    """
    with reading(path) as connection:
        wrong = [f"damaged: {line}" for line in _pages(connection)]
        if wrong:
            return wrong, ""
        for words, query in {
            "parts whose verdict is not that of their views": _VERDICT_OF_VIEWS,
            "rows of views without their part": (
                "SELECT count(*) FROM views WHERE part NOT IN (SELECT id FROM parts)"
            ),
            "parts passed with a score above their threshold": (
                "SELECT count(*) FROM parts WHERE verdict = 'PASS' AND score > threshold"
            ),
            "parts that are in a gap and have a row": (
                "SELECT count(*) FROM gaps g WHERE g.parts > g.last_id - g.first_id + 1 - "
                "(SELECT count(*) FROM parts p WHERE p.id BETWEEN g.first_id AND g.last_id)"
            ),
            "parts that are missing: their ids stand in no row and in no gap": _MISSING,
        }.items():
            count = connection.execute(query).fetchone()[0]
            if count:
                wrong.append(f"{count} {words}")
        chain = audit.broken(connection)
        wrong += [chain] if chain else audit.unaccounted(connection)
        hash_, rows = audit.head(connection)
        return wrong, f"{hash_}, {rows} rows"


def _pages(connection: sqlite3.Connection) -> list[str]:
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if found == ["ok"] else [" ".join(str(line).split()) for line in found]
