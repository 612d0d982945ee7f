"""The house's arrows: no circle of imports, none that runs back up, and who waits for no torch."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import invad_fast

PACKAGE = Path(invad_fast.__file__).parent

# A room imports its own row and those above it. A new room gets a place here.
FLOORS = (
    "errors names files checked progress allocator openmp version",  # for everyone
    "data ops kernels device distributed",
    "frame_figures prediction class_prototypes seen_parts pictures metrics",
    "encoder_network encoder_packages unfilled_weights layers losses standardization anomaly_map",
    "config encoder_weights encoder fuser decoder memory",  # the network's arrows
    "feature_predictor model_file reference_checkpoint",
    "inference evaluation",
    "inspection training",
    "method model reverse_distillation nearest_neighbours method_names",
    "benchmark demo doctor form_times integrations model_engine demo_line reports serve",
    "cli __main__",
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}
WITHOUT_TORCH = (
    "invad_fast",
    "invad_fast.prediction",
    "invad_fast.frame_figures",
    "invad_fast.class_prototypes",
    "invad_fast.seen_parts",
    "invad_fast.errors",
    "invad_fast.evaluation.calibrate",
    "invad_fast.evaluation.options",
    "invad_fast.training.options",
    "invad_fast.inspection.inspector",
    "invad_fast.inspection.ledger.ledger",
    "invad_fast.inspection.recipe",
    "invad_fast.inspection.regions",
    "invad_fast.inspection.sources.simulated_line",
    "invad_fast.data",
    "invad_fast.metrics",
    "invad_fast.serve.app",
    "invad_fast.serve.modbus.plc_link",
    "invad_fast.serve.sinks.sinks",
    "invad_fast.cli.app",
)


def module(file: Path) -> str:
    name = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports() -> dict[str, set[str]]:
    """module → the modules of the package that it imports: inside functions, and for types too."""
    files = {module(f): f for f in PACKAGE.rglob("*.py")}
    return {name: _imported(name, file, files) for name, file in files.items()}


def _imported(name: str, file: Path, known: dict[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: a relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {each if each in known else str(node.module) for each in whole}
    return {each for each in found if each in known} - {name}


GRAPH = imports()


def test_no_circle() -> None:
    assert len(GRAPH) > 100
    try:
        graphlib.TopologicalSorter(GRAPH).prepare()
    except graphlib.CycleError as error:
        pytest.fail("a circle of imports: " + " <- ".join(error.args[1]))


def test_no_arrow_runs_back_up() -> None:
    def room(name: str) -> str:
        return name.split(".")[1]

    inside = {name: {i for i in found if "." in i} for name, found in GRAPH.items() if "." in name}
    strange = {room(name) for name in inside} - set(FLOOR)
    assert not strange, f"give {', '.join(sorted(strange))} a place in FLOORS"
    back = [
        f"{name} -> {other}"
        for name, found in inside.items()
        for other in found
        if FLOOR[room(other)] > FLOOR[room(name)]
    ]
    assert not back, back
    whole = [name for name, found in GRAPH.items() if "invad_fast" in found]
    assert not whole, f"{whole} import the package's own public names"


def loaded_by(code: str) -> set[str]:
    """The modules that a new process has loaded after ``code``."""
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_who_waits_for_no_torch() -> None:
    code = "\n".join(
        f"import {name}\nassert not heavy & set(sys.modules), {name!r}" for name in WITHOUT_TORCH
    )
    loaded_by('heavy = {"torch", "timm", "matplotlib"}\n' + code)


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]], ids=" ".join)
def test_help_loads_little(words: list[str]) -> None:
    """What takes seconds is what is imported: that is counted, for a clock would lie."""
    code = f"""
from invad_fast.cli.app import app
try:
    app({words})
except SystemExit as end:
    assert not end.code
"""
    loaded = loaded_by(code)
    heavy = {"torch", "timm", "torchvision", "matplotlib", "scipy", "PIL", "pandas", "yaml"}
    assert not heavy & loaded
    assert len(loaded) < 1000
