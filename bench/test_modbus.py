"""What the PLC's line adds to a verdict: from its trigger to the result block, the inspector apart.

The demo's model at 256×256. The PLC is another process that scans every 10 ms; what is counted ends
when the block is there to be read, so that its poll is apart. The inspector's own time, from the
trigger to the verdict, is taken off part by part. How late the machine wakes the PLC from its
sleeps says what other work there was.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from test_inspector import frame, recipe
from timing import Rounds, timed

from invad_fast.inspection import Inspector, Result
from invad_fast.inspection.part import Ticket
from invad_fast.serve.modbus.plc_link import PlcLink

PARTS, SCAN = 200, 0.01  # seconds

_PLC = """
import json, sys, time
from invad_fast.serve.modbus.simulated_plc import SimulatedPlc
plc = SimulatedPlc("127.0.0.1", int(sys.argv[1]))
woken = []
for line in sys.stdin:
    for part_id in json.loads(line):
        plc.part(part_id, part_id)
        while plc.pending:
            plc.scan()
            due = time.monotonic() + float(sys.argv[2])
            time.sleep(float(sys.argv[2]))
            woken.append(1e3 * (time.monotonic() - due))
    print(json.dumps([[[each.part_id, each.since] for each in plc.outputs], woken]), flush=True)
    plc.outputs.clear()
    woken.clear()
"""


def test_trigger_to_result_block(tmp_path: Path, benchmark) -> None:
    """Milliseconds besides the inspector's: median, p99, p99.9."""
    own: dict[int, float] = {}
    shown: dict[int, float] = {}
    added: list[float] = []
    woken: list[float] = []
    first = 0

    def note(result: Result) -> None:
        own[int(result.part_id)] = result.latency_ms

    def pictured(ticket: Ticket) -> None:
        ticket.frame(frame(), pixel_format="BGR8")

    with (
        Inspector(recipe(tmp_path, "process"), tmp_path / "line.db", on_result=note) as line,
        PlcLink(line, "127.0.0.1:0", ["127.0.0.1"], frames=pictured) as link,
    ):
        decided = link.handshake.decided

        def seen(trigger, verdict, reason) -> None:
            decided(trigger, verdict, reason)
            shown[trigger.part_id] = time.monotonic()

        link.handshake.decided = seen
        port = link.address.rpartition(":")[2]
        plc = subprocess.Popen(
            [sys.executable, "-c", _PLC, port, str(SCAN)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

        def parts() -> None:
            nonlocal first
            ids = list(range(first, first + PARTS))
            first += PARTS
            plc.stdin.write(f"{json.dumps(ids)}\n")
            plc.stdin.flush()
            outputs, late = json.loads(plc.stdout.readline())
            woken.extend(late)
            for part_id, since in outputs:
                added.append(1e3 * (shown[part_id] - since) - own[part_id])

        parts()
        added.clear()
        woken.clear()
        timed(benchmark, "modbus-200-parts", "plc", "plc", parts, Rounds(30, 3, 5))
        plc.stdin.close()
        plc.wait()
        assert not line.accounts.reasons
    for name, found in (("besides the inspector", added), ("too late from a sleep", woken)):
        shares = ", ".join(f"{q:g}: {np.quantile(found, q):.2f}" for q in (0.5, 0.99, 0.999))
        print(f"\nms {name}, {len(found)} times, quantiles {shares}")
