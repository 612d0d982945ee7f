"""A training run on disk: configuration, images, checkpoint, history, curves, model.

Every file is written whole, so a kill at any moment leaves the old file or the new one. One
training at a time has the folder.
"""

from __future__ import annotations

import csv
import io
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from invad_fast.checked import one_line
from invad_fast.errors import InputError, InputWarning
from invad_fast.files import make_folder, write_whole, written_whole
from invad_fast.training.image_list import ImageList
from invad_fast.training.trainable import Trainable

# Of a process that was killed while it wrote; safetensors has names of its own.
_LEFT_OVER = (".*.partial", ".tmp??????")


@dataclass(config={"extra": "forbid", "arbitrary_types_allowed": True})
class Checkpoint:
    """Everything that the training loop needs to go on as if it had not been stopped.

    Attributes:
        run: what run it is of, as ``config.json`` has it.
        model: trained part → its tensors by name.
        optimizer: Adam's state.
        epoch, step: how many of them are done.
        epoch_loss: the sum over the steps of this epoch.
        history: a row for every epoch done.
    """

    run: dict[str, Any]
    model: dict[str, dict[str, Any]]
    optimizer: dict[str, Any]
    epoch: int
    step: int
    epoch_loss: float
    history: list[dict[str, int | float]]

    @property
    def epochs_begun(self) -> int:
        return self.epoch + (self.step > 0)


class RunFolder:
    """``config.json``, ``images.json``, ``checkpoint.pt``, ``history.csv``, ``loss.png``,
    ``model.safetensors``; and ``.lock``, which a training holds while it runs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model.safetensors"
        self._config, self._images = path / "config.json", path / "images.json"
        self._checkpoint, self._lock = path / "checkpoint.pt", path / ".lock"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder where there is none, and keeps other trainings out of it.

        A process that dies lets go of it. What such a process left half written is removed.

        Raises:
            InputError: where it cannot be written, holds anything else than a run, or another
                training has it.
        """
        fresh = not os.path.exists(self.path)
        make_folder(self.path)
        self._check_own()
        try:
            self._lock.touch()  # the library tells "locked" and "not allowed" alike
            lock = FileLock(self._lock)
            lock.acquire(blocking=False)
        except Timeout:
            raise InputError(
                f"another training is at work in {self.path}: wait for it, or choose another --run"
            ) from None
        except NotImplementedError:  # network file systems: the training goes on without a lock
            warnings.warn(
                f"the file system of {self.path} has no locks: let no other training write there",
                InputWarning,
                stacklevel=3,
            )
        except OSError as error:
            raise InputError(f"cannot write in {self.path}: {error.strerror or error}") from None
        try:
            for left in self._left_over():
                left.unlink(missing_ok=True)
            yield
        finally:
            lock.release()
            if fresh and list(self.path.iterdir()) == [self._lock]:  # refused before any work
                self._lock.unlink()
                self.path.rmdir()

    def _left_over(self) -> list[Path]:
        return [file for pattern in _LEFT_OVER for file in self.path.glob(pattern)]

    def _check_own(self) -> None:
        if self._checkpoint.is_file():
            return
        # A run that stopped before its first checkpoint left these alone: it is begun anew.
        first = {self._config, self._images, self._lock, *self._left_over()}
        if any(file not in first for file in self.path.iterdir()):
            raise InputError(
                f"{self.path} is not empty and holds no run that could go on (no checkpoint.pt): "
                "choose another --run"
            )

    def read_checkpoint(self, resume: bool) -> Checkpoint | None:
        """The last checkpoint; None where the run was stopped before its first.

        Raises:
            InputError: where there is one and ``resume`` is not asked for; where it is damaged.
        """
        file = self._checkpoint
        if not file.is_file():
            return None
        if not resume:
            raise InputError(
                f"{self.path} already holds a run: go on with it (--resume), or choose another "
                "--run"
            )
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            checkpoint = TypeAdapter(Checkpoint).validate_python(state)
        except OSError as error:
            raise InputError(f"cannot read {file}: {error.strerror or error}") from None
        except ValidationError as error:
            raise self.not_usable(one_line(error)) from None
        except Exception as error:  # torch raises many kinds for a damaged file
            raise self.not_usable(str(error).strip().partition("\n")[0][:200]) from None
        self._mend(checkpoint.run)
        return checkpoint

    def not_usable(self, why: str) -> InputError:
        """The line for a checkpoint that cannot be gone on with."""
        return InputError(
            f"{self._checkpoint} is damaged, or another version's ({why}): nothing was changed; "
            "choose another --run"
        )

    def _mend(self, described: dict[str, Any]) -> None:
        """Writes ``config.json`` anew where it was lost or damaged: the checkpoint knows it."""
        try:
            whole = isinstance(json.loads(self._config.read_bytes()), dict)
        except (OSError, ValueError):
            whole = False
        if not whole:
            self.write_config(described)
            warnings.warn(
                f"{self._config} was lost or damaged: written anew from the checkpoint",
                InputWarning,
                stacklevel=2,
            )

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        buffer = io.BytesIO()
        torch.save(vars(checkpoint), buffer)
        with written_whole(self._checkpoint) as partial:
            partial.write_bytes(buffer.getbuffer())

    def write_config(self, described: dict[str, Any]) -> None:
        write_whole(self._config, json.dumps(described, indent=2) + "\n")

    def read_images(self) -> ImageList:
        """The images of the run before; empty where they are not known."""
        try:
            return ImageList.from_json(self._images.read_text())
        except (OSError, ValueError):
            return ImageList()

    def write_images(self, images: ImageList) -> None:
        write_whole(self._images, images.to_json())

    def finished_model(self, model: Trainable) -> tuple[Any, Any, Any, Any] | None:
        """(classes, prototypes, thresholds, seen parts) of the model file of ``model``'s weights.

        None where there is no such file, or one of other weights: it is to be made (again).
        """
        try:
            kept = type(model).load(self.model)
        except InputError:
            return None
        if kept.memory is not None and model.config.memory is not None:
            model.remember(kept.memory)  # made once training was done
        if kept.digest != model.digest:
            if model.memory is not None:
                model.remember(None)
            return None
        return kept.classes, kept.prototypes, kept.thresholds, kept.seen

    def write_history(self, history: list[dict]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_whole(self.path / "history.csv", text.getvalue())

    def draw_curves(self, history: list[dict]) -> None:
        """``loss.png``: the loss of every epoch, logarithmic."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.semilogy([row["epoch"] for row in history], [row["loss"] for row in history])
        axes.set(xlabel="epoch", ylabel="reconstruction loss")
        axes.grid(alpha=0.3)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120)
        write_whole(self.path / "loss.png", buffer.getvalue())
