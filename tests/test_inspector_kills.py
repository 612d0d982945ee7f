"""kill -9 of the whole inspector: what left it is in the ledger, what was open is told, and no
engine stays behind."""

import json
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from ledger_process import told_by
from line_recipe import MAKER, content

from invad_fast.inspection.engine import Order
from invad_fast.inspection.ledger import Ledger
from invad_fast.inspection.ledger.part_rows import part_rows
from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.ledger.verify import verify
from invad_fast.inspection.messages import Messages
from invad_fast.inspection.process_engine import BEGIN
from invad_fast.inspection.slots import new_memory

LINE = Path(__file__).with_name("line_process.py")


def engines(folder: Path) -> list[int]:
    """The processes whose ancestor was a line of this folder: they have its pipe's other end."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(b"invad_fast.inspection.process_engine" in word for word in words):
            found.append(int(entry.parent.name))
    return found


def kill_a_line(folder: Path, rng: random.Random) -> int:
    """Starts a line and kills it at a random moment; how many results had left it."""
    before = set(engines(folder))
    line = subprocess.Popen([sys.executable, LINE, folder], stdout=subprocess.PIPE)
    assert line.stdout is not None and line.stdout.readline() == b"ready\n"
    threading.Timer(rng.uniform(0.005, 0.4), line.kill).start()
    told = told_by(line)
    rows = {row["id"]: row["verdict"] for row in part_rows(folder / "line.db")}
    assert all(rows[int(id_)] == verdict.decode() for _, id_, verdict in told)
    until = time.monotonic() + 10
    while set(engines(folder)) - before and time.monotonic() < until:
        time.sleep(0.1)
    assert not set(engines(folder)) - before, "an engine outlives its line"
    return len(told)


def check_ledger(path: Path) -> None:
    """After the last kill: it opens, nothing is open, nothing contradicts."""
    with Ledger(path):
        pass
    found = totals(path)
    assert found.open == 0 and set(found.by_reason) <= {"restarted"}
    assert verify(path)[0] == []


def test_killed_lines(tmp_path: Path) -> None:
    rng = random.Random(1)
    results = [kill_a_line(tmp_path, rng) for _ in range(4)]
    assert sum(results) > 0
    check_ledger(tmp_path / "line.db")


def test_an_engine_whose_inspector_died_before_it_began_ends(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ours, theirs = Messages.pair()  # this end stays open: nothing else tells it
    order = tmp_path / "order"
    order.write_bytes(pickle.dumps(Order(MAKER, content(), str(tmp_path), 1)))
    with order.open("rb") as file:
        kept = os.dup(file.fileno())
        numbers = theirs.fileno(), new_memory(), kept
        engine = subprocess.Popen(
            [sys.executable, "-c", BEGIN, json.dumps(sys.path), *map(str, (*numbers, gone.pid))],
            pass_fds=numbers,
        )
    assert engine.wait(60) == 1
    ours.close()
