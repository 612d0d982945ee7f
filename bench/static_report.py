"""What nvcc made of the CUDA kernels, read without a GPU.

Writes ``static.csv`` beside itself, a line for every kernel of csrc/cuda and architecture:
registers, the warps of a multiprocessor that they leave room for, stack (spilled registers live
there), shared memory, instructions, and how wide the accesses to global memory are (Triton's:
``static_triton.py``). ``predicted_h200.py`` makes times of it. Some of the architectures alone, a
minute each on two cores, leave the lines of the others.

    python bench/static_report.py [--architectures 80,90] [--cuobjdump PATH]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from static_rows import widths, write
from torch.utils.cpp_extension import include_paths

FOLDER = Path(__file__).resolve().parent
SOURCES = sorted((FOLDER.parent / "csrc" / "cuda").glob("*.cu"))
# The shipped ones (setup.py) and those that run them or their intermediate code.
ARCHITECTURES = "80,86,89,90,100,120"
MOST_WARPS = {"80": 64, "86": 48, "89": 48, "90": 64, "100": 64, "120": 48}


@dataclass(frozen=True)
class Kernel:
    """One kernel's machine code.

    Attributes:
        form: its template arguments.
        warps: of a multiprocessor's, as many as the registers allow.
        stack: bytes a thread, where the compiler put what did not fit into registers.
        loads, stores: instructions on global memory by width in bits, "128:8 16:2".
        local: instructions that read or write the stack.
        instructions: of the kernel, each counted once.
        inner_loop: of those, the ones in the largest loop that has no loop inside.
        products: of those, the ones on the tensor cores.
    """

    op: str
    kernel: str
    form: str
    architecture: str
    registers: int
    warps: int
    stack: int
    shared: int
    loads: str
    stores: str
    local: int
    instructions: int
    inner_loop: int
    products: int


def cuda_kernels(architectures: list[str], cuobjdump: str) -> Iterator[Kernel]:
    """Of csrc/cuda, as nvcc compiles them."""
    nvcc = os.environ.get("NVCC") or shutil.which("nvcc")
    if not nvcc:
        raise SystemExit("static_report: nvcc was not found")
    flags = ["-std=c++17", "-O3", "-DUSE_CUDA", "-DTORCH_TARGET_VERSION=0x020a000000000000"]
    includes = [f"-isystem={path}" for path in include_paths()]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:

        def compiled(case: tuple[Path, str]) -> list[Kernel]:
            source, architecture = case
            cubin = Path(folder) / f"{source.stem}.{architecture}.cubin"
            target = ["-cubin", f"-arch=sm_{architecture}", "-o", str(cubin)]
            run(nvcc, *flags, *includes, *target, str(source))
            return list(kernels_of(cubin, source.stem, architecture, cuobjdump))

        cases = [(source, each) for source in SOURCES for each in architectures]
        for kernels in pool.map(compiled, cases):
            yield from kernels


def kernels_of(cubin: Path, op: str, architecture: str, cuobjdump: str) -> Iterator[Kernel]:
    """All kernels of one file of machine code."""
    used = dict(
        re.findall(r"Function (\S+?):\s+(REG:.*)", run(cuobjdump, "--dump-resource-usage", cubin))
    )
    parts = re.split(r"Function : (\S+)", run(cuobjdump, "--dump-sass", cubin))
    for mangled, code in zip(parts[1::2], parts[2::2]):
        of = dict(re.findall(r"(REG|STACK|SHARED):(\d+)", used[mangled]))
        registers = int(of["REG"])
        fitting = 65536 // (32 * 8 * -(-registers // 8))
        listing = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?([A-Z][\w.]*)([^;]*)", code)
        mnemonics = [mnemonic for _, mnemonic, _ in listing]
        name, form = readable(mangled)
        yield Kernel(
            op=op,
            kernel=name,
            form=form,
            architecture=f"sm_{architecture}",
            registers=registers,
            warps=min(fitting, MOST_WARPS[architecture]),
            stack=int(of["STACK"]),
            shared=int(of["SHARED"]),
            loads=widths(mnemonics, "LDG"),
            stores=widths(mnemonics, "STG"),
            local=sum(m.startswith(("LDL", "STL")) for m in mnemonics),
            instructions=sum(m != "NOP" for m in mnemonics),
            inner_loop=largest_inner_loop(listing),
            products=sum(m.startswith("HMMA") for m in mnemonics),
        )


def largest_inner_loop(listing: list[tuple[str, str, str]]) -> int:
    """Instructions in the largest loop without a loop inside; address, mnemonic, operands."""
    addresses = [int(address, 16) for address, _, _ in listing]
    loops = []
    for at, (_, mnemonic, operands) in zip(addresses, listing):
        target = re.search(r"0x([0-9a-f]+)\s*$", operands)
        # A branch to itself is only what follows a kernel's end.
        if mnemonic.startswith("BRA") and target and int(target[1], 16) < at:
            loops.append((int(target[1], 16), at))
    inner = [
        (first, last)
        for first, last in loops
        if not any(other != (first, last) and first <= other[0] and other[1] <= last
                   for other in loops)
    ]  # fmt: skip
    return max((sum(first <= a <= last for a in addresses) for first, last in inner), default=0)


def readable(mangled: str) -> tuple[str, str]:
    """("blur", "BFloat16 8 true") of a C++ name; any other name as it is."""
    full = run("c++filt", mangled).strip().replace("(anonymous namespace)::", "")
    found = re.match(r"(?:void )?(?:\w+::)*(\w+)(?:<([^(]*)>)?\(", full)
    if found is None:
        return mangled, ""
    return found[1], re.sub(r"\w+::|,", "", found[2] or "")


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"static_report: {command[0]} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--architectures", default=ARCHITECTURES, help=f"default {ARCHITECTURES}")
    parser.add_argument("--cuobjdump", default=shutil.which("cuobjdump"), help="of the toolkit")
    given = parser.parse_args()
    if not given.cuobjdump:
        parser.error("cuobjdump was not found: say where with --cuobjdump (Triton brings one)")
    kernels = list(cuda_kernels(given.architectures.split(","), given.cuobjdump))
    write(FOLDER / "static.csv", [asdict(kernel) for kernel in kernels])
    spilling = [k for k in kernels if k.stack or k.local]
    for kernel in spilling:
        sys.stdout.write(f"spills: {kernel.kernel} <{kernel.form}> {kernel.architecture}\n")
    sys.stdout.write(f"{len(kernels)} kernels, {len(spilling)} with registers spilled\n")


if __name__ == "__main__":
    main()
