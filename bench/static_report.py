"""What nvcc made of the CUDA kernels, read without a GPU; and what to expect of an H200.

Writes two files beside itself:

- ``static.csv``, a line for every kernel of csrc/cuda and architecture: registers, the warps of a
  multiprocessor that they leave room for, stack (spilled registers live there), shared memory, and
  how wide the machine code's accesses to global memory are (Triton's: ``static_triton.py``);
- ``predicted_h200.csv``: the models' ops at 256×256 in bfloat16, the bytes that they move
  (``op_costs.py``) and the time that takes at 80 % of an H200's 4.8 TB/s, no kernel under 2 µs.

    python bench/static_report.py [--architectures 80,90] [--cuobjdump PATH]
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from op_costs import BATCHES, MODELS, cost, model_calls
from torch.utils.cpp_extension import include_paths

FOLDER = Path(__file__).resolve().parent
SOURCES = sorted((FOLDER.parent / "csrc" / "cuda").glob("*.cu"))
# The shipped ones (setup.py) and those that run them or their intermediate code.
ARCHITECTURES = "80,86,89,90,100,120"
MOST_WARPS = {"80": 64, "86": 48, "89": 48, "90": 64, "100": 64, "120": 48}

H200_BYTES_A_SECOND = 0.8 * 4.8e12
SHORTEST_KERNEL = 2e-6  # seconds, in a captured graph
# Kernels that one call launches, where it is more than one.
KERNELS = {"normalize_modulate": 2}


@dataclass(frozen=True)
class Kernel:
    """One kernel's machine code.

    Attributes:
        form: its template arguments.
        warps: of a multiprocessor's, as many as the registers allow.
        stack: bytes a thread, where the compiler put what did not fit into registers.
        loads, stores: instructions on global memory by width in bits, "128:8 16:2".
        local: instructions that read or write the stack.
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
        mnemonics = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z][\w.]*)", code)
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
        )


def readable(mangled: str) -> tuple[str, str]:
    """("blur", "BFloat16 8 true") of a C++ name; any other name as it is."""
    full = run("c++filt", mangled).strip().replace("(anonymous namespace)::", "")
    found = re.match(r"(?:void )?(?:\w+::)*(\w+)<([^(]*)>\(", full)
    if found is None:
        return mangled, ""
    return found[1], re.sub(r"\w+::|,", "", found[2])


def widths(mnemonics: list[str], prefix: str) -> str:
    """Accesses by width: LDG.E.128.CONSTANT is 128 bits wide, LDG.E.U16 is 16, LDG.E is 32."""
    counts: Counter[int] = Counter()
    for mnemonic in mnemonics:
        if mnemonic.split(".")[0] == prefix:
            found = re.search(r"\.[US]?(128|64|16|8)\b", mnemonic)
            counts[int(found[1]) if found else 32] += 1
    return " ".join(f"{width}:{counts[width]}" for width in sorted(counts, reverse=True))


@dataclass(frozen=True)
class Prediction:
    """All calls of an op in one forward pass; megabytes, microseconds.

    Attributes:
        megabytes: read and written, with the second reading of what needs statistics first.
        fewest_megabytes: the same with every input read once.
        memory_us: ``megabytes`` at 80 % of 4.8 TB/s.
        us: the same with no kernel under 2 µs.
    """

    model: str
    batch: int
    op: str
    calls: int
    kernels: int
    megabytes: float
    fewest_megabytes: float
    memory_us: float
    us: float


def predictions() -> Iterator[Prediction]:
    for model in MODELS:
        for batch in BATCHES:
            by_op: dict[str, list[tuple[tuple, int]]] = {}
            for op, arguments, count in model_calls(model, batch, torch.bfloat16):
                by_op.setdefault(op, []).append((arguments, count))
            whole = [prediction(model, batch, op, calls) for op, calls in by_op.items()]
            yield from whole
            sums = {
                field.name: sum(getattr(each, field.name) for each in whole)
                for field in fields(Prediction)[3:]
            }
            yield Prediction(model, batch, "all", **{k: round(v, 3) for k, v in sums.items()})


def prediction(model: str, batch: int, op: str, calls: list[tuple[tuple, int]]) -> Prediction:
    kernels = KERNELS.get(op, 1)
    moved = fewest = seconds = 0.0
    for arguments, count in calls:
        of_one = cost(op, *arguments)
        moved += count * of_one.bytes
        fewest += count * of_one.least_bytes
        seconds += count * max(of_one.bytes / H200_BYTES_A_SECOND, kernels * SHORTEST_KERNEL)
    times = sum(count for _, count in calls)
    return Prediction(
        model,
        batch,
        op,
        calls=times,
        kernels=times * kernels,
        megabytes=round(moved / 1e6, 3),
        fewest_megabytes=round(fewest / 1e6, 3),
        memory_us=round(moved / H200_BYTES_A_SECOND * 1e6, 3),
        us=round(seconds * 1e6, 3),
    )


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"static_report: {command[0]} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def write(path: Path, rows: Iterable[Kernel] | Iterable[Prediction]) -> None:
    """Whole or not at all."""
    dicts = [asdict(row) for row in rows]
    beside = path.with_suffix(".tmp")
    with beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, dicts[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(dicts)
    os.replace(beside, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--architectures", default=ARCHITECTURES, help=f"default {ARCHITECTURES}")
    parser.add_argument("--cuobjdump", default=shutil.which("cuobjdump"), help="of the toolkit")
    given = parser.parse_args()
    if not given.cuobjdump:
        parser.error("cuobjdump was not found: say where with --cuobjdump (Triton brings one)")
    architectures = given.architectures.split(",")
    kernels = list(cuda_kernels(architectures, given.cuobjdump))
    write(FOLDER / "static.csv", kernels)
    write(FOLDER / "predicted_h200.csv", predictions())
    spilling = [k for k in kernels if k.stack or k.local]
    for kernel in spilling:
        sys.stdout.write(f"spills: {kernel.kernel} <{kernel.form}> {kernel.architecture}\n")
    sys.stdout.write(f"{len(kernels)} kernels, {len(spilling)} with registers spilled\n")


if __name__ == "__main__":
    main()
