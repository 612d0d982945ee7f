"""A ledger as others read it, beside the inspector that writes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invad_fast.errors import InputError, first_line
from invad_fast.files import check_file
from invad_fast.inspection.ledger.schema import version_of


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """One moment of the ledger, whatever is written meanwhile.

    Raises:
        InputError: for what is no ledger, or a damaged one.
    """
    check_file(path, "no ledger {}: `invad-fast inspect --ledger FILE` makes one")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
    connection.row_factory = sqlite3.Row
    try:
        if version_of(connection, path) is None:
            raise InputError(f"{path} is an empty file: no ledger")
        connection.execute("BEGIN")
        yield connection
    except sqlite3.Error as error:
        raise InputError(
            f"{path} cannot be read ({first_line(error)}): `invad-fast ledger verify` says more"
        ) from None
    finally:
        connection.close()
