"""The command line in processes that start at once, and whose models are tiny."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# Python's fork server imports what commands would: it costs them ten times what they then do.
import matplotlib.figure  # noqa: F401
import torch
from tiny_training import tiny

import invad_fast.data.tensors
import invad_fast.evaluation.evaluate
import invad_fast.evaluation.good_parts
import invad_fast.evaluation.report
import invad_fast.inspection.predict
import invad_fast.inspection.result_table
import invad_fast.training.train  # noqa: F401
from invad_fast import method_names
from invad_fast.cli.app import main

LONGEST = 600  # seconds of a command, on a machine that does much else


def _create_tiny(name: str, encoder_weights: Any, **changes: Any) -> Any:
    return tiny()


def _command(words: list[str], printed: str) -> None:
    file = os.open(printed, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    method_names.create_model = _create_tiny
    sys.argv = ["invad-fast", *words]
    main()


class Commands:
    """Starts commands; what the last one printed is in ``printed``."""

    def __init__(self, printed: Path) -> None:
        self.printed = printed
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])

    def start(self, *words: object) -> BaseProcess:
        arguments = [*map(str, words)], str(self.printed)
        process = self._context.Process(target=_command, args=arguments)
        process.start()
        return process

    def run(self, *words: object) -> float:
        """Runs the command to its end, and well; its seconds."""
        started = time.monotonic()
        process = self.start(*words)
        process.join(LONGEST)
        hangs = process.is_alive()
        process.kill()
        process.join()
        assert process.exitcode == 0 and not hangs, self.printed.read_text()[-2000:]
        return time.monotonic() - started
