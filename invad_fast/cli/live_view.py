"""An inspector in the terminal: what is wrong now, totals that add up, latencies, last results."""

from __future__ import annotations

from collections import deque

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from invad_fast.inspection.accounts import Accounts
from invad_fast.inspection.drift.watch import Alarm
from invad_fast.inspection.inspector import Inspector
from invad_fast.inspection.part import Result
from invad_fast.names import visible
from invad_fast.prediction import Verdict

_LAST = 8
_COLOURS = {Verdict.PASS: "green", Verdict.REJECT: "red", Verdict.NOT_INSPECTED: "yellow"}


class LiveView:
    """What a rich ``Live`` shows of an inspector; drawn anew each time it is asked.

    Args:
        title: which recipe, and where the pictures come from.
    """

    def __init__(self, inspector: Inspector, title: str) -> None:
        self._inspector, self._title = inspector, title
        self._last: deque[Result] = deque(maxlen=_LAST)

    def add(self, result: Result) -> None:
        """The newest result."""
        self._last.append(result)

    def __rich__(self) -> RenderableType:
        faults = self._inspector.faults
        told = [Text(f"fault: {visible(fault)}", "bold red") for fault in faults]
        told += [Text(f"alarm: {alarm_line(alarm)}", "yellow") for alarm in self._inspector.alarms]
        head = Text(visible(self._title), "bold")
        accounts = self._inspector.accounts
        return Panel(Group(head, *told, totals(accounts), latencies(accounts), self._results()))

    def _results(self) -> Table:
        table = Table(box=None, pad_edge=False, show_edge=False)
        for name, right in (("part", False), ("class", False), ("verdict", False),
                            ("score", True), ("threshold", True), ("ms", True)):  # fmt: skip
            table.add_column(name, justify="right" if right else "left", no_wrap=True)
        for result in reversed(self._last):
            why = "" if result.reason is None else f": {result.reason.value}"
            table.add_row(
                Text(visible(result.part_id)),
                Text(visible(result.class_name or "")),
                Text(result.verdict.value + why, _COLOURS[result.verdict]),
                _number(result.score),
                _number(result.threshold),
                f"{result.latency_ms:.1f}",
            )
        return table


def alarm_line(alarm: Alarm) -> str:
    """What has moved, of which product, since which part."""
    return f"{visible(alarm.class_name)}: {alarm}, since part {alarm.since}"


def totals(accounts: Accounts) -> Table:
    """Triggered = passed + rejected + not inspected + open, and why not inspected."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    table.add_row(f"{accounts.triggered}", "parts triggered")
    for verdict in Verdict:
        words = verdict.value.replace("_", " ").lower()
        count = accounts.verdicts[verdict]
        table.add_row(f"{count}", Text(words, _COLOURS[verdict] if count else ""))
    for reason, count in sorted(accounts.reasons.items(), key=lambda item: -item[1]):
        table.add_row("", f"{count} {reason.value}")
    if accounts.open_parts:
        table.add_row(f"{accounts.open_parts}", "open")
    if accounts.engine_restarts:
        table.add_row(f"{accounts.engine_restarts}", "restarts of the engine")
    return table


def latencies(accounts: Accounts) -> str:
    """From trigger to verdict, in milliseconds."""
    if not accounts.decided:
        return "no verdict yet"
    shares = (("median", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("longest", 1.0))
    told = ", ".join(f"{name} {accounts.latency_ms(share):.1f}" for name, share in shares)
    return f"trigger to verdict, ms: {told}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
