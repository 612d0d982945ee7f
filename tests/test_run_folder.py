"""A run folder with something wrong in it: one line, and nothing lost."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import EPOCHS, STEPS, contents, fit, tiny

from invad_fast import InputError, InputWarning, InvAD
from invad_fast.training.run_folder import RunFolder


@pytest.mark.parametrize("config", [None, b"", b"{", b"[]", b"\xff\xfe"])
def test_a_lost_configuration_is_written_anew(
    config: bytes | None, training_set: Path, run: Path
) -> None:
    before = contents(run)
    (run / "config.json").unlink()
    if config is not None:
        (run / "config.json").write_bytes(config)
    with pytest.warns(InputWarning, match=r"config\.json was lost or damaged"):
        fit(tiny(), training_set, run=run, resume=True)
    assert contents(run) == before


def changed(state: dict, **changes: Any) -> dict:
    return {**state, **changes}


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: None,
        lambda state: [1, 2],
        lambda state: {"weights": torch.zeros(3)},
        lambda state: {key: value for key, value in state.items() if key != "run"},
        lambda state: changed(state, epoch="two"),
        lambda state: changed(state, more=1),
        lambda state: changed(state, model={"fuser": state["model"]["fuser"]}),
        lambda state: changed(state, model=state["model"] | {"fuser": {"x": torch.zeros(1)}}),
        lambda state: changed(state, optimizer={}),
        lambda state: changed(
            state,
            optimizer=state["optimizer"]
            | {"state": {i: {"exp_avg": torch.zeros(7)} for i in state["optimizer"]["state"]}},
        ),
    ],
)
def test_a_checkpoint_of_another_kind_is_one_line(
    damage: Any, training_set: Path, run: Path
) -> None:
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    torch.save(damage(state), run / "checkpoint.pt")
    assert_refused_and_kept(training_set, run)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_half_a_checkpoint_is_one_line(share: float, training_set: Path, run: Path) -> None:
    data = (run / "checkpoint.pt").read_bytes()
    (run / "checkpoint.pt").write_bytes(data[: int(len(data) * share)])
    assert_refused_and_kept(training_set, run)


def assert_refused_and_kept(training_set: Path, run: Path) -> None:
    before = contents(run)
    with pytest.raises(InputError, match=r"checkpoint\.pt is damaged, or another version") as told:
        fit(tiny(), training_set, run=run, resume=True)
    assert "\n" not in str(told.value) and contents(run) == before


def test_a_checkpoint_of_another_run_is_refused(
    training_set: Path, run: Path, tmp_path: Path
) -> None:
    fit(tiny(), training_set, run=tmp_path / "other", epochs=1, seed=5)
    shutil.copy(tmp_path / "other" / "checkpoint.pt", run)
    before = contents(run)
    with pytest.raises(InputError, match="seed 5, not 0"):
        fit(tiny(), training_set, run=run, resume=True)
    assert contents(run) == before


def test_without_its_checkpoint_a_run_is_left_alone(training_set: Path, run: Path) -> None:
    (run / "checkpoint.pt").unlink()
    before = contents(run)
    for resume in (False, True):
        with pytest.raises(InputError, match=r"no run that could go on \(no checkpoint\.pt\)"):
            fit(tiny(), training_set, run=run, resume=resume)
    assert contents(run) == before


def test_a_run_is_not_begun_twice(training_set: Path, run: Path) -> None:
    before = contents(run)
    with pytest.raises(InputError, match="already holds a run: go on with it"):
        fit(tiny(), training_set, run=run, epochs=EPOCHS)
    with pytest.raises(InputError, match=r"no run to go on with: give its folder \(run=, --run\)"):
        fit(tiny(), training_set, resume=True)
    assert contents(run) == before


def test_one_training_at_a_time_has_the_folder(training_set: Path, run: Path) -> None:
    before = contents(run)
    with (
        RunFolder(run).held(),
        pytest.raises(InputError, match="another training is at work in .*/run: wait for it"),
    ):
        fit(tiny(), training_set, run=run, epochs=9, resume=True)
    assert contents(run) == before
    fit(tiny(), training_set, run=run, resume=True)  # it is free again


def test_folders_that_cannot_be_run_folders(training_set: Path, tmp_path: Path) -> None:
    mine = tmp_path / "full"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(training_set)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for run, told in (
        (mine, "not empty and holds no run"),
        (tmp_path / "file", "file is a file: give a folder"),
        (tmp_path / "file" / "run", "cannot make the folder .*: Not a directory"),
        (training_set / "run", "lies inside the data set"),
        (training_set / "nut" / "train" / "good", "lies inside the data set"),
        (tmp_path / "link" / "nut" / "x", "lies inside the data set"),
        (tmp_path / "loop", "loop is a file: give a folder"),
        (tmp_path / ("long" * 100), "cannot make the folder .*: File name too long"),
    ):
        with pytest.raises(InputError, match=told) as caught:
            fit(tiny(), training_set, run=run, epochs=1)
        assert "\n" not in str(caught.value)
    assert contents(mine) == {"notes.txt": b"mine"}
    assert not (training_set / "run").exists() and (tmp_path / "file").read_text() == "mine"
    with pytest.raises(InputError, match="fewer than one batch"):
        fit(tiny(), training_set, run=tmp_path / "new", batch_size=9)
    assert not (tmp_path / "new").exists()  # refused before any work: nothing is left


def test_what_a_killed_process_left_is_no_obstacle(training_set: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in (".0123456789abcdef.partial", ".tmpaB3x9Q", ".lock", "config.json"):
        (run / name).write_bytes(b"half")
    fit(tiny(), training_set, run=run, epochs=1)
    assert [file.name for file in run.glob(".*")] == [".lock"] and InvAD.load(
        run / "model.safetensors"
    ).thresholds


def test_a_full_disk_is_one_line_and_loses_nothing(training_set: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")  # a limit on files' sizes stands for the disk
    run = tmp_path / "run"
    fit(tiny(), training_set, run=run, epochs=1)
    before, limits = contents(run), resource.getrlimit(resource.RLIMIT_FSIZE)
    for where in (run, tmp_path / "new"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            with pytest.raises(InputError, match=r"cannot write .*/checkpoint\.pt: ") as told:
                fit(tiny(), training_set, run=where, epochs=2, resume=True, checkpoint_seconds=0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "\n" not in str(told.value) and not list(where.glob(".*.partial"))
    assert contents(run)["checkpoint.pt"] == before["checkpoint.pt"]
    assert contents(run)["model.safetensors"] == before["model.safetensors"]
    assert (
        fit(tiny(), training_set, run=run, epochs=2, resume=True).steps == STEPS
    )  # there is room again
    assert fit(tiny(), training_set, run=where, epochs=2, resume=True).steps == 2 * STEPS


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_line(training_set: Path, run: Path) -> None:
    before = contents(run)
    (run / ".lock").unlink()
    run.chmod(0o555)
    try:
        with pytest.raises(InputError, match="cannot write in .*/run: Permission denied"):
            fit(tiny(), training_set, run=run, resume=True, epochs=9)
    finally:
        run.chmod(0o755)
    assert contents(run) == {k: v for k, v in before.items() if k != ".lock"}
