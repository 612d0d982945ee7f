"""What makes a run the run it is: the network, its encoder's weights, the options, the images.

It stands in ``config.json`` to be read, and in the checkpoint, where a resumed training compares
it with what it was given. The images are compared in `training_images`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invad_fast.errors import InputError, InputWarning
from invad_fast.names import visible
from invad_fast.training.options import CompleteOptions, TrainingOptions
from invad_fast.training.run_folder import Checkpoint
from invad_fast.training.schedule import Schedule
from invad_fast.training.trainable import Learner, encoder_digest

# Options that may differ when a run goes on: how and where it is computed, not what. Where the
# features are kept changes them by the rounding of half precision at most. The epochs have a rule
# of their own.
_FREE = frozenset({
    "workers", "device", "checkpoint_seconds", "false_alarm_rate", "cache", "cache_gib",
    "feature_cache_gib", "skip_damaged", "epochs",
})  # fmt: skip
_OPEN = ("schedule", "epochs", "batch_size", "learning_rate")

GO_ON = "resume it with the same, or choose another --run"


def describe(model: Learner, options: TrainingOptions) -> dict[str, Any]:
    """Method, configuration, encoder weights and options as JSON has them; no images yet."""
    described = {
        "method": model.method,
        "model": model.config.to_dict(),
        "encoder_weights": encoder_digest(model),
        "training": dataclasses.asdict(options),  # type: ignore[call-overload]
    }
    return json.loads(json.dumps(described, default=str))


def as_before(options: TrainingOptions, before: Mapping[str, Any], method: str) -> TrainingOptions:
    """What the options leave open is as the run before had it, and not the schedule's default."""
    if before.get("method") != method:  # it will be refused
        return options
    kept = {
        name: value
        for name, value in before.get("training", {}).items()
        if name in _OPEN and getattr(options, name) is None
    }
    return dataclasses.replace(options, **kept)  # type: ignore[type-var]


def refuse_other_run(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses to go on with a run of another model, encoder or options, and says what differs."""
    old, new = _flat(before), _flat(now)
    told = [
        f"{name} {_shown(old.get(name))}, not {_shown(value)}"
        for name, value in new.items()
        if name not in _FREE and old.get(name) != value
    ]
    if told:
        raise InputError(f"{path} was trained with {'; '.join(told)}: {GO_ON}")


def check_epochs(
    path: Path, checkpoint: Checkpoint, options: CompleteOptions, schedule: Schedule
) -> None:
    """More epochs than before are a longer run, which is said; fewer than are done are refused."""
    before, now = checkpoint.run["training"]["epochs"], options.epochs
    if now < checkpoint.epochs_begun:
        raise InputError(
            f"{path} has {checkpoint.epochs_begun} epochs done or begun, which --epochs {now} "
            "would undo: give as many or more, or choose another --run"
        )
    if now == before:
        return
    text = f"the run goes on to {now} epochs instead of {before}, {checkpoint.epoch} are done"
    if schedule.warm_up is not None:
        text += "; the learning rate follows the new length"
    drop = now if schedule.drop_after is None else math.ceil(schedule.drop_after * now)
    if drop < now:
        text += f"; the learning rate falls to a tenth after epoch {drop}, by the new length"
    warnings.warn(text, InputWarning, stacklevel=2)


def _flat(described: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {"method": described.get("method")}
    flat |= described.get("model") or {}
    flat.setdefault("memory", None)  # a description without one does not name it
    flat["encoder weights"] = described.get("encoder_weights")
    return flat | (described.get("training") or {})


def _shown(value: Any) -> str:
    shown = visible(str(value))
    return shown if len(shown) <= 60 else shown[:57] + "..."
