"""Where a ledger may lie: on a disk of this machine, for one process alone."""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from invad_fast.errors import InputError
from invad_fast.files import read_own, write_whole

# Their locks do not hold, or are lost with the connection: SQLite says that it cannot use them.
_NETWORK = frozenset(
    (
        "nfs",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "afs",
        "ncpfs",
        "9p",
        "ceph",
        "glusterfs",
    )
    + ("lustre", "gpfs", "beegfs", "orangefs", "pvfs2", "ocfs2", "gfs2", "davfs", "coda", "acfs")
)
_MOUNTS = Path("/proc/self/mountinfo")


def refuse_network(path: Path, mounts: Path = _MOUNTS) -> None:
    """Refuses a file on a network file system, where the system tells (Linux).

    Raises:
        InputError: naming the file system.
    """
    kind = file_system_of(path, mounts)
    if kind in _NETWORK or (kind.startswith("fuse.") and kind != "fuse.fuse-overlayfs"):
        raise InputError(
            f"{path} lies on a network file system ({kind}), where a ledger can be damaged: "
            "choose a local disk; PostgreSQL takes the copy for others"
        )


def file_system_of(path: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of the file system that a file is or will be on, as ext4; empty if unknown."""
    if not mounts.exists():
        return ""
    target = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.read_text(errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        point = left.split(" ")[4].replace("\\040", " ").replace("\\134", "\\")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # the last of equals is what is seen
            best, kind = point, right.split(" ")[0]
    return kind


class Hold:
    """Keeps other processes out of a ledger; a process that dies lets go of it.

    Raises:
        InputError: where another process has it, which is named.
    """

    def __init__(self, path: Path) -> None:
        self._owner = path.with_name(f"{path.name}.owner")
        self._lock = FileLock(
            path.with_name(f"{path.name}.lock"), thread_local=False
        )  # whoever closes need not be the thread that opened
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            if not Path(self._lock.lock_file).exists():  # it could not even be made
                raise InputError(f"cannot write {path}: no files can be made there") from None
            raise InputError(
                f"{path} is in use by {self._named()}: one process a ledger; stop it, or choose "
                "another ledger"
            ) from None
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from None
        try:
            write_whole(self._owner, json.dumps(_this_process()))
        except BaseException:
            self._lock.release()
            raise

    def _named(self) -> str:
        owner = read_own(self._owner, {"pid", "host", "command"})
        if owner is None:
            return "another process"
        return f"process {owner['pid']} on {owner['host']} ({owner['command']})"

    def release(self) -> None:
        """Lets go of it."""
        self._owner.unlink(missing_ok=True)
        self._lock.release()


def remove_ledger(path: Path) -> None:
    """Removes a ledger that nobody has open.

    Raises:
        InputError: where a process has it, which is named.
    """
    hold = Hold(path)
    try:
        for suffix in ("-shm", "-wal", ".gap", ""):  # a stop in between leaves one that opens
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    finally:
        hold.release()


def _this_process() -> dict[str, str | int]:
    command = " ".join([Path(sys.argv[0] or platform.python_implementation()).name, *sys.argv[1:]])
    return {"pid": os.getpid(), "host": socket.gethostname(), "command": command[:200]}
