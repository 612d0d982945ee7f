"""What an op refuses, and that it reads and writes nothing else: every op, every argument.

The reference's answer is everyone's: native code, the fake and the CUDA sources refuse what it
refuses, in the same words, or compute what it computes.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import emulated_cuda
import op_memory
import pytest
import torch
from op_arguments import Case, assert_same, cases, function, outcome
from op_cases import available
from ops import CALLS
from torch import Tensor
from torch.utils._pytree import tree_map

from invad_fast.ops import use_implementation
from invad_fast.ops.dispatch import ops

NATIVE = [op for op in ops() if "cpu" in available(op)]
pytestmark = pytest.mark.filterwarnings("ignore:Casting complex values to real")


def reference(case: Case) -> tuple[Tensor, ...] | str:
    with use_implementation("reference"):
        return outcome(function(case.op), case.arguments)


def test_every_op_has_calls() -> None:
    assert set(CALLS) == set(ops())


@pytest.mark.parametrize("op", NATIVE)
def test_native_code_answers_as_the_reference(op: str) -> None:
    refused = taken = 0
    for case in cases(op):
        expected = reference(case)
        with use_implementation("cpu", op):
            assert_same(outcome(function(op), case.arguments), expected, case)
        refused, taken = refused + isinstance(expected, str), taken + isinstance(expected, tuple)
    assert refused > 10 and taken > 10


@pytest.mark.parametrize("op", ops())
def test_the_fake_answers_as_the_reference(op: str) -> None:
    """On meta all devices are one, and there is no sparse layout to refuse."""
    for case in cases(op):
        if case.title.endswith(("on meta", "sparse")):
            continue
        assert_same(outcome(function(op), tree_map(on_meta, case.arguments)), reference(case), case)


def on_meta(argument):
    if not isinstance(argument, Tensor):
        return argument
    form = argument.shape, argument.stride()
    return torch.empty_strided(*form, dtype=argument.dtype, device="meta")


@pytest.mark.parametrize("source", emulated_cuda.SOURCES, ids=lambda source: source.stem)
def test_cuda_sources_answer_as_the_reference(having: list[str], source: Path) -> None:
    for op in (source.stem, f"{source.stem}_backward"):
        for case in cases(op) if op in having else ():
            expected = reference(case)
            with emulated_cuda.emulated(having):
                assert_same(outcome(function(op), case.arguments), expected, case)


def assert_guarded(*library: str, **environment: str) -> None:
    command = [sys.executable, op_memory.__file__, "guarded", *library]
    given = {**os.environ, **environment}
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert "cases of" in done.stdout, done.stderr[-3000:]
    assert done.returncode == -signal.SIGSEGV, "the guard let a read one byte too far pass"


@pytest.mark.skipif(not NATIVE, reason="no CPU library was built")
@pytest.mark.parametrize("capability", ["default", "avx2", "all"])
def test_native_code_touches_nothing_else(capability: str) -> None:
    """In what other processors would run, and in all that this one has."""
    assert_guarded(INVAD_FAST_CPU_CAPABILITY=capability)


def test_cuda_sources_touch_nothing_else(library: Path) -> None:
    assert_guarded(str(library))


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> str:
    """csrc/cpu with AddressSanitizer."""
    if emulated_cuda.compiler() is None:
        pytest.skip("no C++ compiler is here")
    folder = tmp_path_factory.mktemp("sanitized_cpu")
    try:
        return str(emulated_cuda.build_cpu(folder, emulated_cuda.SANITIZERS))
    except AssertionError as error:
        if "asan" not in str(error):
            raise
        pytest.skip("this compiler has no AddressSanitizer")


def test_native_code_under_address_sanitizer(sanitized: str) -> None:
    """What it copies and allocates itself too; the read one byte too far at the end is found."""
    done = emulated_cuda.run_sanitized("usual", sanitized, script=op_memory.__file__)
    assert "cases of" in done.stdout and "runtime error" not in done.stderr, done.stderr[-3000:]
    assert done.returncode != 0 and "heap-buffer-overflow" in done.stderr
