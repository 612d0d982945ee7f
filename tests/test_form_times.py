"""``invad-fast doctor --benchmark``: what each form of a model costs on this machine."""

from pathlib import Path

import numpy as np
import pytest

from invad_fast import form_times, load_model
from invad_fast.form_times import FormTime, made_images, recommended, time_forms


def timed(name: str, one: float, eight: float = 1.0) -> FormTime:
    return FormTime(name, {1: one, 8: eight}, 0.0)


def test_every_precision_with_a_unit_takes_its_turns(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form_times, "has_unit", lambda _, name: name != "fp16")
    model = load_model(trained)
    images = made_images(model.input_size)
    assert images.shape == (8, *model.input_size, 3) and images.dtype == np.uint8
    exact, lower = time_forms(model, images, "cpu", seconds=0.2)
    assert exact.name == "fp32" and exact.difference == 0
    assert lower.name == "bf16" and 0 < lower.difference < 0.5
    assert set(exact.milliseconds) == {1, 8}
    assert all(0 < each < 60_000 for each in exact.milliseconds.values())


def test_a_form_is_recommended_where_it_is_worth_it() -> None:
    exact = timed("fp32", 10.0)
    assert recommended([exact, timed("bf16", 5.0)]).name == "bf16"
    assert recommended([exact, timed("bf16", 9.5)]).name == "fp32"
    assert recommended([exact, timed("bf16", 50.0)]).name == "fp32"


def test_the_command(trained: Path, monkeypatch: pytest.MonkeyPatch, invad) -> None:
    monkeypatch.setattr(form_times, "SECONDS", 0.1)
    done = invad("doctor", "--benchmark", trained, "--device", "cpu")
    assert done.status == 0 and "fp32" in done.stdout and "recommended: " in done.stdout
    done = invad("doctor", "--benchmark", trained.parent / "none")
    assert done.status == 2 and "none" in done.stderr and "Traceback" not in done.stderr
