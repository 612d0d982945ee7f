"""Files that are written whole: a stop at any moment leaves the old file or the new one."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from invad_fast.errors import InputError


@contextmanager
def written_whole(path: Path, mode: int | None = None) -> Iterator[Path]:
    """A name to write the file under; it becomes ``path`` when the block ends well.

    An old file's mode is kept, a new one has that of any new file; where ``path`` is a symbolic
    link the file that it leads to is written. Where the block fails nothing is left behind.

    Args:
        mode: what the file's mode shall be, from its first byte on; 0o600 for a secret.

    Raises:
        InputError: where the folder or the disk does not allow it, in one line; where ``path`` is
            a folder, or a device or a pipe, which would be replaced (/dev/null too).
    """
    target = Path(os.path.realpath(path))
    if os.path.exists(target) and not os.path.isfile(target):
        kind = "a folder" if os.path.isdir(target) else "a device or a pipe"
        raise InputError(f"cannot write {path}: it is {kind}; give a file")
    partial = target.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        # Made here, so that it has the mode of a new file: libraries make theirs private.
        made = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode or 0o666)
        if mode is None:
            mode = (os.stat(target) if target.exists() else os.fstat(made)).st_mode & 0o777
        os.close(made)
        yield partial
        os.chmod(partial, mode)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str, mode: int | None = None) -> None:
    """Writes ``content`` (text as UTF-8) to ``path``, all or nothing; see `written_whole`."""
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with written_whole(path, mode) as partial:
        partial.write_bytes(data)


def make_folder(path: Path) -> None:
    """Makes the folder and those above it.

    Raises:
        InputError: where it is a file, or may not be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"{path} is a file: give a folder") from None
    except OSError as error:
        raise InputError(f"cannot make the folder {path}: {error.strerror or error}") from None


def refuse_foreign(folder: Path, names: Sequence[str], keys: set[str], option: str) -> None:
    """Makes a folder for results, in which earlier ones may be replaced and nothing else.

    Args:
        names: of the files that will be written; the first is JSON, and by it the others are
            known to be ours.
        keys: what it has at least.

    Raises:
        InputError: where the folder cannot be made, or holds somebody else's file of such a name.
    """
    make_folder(folder)
    taken = next((name for name in names if os.path.lexists(folder / name)), None)
    if taken is not None and read_own(folder / names[0], keys) is None:
        raise InputError(
            f"{folder} holds a {taken} that was not made here: choose another {option}, or move "
            "it away"
        )


def read_own(path: Path, keys: set[str]) -> dict[str, Any] | None:
    """What a JSON file of ours holds; None for one that is not there or lacks ``keys``."""
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) and keys <= set(read) else None


def check_file(path: Path, absent: str) -> None:
    """Refuses what is no file that can be read, and does not wait for a pipe's other end.

    Args:
        absent: the line for a path where nothing is, with ``{}`` for the path.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder: give a file")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is a device or a pipe: give a file")
        # Not opened: closing a ledger drops the locks that SQLite has on it in this process, and
        # the next reader elsewhere would then delete the log that a line writes to.
        if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            raise InputError(f"cannot read {path}: {os.strerror(errno.EACCES)}")
    except FileNotFoundError:
        raise InputError(absent.format(path)) from None
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # a null character in the name
        raise InputError(f"cannot read {str(path)!r}: {error}") from None
