"""results.csv as a table, and its ops drawn against the roofline of their machine.

    python bench/report.py [results.csv] [--plot roofline.png] [--session TIME]

Without a session the last one of every device is shown.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path

Row = dict[str, str]


def sessions(path: Path) -> dict[tuple[str, str], list[Row]]:
    """(device, time) → the rows of that session, in their order."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            found[row["device"], row["time"]].append(row)
    return found


def table(rows: list[Row]) -> str:
    """Markdown: a line a benchmark, under its group."""
    lines = ["| group | form | p50 | p20 | p80 | × | of copy bandwidth |", "|---" * 7 + "|"]
    for row in rows:
        times = (_time(row[key]) for key in ("p50_us", "p20_us", "p80_us"))
        fraction = row["bandwidth_fraction"]
        percent = f"{100 * float(fraction):.0f} %" if fraction else ""
        lines.append(
            f"| {row['group']} | {row['name']} | {' | '.join(times)} | {row['ratio']} | {percent} |"
        )
    return "\n".join(lines)


def _time(microseconds: str) -> str:
    value = float(microseconds)
    return f"{value / 1e3:.3g} ms" if value >= 1e3 else f"{value:.3g} µs"


def plot(rows: list[Row], path: Path, title: str) -> None:
    """Each op's arithmetic speed over its arithmetic intensity, under the copy bandwidth's line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", title=title)
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    bandwidths = []
    for row in rows:
        if row["bytes"] and row["flops"]:
            moved, flops = float(row["bytes"]), float(row["flops"])
            seconds = float(row["p50_us"]) / 1e6
            op = row["group"].split()[0]
            points[f"{op}, {row['name']}"].append((flops / moved, flops / seconds))
            bandwidths.append(moved / seconds / float(row["bandwidth_fraction"]))
    for name, found in sorted(points.items()):
        axes.scatter(*zip(*found), s=14, label=name)
    if bandwidths:
        bandwidth = sorted(bandwidths)[len(bandwidths) // 2]
        ends = [min(x for f in points.values() for x, _ in f) / 1.5,
                max(x for f in points.values() for x, _ in f) * 1.5]  # fmt: skip
        axes.plot(ends, [bandwidth * x for x in ends], "k-", lw=1,
                  label=f"copy bandwidth, {bandwidth / 1e9:.1f} GB/s")  # fmt: skip
    axes.set(xlabel="FLOP a byte", ylabel="FLOP/s (above the line: served from a cache)")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "results", nargs="?", type=Path, default=Path(__file__).with_name("results.csv")
    )
    parser.add_argument("--plot", type=Path, help="write the roofline here")
    parser.add_argument("--session", help="the time of the session, as in the table's heading")
    arguments = parser.parse_args()
    if not arguments.results.is_file():
        sys.exit(f"no {arguments.results}: run pytest bench/ --benchmark-only")
    last: dict[str, tuple[str, list[Row]]] = {}
    for (device, time), rows in sessions(arguments.results).items():
        if arguments.session in (None, time):
            last[device] = (time, rows)
    if not last:
        sys.exit(f"{arguments.results} has no session {arguments.session}")
    for device, (time, rows) in last.items():
        sys.stdout.write(f"## {device}, {rows[0]['versions']}, {time}\n\n{table(rows)}\n\n")
        if arguments.plot:
            plot(rows, arguments.plot, device)


if __name__ == "__main__":
    main()
