"""What the long tests share: the time, the seed, and the summary of what came of them.

`make soak` runs them and writes `docs/measured/soak.md`. They take their settings from variables:
SOAK_MINUTES for all of them together, SOAK_SEED, SOAK_FIRST (see `rounds.py`), and SOAK_SUMMARY,
the file that the summary is written to; none without it.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from invad_fast.doctor import machine
from invad_fast.files import write_whole
from soak.bounded import Bounded
from soak.rounds import MINUTES, SEED, Rounds

ROOT = Path(__file__).resolve().parents[2]
_HELD = pytest.StashKey[dict[str, Rounds]]()
_WEIGHTS = pytest.StashKey[float]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_HELD] = {}


def pytest_collection_finish(session: pytest.Session) -> None:
    marks = [item.get_closest_marker("soak") for item in session.items]
    session.config.stash[_WEIGHTS] = sum(mark.kwargs["weight"] for mark in marks if mark)


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Iterator[Rounds]:
    """The test's rounds: its share of the time is by the weight in its mark."""
    mark = request.node.get_closest_marker("soak")
    seconds = 60 * MINUTES * mark.kwargs["weight"] / request.config.stash[_WEIGHTS]
    own = Rounds(request.node.name, mark.args[0], seconds)
    request.config.stash[_HELD][request.node.nodeid] = own
    yield own
    own.spent = time.monotonic() - own.started


@pytest.fixture(scope="session")
def bounded() -> Iterator[Bounded]:
    """Another process, in which what hangs, crashes or takes memory harms nobody."""
    with Bounded() as process:
        yield process


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    own = item.config.stash[_HELD].get(item.nodeid)
    if own is not None and report.failed and not own.failure:
        crash = getattr(report.longrepr, "reprcrash", None)
        reason = crash.message if crash is not None else str(report.longrepr)
        own.failure = " ".join(re.sub(r"[|`]", " ", reason).split())[:300]
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    wanted, held = os.environ.get("SOAK_SUMMARY"), session.config.stash[_HELD]
    if wanted and held:
        write_whole(Path(wanted), _summary(list(held.values())))


def _summary(forms: list[Rounds]) -> str:
    now = datetime.datetime.now(datetime.timezone.utc)
    lines = [
        "# Long tests",
        "",
        "`make soak MINUTES=30` repeats each form below with random input until its share of the",
        "time is over, and writes this page whole: it tells of the last run. A form that fails",
        "stops at once and names its round; the same `SEED` with `FIRST=<round>` repeats it.",
        "",
        "| | |",
        "|---|---|",
        f"| date (UTC) | {now:%Y-%m-%d %H:%M} |",
        f"| machine | {machine()} |",
        f"| versions | torch {torch.__version__}, Python {platform.python_version()} |",
        f"| commit | {_commit()} |",
        f"| seed, minutes | {SEED}, {MINUTES:g} |",
        f"| failed | {sum(bool(form.failure) for form in forms)} of {len(forms)} forms |",
        "",
        "| what was tried | times | what came of it | seconds |",
        "|---|---|---|---|",
    ]
    for form in forms:
        came = [f"{count:,} {what}" for what, count in sorted(form.outcomes.items())]
        if form.failure:
            came.append(f"**failed in round {form.number}**: {form.failure}")
        row = (form.title, f"{form.tried:,}", "; ".join(came), f"{form.spent:.0f}")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _commit() -> str:
    """The checkout's commit, and whether more has changed since; what runs may be its copy."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit, changed = git("rev-parse", "--short", "HEAD"), git("status", "--porcelain")
    except OSError:  # no git
        return "not known"
    return f"{commit or 'not known'}{', with changes' if changed else ''}"
