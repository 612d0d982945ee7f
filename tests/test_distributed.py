"""Two processes do what one does: gradients, batch statistics, figures, caches; and restart."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sample_sets
import torch
from process_pair import HERE, PATIENCE, free_port, run_pair

from invad_fast import InputError, InvAD, InvADConfig
from invad_fast.distributed import join
from invad_fast.evaluation.evaluate import evaluate_model
from invad_fast.evaluation.options import ScoringOptions


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Five test images of one class, four of the other; and an untrained model."""
    folder = tmp_path_factory.mktemp("two")
    root = sample_sets.mvtec(folder / "set")
    sample_sets.picture(root / "bolt" / "test" / "good" / "2.png", 77)
    torch.manual_seed(0)
    config = InvADConfig(encoder="resnet10t", blocks=(1, 1, 1), input_size=32)
    with pytest.warns(UserWarning, match="random weights"):
        InvAD(config, None).save(folder / "model.safetensors")
    return root, folder / "model.safetensors"


@pytest.fixture(scope="module")
def two(material: tuple[Path, Path], tmp_path_factory) -> tuple[Path, list[dict]]:
    """What two processes, started together, have written and returned."""
    out = tmp_path_factory.mktemp("out")
    run_pair("two_processes.py", *material, out)
    return out, [torch.load(out / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def test_batch_norm_sees_both_halves(two: tuple[Path, list[dict]]) -> None:
    for results in two[1]:
        for ours, expected in zip(results["norm"]["two"], results["norm"]["one"], strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_two_halves_of_a_batch_step_like_the_whole(two: tuple[Path, list[dict]]) -> None:
    whole = two[1][0]["step"]["one"]  # of the main process, whose weights both have
    scale = max(gradient.abs().max() for gradient in whole.values())
    for results in two[1]:
        ours = results["step"]["two"]
        assert ours.keys() == whole.keys() and any("running_var" in name for name in ours)
        for name, expected in whole.items():
            torch.testing.assert_close(
                ours[name], expected, rtol=1e-4, atol=float(1e-6 * scale), msg=name
            )


def test_sharded_evaluation_gives_the_figures_of_one_process(
    two: tuple[Path, list[dict]], material: tuple[Path, Path], tmp_path: Path
) -> None:
    root, model = material
    # One image at a time in one thread, as the two do it: another batch or another number of
    # threads rounds the maps themselves otherwise, and their figures with them.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = evaluate_model(
        InvAD.load(model), root, output=tmp_path, show_progress=False,
        options=ScoringOptions(batch_size=1, workers=0),
    )  # fmt: skip
    torch.set_num_threads(threads)
    for results in two[1]:
        for name, result in expected.classes.items():
            assert results["figures"][name] == pytest.approx(result.figures, rel=1e-12, nan_ok=True)
            assert results["scores"][name] == result.scores.tolist()
    written = two[0] / "evaluation"
    assert sorted(p.relative_to(written) for p in written.rglob("*")) == sorted(
        p.relative_to(tmp_path) for p in tmp_path.rglob("*")
    )


def test_training_in_two_processes_is_training_in_one(
    two: tuple[Path, list[dict]], material: tuple[Path, Path]
) -> None:
    out, (main, other) = two
    (features,) = (out / "features").iterdir()  # which both have filled
    before = features.stat().st_ino
    result = InvAD.load(material[1]).fit(
        material[0], cache=out / "features", epochs=2, batch_size=4, workers=0,
        learning_rate=1e-5, show_progress=False,
    )  # fmt: skip
    assert features.stat().st_ino == before, "one process takes the features that two have kept"
    assert main["losses"] == other["losses"]
    assert main["losses"] == pytest.approx(result.losses, rel=1e-5)
    assert InvAD.load(out / "run" / "model.safetensors").classes == ("bolt", "nut")


def trained_states(run: Path, process: subprocess.Popen) -> Iterator[tuple[int, int]]:
    """(epoch, step) of every checkpoint of the run that is seen until torchrun ends."""
    deadline, seen = time.monotonic() + PATIENCE, 0
    while process.poll() is None:
        assert time.monotonic() < deadline, "torchrun hangs"
        file = run / "checkpoint.pt"
        if file.exists() and file.stat().st_mtime_ns != seen:
            seen = file.stat().st_mtime_ns
            state = torch.load(file, weights_only=True, mmap=True)
            yield state["epoch"], state["step"]
        time.sleep(0.02)


def workers_of(process: subprocess.Popen) -> list[int]:
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [
        pid for pid in map(int, found) if b"invad_fast" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_a_killed_worker_loses_nothing_before_the_last_checkpoint(
    material: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["train", material[0], "--run", run, "--encoder", "resnet10t", "--encoder-weights",
             "none", "--size", 32, "--epochs", 6, "--batch-size", 4, "--workers", 0, "--cache",
             tmp_path / "cache", "--checkpoint-seconds", 0]  # fmt: skip
    launcher = ["--nproc-per-node", 2, "--max-restarts", 1, "--master-port", free_port(),
                "-m", "invad_fast", "--", *words]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *map(str, launcher)],
        cwd=HERE, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    killed_at = None
    try:
        for state in trained_states(run, process):
            if killed_at is None and state >= (1, 1):
                os.kill(workers_of(process)[1], signal.SIGKILL)
                killed_at = state
            assert killed_at is None or state >= killed_at, "it began anew"
        text, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert killed_at is not None and process.returncode == 0, errors[-3000:]
    assert text.count("trained in") == 1 and text.count("model:") == 1  # the main one alone speaks
    assert len((run / "history.csv").read_text().splitlines()) == 7
    assert InvAD.load(run / "model.safetensors").thresholds


def test_mistakes_of_the_launch_are_one_line(
    material: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "3"), ("LOCAL_WORLD_SIZE", "3")):
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="3 processes on a machine with 1 GPUs"):
        join("cuda")
