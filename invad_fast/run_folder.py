"""A training run on disk: configuration, checkpoint, history, curves, model.

Every file is written whole under another name and then renamed, so a kill at any moment leaves
the old file or the new one.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from invad_fast.config import FeatureConfig
from invad_fast.errors import InputError

if TYPE_CHECKING:
    from invad_fast.train import TrainingOptions

# Options that may differ when a run goes on: they do not change the weights.
_FREE = ("workers", "device", "checkpoint_seconds", "false_alarm_rate")


@dataclass
class Checkpoint:
    """Everything that the training loop needs to go on as if it had not been stopped."""

    model: dict[str, dict]
    optimizer: dict
    epoch: int
    step: int
    epoch_loss: float
    history: list[dict]


class RunFolder:
    """``config.json``, ``checkpoint.pt``, ``history.csv``, ``loss.png``, ``model.safetensors``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model.safetensors"

    @classmethod
    def open(
        cls, path: Path, config: FeatureConfig, options: TrainingOptions, resume: bool
    ) -> RunFolder:
        """Makes the folder, or checks that an old one holds the same run.

        A run that stopped before its first checkpoint, over a damaged image say, left nothing to
        go on with: it is begun anew.

        Raises:
            InputError: where it holds a run and ``resume`` is not asked for, or another run.
        """
        folder = cls(path)
        described = {"model": config.to_dict(), "training": dataclasses.asdict(options)}
        described = json.loads(json.dumps(described))
        if folder._checkpoint.is_file():
            if not resume:
                raise InputError(
                    f"{path} already holds a run: go on with it (--resume), or choose another --run"
                )
            folder._check_same(described)
        elif path.is_dir() and any(file != folder._config for file in path.iterdir()):
            raise InputError(f"{path} is not empty and holds no run: choose another --run")
        try:
            path.mkdir(parents=True, exist_ok=True)
            folder._write(folder._config, json.dumps(described, indent=2).encode())
        except OSError as error:
            raise InputError(f"cannot write the run folder {path}: {error.strerror}") from None
        return folder

    @property
    def _config(self) -> Path:
        return self.path / "config.json"

    @property
    def _checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    def read_config(self) -> dict[str, Any]:
        return json.loads(self._config.read_text())

    def read_checkpoint(self) -> Checkpoint | None:
        """The last checkpoint; None where the run was killed before its first."""
        if not self._checkpoint.is_file():
            return None
        return Checkpoint(**torch.load(self._checkpoint, map_location="cpu", weights_only=True))

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        buffer = io.BytesIO()
        torch.save(vars(checkpoint), buffer)
        self._write(self._checkpoint, buffer.getvalue())

    def write_history(self, history: list[dict]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        self._write(self.path / "history.csv", text.getvalue().encode())

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
        self._write(self.path / "loss.png", buffer.getvalue())

    def _check_same(self, described: dict[str, Any]) -> None:
        before = self.read_config()
        for part in described:
            for name, value in described[part].items():
                if name not in _FREE and before[part].get(name) != value:
                    raise InputError(
                        f"{self.path} was trained with {name}={before[part].get(name)}, not "
                        f"{value}: resume it with the same options, or choose another --run"
                    )

    def _write(self, path: Path, content: bytes) -> None:
        partial = path.with_name(f".{path.name}.partial")
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
