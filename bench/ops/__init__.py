"""How each op's cost is counted, a file an op under its own name.

``COUNTS`` of a file: the op, and its backward. ``gradient`` of a file, where a gradient is made of
calls of ops: the call's arguments → the name and the arguments of the one that counts.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from cost import Count

FILES = {
    path.stem: import_module(f"{__name__}.{path.stem}")
    for path in sorted(Path(__file__).parent.glob("[!_]*.py"))
}
COUNTS: dict[str, Count] = {
    op: count for file in FILES.values() for op, count in file.COUNTS.items()
}
GRADIENTS: dict[str, Callable[..., tuple[str, tuple]]] = {
    op: file.gradient for op, file in FILES.items() if hasattr(file, "gradient")
}
