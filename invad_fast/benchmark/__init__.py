"""The benchmark: methods trained and scored alike, and set beside what was published.

configuration ─ plan ─> runs ─ run ─> results ─ tables ─> JSON, CSV, Markdown, LaTeX
"""

from invad_fast.benchmark.configuration import BenchmarkConfig, ModelSettings, read_configuration
from invad_fast.benchmark.plan import Run, make_plan
from invad_fast.benchmark.run import run_benchmark

__all__ = [
    "BenchmarkConfig",
    "ModelSettings",
    "Run",
    "make_plan",
    "read_configuration",
    "run_benchmark",
]
