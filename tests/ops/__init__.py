"""The ops' samples, a file an op under its own name.

``VARIANTS`` of a file: ways to call the public function, whose values and gradients are checked at
every shape, type, layout and magnitude of ``op_cases``. ``CALLS``: small calls of the op under
``torch.ops.invad_fast``, and of its backward, of which ``op_arguments`` makes all the wrong ones.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

FILES = {
    path.stem: import_module(f"{__name__}.{path.stem}")
    for path in sorted(Path(__file__).parent.glob("[!_]*.py"))
}
VARIANTS = {
    title: variant
    for file in FILES.values()
    for title, variant in getattr(file, "VARIANTS", {}).items()
}
# op → a function that makes the arguments of some calls
CALLS: dict[str, Callable[[], list[tuple]]] = {
    op: calls for file in FILES.values() for op, calls in file.CALLS.items()
}
