"""Compiles what a Triton op would launch, for a GPU that is not there, and reads the machine code.

The op is called with tensors on ``meta``: shapes and layouts are real, so the launches, and what
Triton specialises them on, are those of a real call. Only the driver is replaced, by one that
says which GPU it would be; nothing is launched.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import CompiledKernel
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

PROGRAMS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
SHARED_MEMORY = {80: 163 * 1024, 90: 227 * 1024}  # bytes that one block can have


class _AbsentGPU:
    """What Triton asks of a driver before it launches."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_device(self) -> int:
        return self.capability  # Triton keeps what it compiled by this number

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)


@contextmanager
def compiled_for(capability: int) -> Iterator[list[CompiledKernel]]:
    """Inside the block launches only compile; they are appended to the list, repeats left out."""
    kernels: list[CompiledKernel] = []
    run = JITFunction.run

    def compile_only(self, *arguments, grid, warmup, **options):
        kernel = run(self, *arguments, grid=grid, warmup=True, **options)
        if all(kernel is not other for other in kernels):
            kernels.append(kernel)

    before = driver._active  # asking `driver.active` would look for a GPU
    driver.set_active(_AbsentGPU(capability))
    JITFunction.run = compile_only
    try:
        yield kernels
    finally:
        JITFunction.run = run
        driver._active = before


@dataclass(frozen=True)
class MachineCode:
    """What a compiled kernel takes of a multiprocessor, and its instructions.

    Attributes:
        registers: of a thread.
        stack: bytes of a thread that registers were spilled to.
        shared: bytes of shared memory of a block.
        sass: the disassembly.
    """

    name: str
    registers: int
    stack: int
    shared: int
    sass: str

    def count(self, instruction: str) -> int:
        """How many instructions match a regular expression, as in ``LDG\\.E\\.128``."""
        return len(re.findall(instruction, self.sass))


def machine_code(kernel: CompiledKernel) -> MachineCode:
    """Read with Triton's own cuobjdump and nvdisasm."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = _output("cuobjdump", "--dump-resource-usage", file.name)
        sass = _output("nvdisasm", "-c", file.name)
    figures = dict(re.findall(r"(REG|STACK):(\d+)", usage))
    return MachineCode(
        kernel.metadata.name,
        int(figures["REG"]),
        int(figures["STACK"]),
        kernel.metadata.shared,
        sass,
    )


def _output(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [str(PROGRAMS / program), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def compile_calls(capability: int, *calls: Callable[[], object]) -> list[MachineCode]:
    """The machine code of everything that the calls launch."""
    with compiled_for(capability) as kernels:
        for call in calls:
            call()
    return [machine_code(kernel) for kernel in kernels]
