"""Calls in another process, each bounded in time and memory, each ending in a value or one line."""

from __future__ import annotations

import multiprocessing
import re
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from invad_fast.errors import LONGEST_LINE, InputError, InputWarning

SECONDS = 60  # a call takes a few milliseconds; other work may hold the machine


@dataclass
class Answer:
    """What came of a call.

    Attributes:
        value: what the function gave; None where it refused its input.
        line: of its InputError; "" where there was none.
        foreign: warnings of libraries, which the command line does not show.
        mebibytes: how far memory rose above what the process had before.
    """

    value: Any = None
    line: str = ""
    foreign: int = 0
    mebibytes: float = 0
    fault: str = ""


class Bounded:
    """The process. What it cannot survive, and what is neither value nor line, fails the test."""

    def __enter__(self) -> Bounded:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def call(self, mebibytes: float, function: Callable[..., Any], *arguments: Any) -> Answer:
        """``function(*arguments)``, of a module that a new process can import.

        Args:
            mebibytes: the most by which memory may rise meanwhile.
        """
        told = f"{function.__name__}{arguments}"
        try:
            self._ours.send((function, arguments))
            if not self._ours.poll(SECONDS):
                self._restart()
                raise AssertionError(f"{told} took more than {SECONDS} s")
            answer: Answer = self._ours.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            self._restart()
            raise AssertionError(f"{told} ended the process with {code}") from None
        assert not answer.fault, f"{told} raised {answer.fault}"
        assert "\n" not in answer.line and len(answer.line) <= LONGEST_LINE, answer.line[:5000]
        assert answer.mebibytes <= mebibytes, (
            f"{told} took {answer.mebibytes:.0f} MiB, not {mebibytes} ({answer.line[:200]})"
        )
        return answer

    def _restart(self) -> None:
        self.__exit__()
        self._start()


def _serve(theirs: Connection) -> None:
    while True:
        function, arguments = theirs.recv()
        answer = Answer()
        held = _memory("VmRSS", forget_peak=True)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                answer.value = function(*arguments)
            except InputError as error:
                answer.line = str(error)
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{Path(last.filename).name}:{last.lineno}"
                answer.fault = f"{type(error).__name__} in {where}: {error}"
        answer.foreign = sum(not issubclass(w.category, InputWarning) for w in told)
        answer.mebibytes = _memory("VmHWM") - held
        theirs.send(answer)


def _memory(field: str, forget_peak: bool = False) -> float:
    """Linux's figures of this process in MiB; 0 where there are none."""
    try:
        if forget_peak:
            Path("/proc/self/clear_refs").write_text("5")
        found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
        return int(found[1]) / 1024 if found else 0
    except OSError:
        return 0
