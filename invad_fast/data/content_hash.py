"""Hashes of files: by them a part is known again under another name, in another folder."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

import numpy as np

_CHUNK = 2**20


def content_hashes(files: Sequence[Path], workers: int = 2) -> np.ndarray:
    """int64 N: BLAKE2b over each file's bytes, 8 bytes of it; 0 for a file that cannot be read.

    Of a million files two differ and have one hash with probability 3e-8.

    Args:
        workers: threads that read.
    """
    with ThreadPoolExecutor(max(1, workers)) as pool:
        return np.fromiter(pool.map(_hashed, files), np.int64, len(files))


def _hashed(file: Path) -> int:
    content = blake2b(digest_size=8)
    try:
        with open(file, "rb") as stream:
            while chunk := stream.read(_CHUNK):
                content.update(chunk)
    except OSError:
        return 0
    return int.from_bytes(content.digest(), "little", signed=True)
