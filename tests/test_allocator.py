"""Freed memory is used again: counted in page faults, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = """
import resource, torch
from invad_fast.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)  # 64 MiB, 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def settled():  # glibc's heap grows by a few blocks before each new one finds a free one
    return [faults() for _ in range(12)][-1]

print(settled(), keep_freed_memory(), settled())
"""


def counted(folder: Path, **variables: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        env=os.environ | variables,
        cwd=folder,  # a checkout's sources would come before what is installed
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_freed_memory_is_kept(tmp_path: Path) -> None:
    before, kept, after = counted(tmp_path)
    if kept == "False":
        pytest.skip("the C library is not glibc 2.35 or later")
    assert int(before) > 10_000 and int(after) < 1000


def test_the_environment_comes_first(tmp_path: Path) -> None:
    _, kept, after = counted(tmp_path, MALLOC_MMAP_THRESHOLD_="1048576")
    assert kept == "False" and int(after) > 10_000
