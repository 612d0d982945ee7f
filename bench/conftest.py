"""Every benchmark of a session becomes a row of results.csv: where, what, how fast, against what.

A test names its baseline and its costs in ``benchmark.extra_info``; `report.py` draws the table.
"""

from __future__ import annotations

import csv
import datetime
import platform
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from invad_fast.allocator import keep_freed_memory
from invad_fast.doctor import machine

# As the inference form and training do, for the baselines too: fresh pages cost the same elsewhere.
keep_freed_memory()

RESULTS = Path(__file__).with_name("results.csv")
COLUMNS = (
    "time", "device", "threads", "versions", "group", "name", "rounds", "p20_us", "p50_us",
    "p80_us", "ratio", "bytes", "flops", "bandwidth_fraction",
)  # fmt: skip


@pytest.fixture(scope="session")
def copy_bandwidth() -> float:
    """Bytes a second that a copy reads and writes, of tensors far beyond the caches."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    times = []
    for _ in range(9):
        started = time.perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * source.numel() * source.element_size() / statistics.median(times)


@pytest.fixture(autouse=True)
def recorded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keeps a finished benchmark's row for the end of the session."""
    if "benchmark" not in request.fixturenames:
        yield
        return
    benchmark = request.getfixturevalue("benchmark")
    bandwidth = request.getfixturevalue("copy_bandwidth")
    yield
    if benchmark.stats is None:
        return
    times = sorted(benchmark.stats.stats.data)
    p20, p50, p80 = (_quantile(times, q) for q in (0.2, 0.5, 0.8))
    info = benchmark.extra_info
    moved = info.get("bytes")
    request.session.stash.setdefault(_ROWS, []).append(
        {
            "group": benchmark.group or request.node.originalname,
            "name": info.get("name", request.node.callspec.id if _cases(request) else ""),
            "rounds": len(times),
            "p20_us": _short(p20 * 1e6),
            "p50_us": _short(p50 * 1e6),
            "p80_us": _short(p80 * 1e6),
            "bytes": moved,
            "flops": info.get("flops"),
            "bandwidth_fraction": _short(moved / p50 / bandwidth) if moved else None,
            "baseline": info.get("baseline"),
        }
    )


_ROWS = pytest.StashKey[list[dict]]()


def _cases(request: pytest.FixtureRequest) -> bool:
    return hasattr(request.node, "callspec")


def _quantile(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _short(number: float) -> str:
    return f"{number:.4g}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Appends the rows; ratios are to the baseline of the same group in the same session."""
    rows = session.stash.get(_ROWS, [])
    if not rows:
        return
    times = {(row["group"], row["name"]): float(row["p50_us"]) for row in rows}
    fixed = {
        "time": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%MZ"),
        "device": machine(),
        "threads": torch.get_num_threads(),
        "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
    }
    new = not RESULTS.exists()
    with open(RESULTS, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        for row in rows:
            base = times.get((row["group"], row.pop("baseline")))
            row["ratio"] = _short(base / float(row["p50_us"])) if base else None
            writer.writerow(fixed | row)
