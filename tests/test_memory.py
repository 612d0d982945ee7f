"""The memory of good parts: what is kept, how far a part is from it, alone and joined."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import sample_sets
import torch
from tiny_training import SIZE, contents, fit, tiny
from torch.nn import functional as F

from invad_fast import InputError, InvAD, NearestNeighbours, create_model, load_model
from invad_fast.data import read_dataset
from invad_fast.data.tensors import load_tensor
from invad_fast.demo import demo_encoder_weights
from invad_fast.evaluation.evaluate import evaluate_model
from invad_fast.memory.banks import MemoryBanks, nearest_distances
from invad_fast.memory.building import Candidates, good_statistics, halves_of
from invad_fast.memory.coreset import greedy_coreset
from invad_fast.memory.patches import neighbourhood, patch_vectors
from invad_fast.memory.settings import MemorySettings
from invad_fast.prediction import Verdict

CHANNELS = (4, 6, 8)
PATCHES = 96  # all of a class: 6 parts of 4x4 positions


def memory(**fields) -> NearestNeighbours:
    config = {"encoder": "resnet10t", "out_indices": (1, 2), "input_size": SIZE,
              "memory": MemorySettings(patches=PATCHES)} | fields  # fmt: skip
    return NearestNeighbours(encoder_weights=demo_encoder_weights(), **config)


def learn(model, root: Path, **options):
    return model.fit(root, show_progress=False, workers=0, **options)


@pytest.fixture(scope="module")
def root(parts: Path) -> Path:
    return parts


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "memory"
    learn(memory(), root, run=folder)
    return folder


@pytest.fixture(scope="module")
def joined(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[InvAD, Path]:
    model = tiny(memory=MemorySettings(patches=PATCHES))
    folder = tmp_path_factory.mktemp("runs") / "joined"
    fit(model, root, epochs=3, run=folder)
    return model, folder


def images(root: Path, split: str = "test") -> torch.Tensor:
    return torch.stack(
        [load_tensor(r.image, (SIZE, SIZE)) for r in getattr(read_dataset(root), split)]
    )


def names(root: Path, split: str = "test") -> list[str]:
    return [r.class_name for r in getattr(read_dataset(root), split)]


# ── the parts ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("block", [10**6, 7])
def test_distances_are_those_to_the_nearest(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invad_fast.memory.banks._BLOCK", block)
    vectors, bank = torch.randn(50, 12) + 100, torch.randn(9, 12) + 100
    expected = torch.cdist(vectors.double(), bank.double()).amin(1).float()
    torch.testing.assert_close(nearest_distances(vectors, bank), expected, rtol=1e-4, atol=1e-4)
    assert nearest_distances(bank, bank).max() < 1e-2


def test_a_patch_is_the_mean_of_its_neighbourhood_in_every_scale() -> None:
    features = [torch.randn(2, c, s, s) for c, s in zip(CHANNELS, (32, 16, 8))]
    found = patch_vectors(features, (1, 2))
    assert found.shape == (2, 16, 16, CHANNELS[1] + CHANNELS[2])
    torch.testing.assert_close(found[1, 5, 7, :6], features[1][1, :, 4:7, 6:9].mean((1, 2)))
    corner = features[1][0, :, :2, :2].sum((1, 2)) / 9  # beyond the border are zeros
    torch.testing.assert_close(found[0, 0, 0, :6], corner)
    coarse = F.interpolate(F.avg_pool2d(features[2], 3, 1, 1), size=16, mode="bilinear")
    torch.testing.assert_close(found[..., 6:], coarse.permute(0, 2, 3, 1))
    assert [neighbourhood(side) for side in (1, 4, 16, 24, 32, 64)] == [1, 1, 3, 3, 5, 11]


def test_a_coreset_covers_what_is_rare() -> None:
    random = torch.Generator().manual_seed(0)
    vectors = torch.randn(2000, 80, generator=random) * 0.1
    vectors[[3, 700, 1500]] += 20 * torch.eye(80)[:3]
    chosen = greedy_coreset(vectors, 20, torch.Generator().manual_seed(1))
    assert len(set(chosen.tolist())) == 20 and {3, 700, 1500} <= set(chosen.tolist())
    again = greedy_coreset(vectors, 20, torch.Generator().manual_seed(1))
    assert torch.equal(chosen, again)
    assert greedy_coreset(torch.zeros(5, 3), 4, random).unique().numel() == 4  # equal ones too
    assert greedy_coreset(vectors[:7], 20, random).tolist() == list(range(7))


def test_halves_are_every_other_part_of_a_class() -> None:
    assert halves_of([0, 1, 0, 0, 1, 1]) == [0, 0, 1, 0, 1, 0]
    found = good_statistics([1.0, 5.0, 3.0, 5.0], [0, 1, 0, 1])
    torch.testing.assert_close(found, torch.tensor([[2.0, 5.0], [1.0, 0.05]]))  # alike: a floor


def test_a_half_holds_no_patch_of_the_other() -> None:
    features = [
        torch.full((1, c, s, s), float(i)) for i in range(4) for c, s in zip(CHANNELS, (8, 4, 2))
    ]
    candidates = Candidates(MemorySettings(patches=3, scales=(0,)), CHANNELS, [0, 0, 0, 0], 0)
    for first in range(0, 12, 3):
        candidates.take(features[first : first + 3])
    assert candidates.banks(0).vectors.unique().tolist() == [0, 2]
    assert candidates.banks(1).vectors.unique().tolist() == [1, 3]
    assert candidates.banks().counts == (3,)


def test_a_joined_map_is_the_sum_of_both_in_their_deviations() -> None:
    banks = MemoryBanks(MemorySettings(patches=5, counts=(5, 4), weight=2.0), CHANNELS)
    banks.vectors.normal_()
    banks.good = torch.tensor([[1.0, 2.0], [0.5, 4.0]])
    banks.reconstruction = torch.tensor([[0.1, 0.2], [0.01, 0.02]])
    features = [torch.randn(2, c, s, s) for c, s in zip(CHANNELS, (16, 8, 4))]
    compared = [torch.rand(2, 8, 8) for _ in range(3)]
    found = torch.stack(banks.maps(features, [1, 0], compared)).mean(0)
    distances = banks.distances(features, [1, 0])
    for i, k in enumerate((1, 0)):
        theirs = torch.stack(compared).mean(0)[i]
        own = (distances[i] - banks.good[0, k]) / banks.good[1, k]
        expected = (theirs - banks.reconstruction[0, k]) / banks.reconstruction[1, k] + 2 * own
        torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-4)


# ── the method ─────────────────────────────────────────────────────────────────────────────────


def test_it_is_made_saved_loaded_and_calibrated_as_others_are(root: Path, run: Path) -> None:
    model = load_model(run / "model.safetensors")
    assert isinstance(model, NearestNeighbours) and model.classes == ("a", "b")
    assert model.config.memory.counts == (PATCHES, PATCHES)
    assert len(model.seen.training) == 12 and model.tells_classes
    assert {o.source for o in model.thresholds.origins.values()} == {"training parts"}
    assert set(contents(run)) == {"config.json", "images.json", "model.safetensors", ".lock"}
    figures = evaluate_model(model, root, workers=0, show_progress=False).mean
    assert 0 <= figures["image_auroc"] <= 1 and 0 <= figures["aupro"] <= 1
    form = model.for_inference(device="cpu")
    found = form.predict(images(root), names(root))
    assert {v for v, _ in found.verdicts} <= {Verdict.PASS, Verdict.REJECT}
    np.testing.assert_array_equal(found.score, form.predict(images(root)).score)


def test_a_part_that_is_remembered_is_near_and_its_half_says_how_far_others_are(
    root: Path, run: Path
) -> None:
    """Provisional thresholds are of parts that were not in the bank: remembered ones pass."""
    form = load_model(run / "model.safetensors").for_inference(device="cpu")
    own, new = form.predict(images(root, "train")), form.predict(images(root))
    assert own.score.max() < new.score.min()
    assert not any(own.anomalous)
    limits = dict(form.thresholds)
    assert all(limits[name] > own.score.max() for name in ("a", "b"))


def test_the_class_that_is_said_decides_the_bank(run: Path, root: Path) -> None:
    form = load_model(run / "model.safetensors").for_inference(device="cpu")
    dark = images(root, "train")[:6]
    assert names(root, "train")[:6] == ["a"] * 6
    told = form.predict(dark)
    assert told.class_names == ("a",) * 6
    for same in ("a", None):
        torch.testing.assert_close(form.predict(dark, same).score, told.score)
    assert (form.predict(dark, "b").score > told.score).all()
    alone = load_model(run / "model.safetensors")
    alone.prototypes = None
    with pytest.raises(InputError, match="give --class NAME"):
        alone.predict(dark)
    assert alone.predict(dark, "b").score.shape == (6,)


def test_the_seed_decides_and_the_memory_where_features_are_kept_does_not(root: Path) -> None:
    made = []
    for options in ({}, {}, {"feature_cache_gib": 0.0}, {"seed": 1}):
        model = memory()
        learn(model, root, **options)
        made.append(model)
    assert made[0].digest == made[1].digest != made[3].digest
    vectors = [m.memory.vectors for m in made]
    torch.testing.assert_close(vectors[0], vectors[2], rtol=2e-3, atol=2e-3)  # half precision


@pytest.mark.parametrize("options, said", [
    ({"epochs": 3}, "leave out --epochs"),
    ({"schedule": "fast", "learning_rate": 0.1}, "leave out --schedule, --learning-rate"),
    ({"batch_size": 8}, "leave out --batch-size"),
    ({"resume": True}, "leave out --resume"),
    ({"precision": "bf16"}, "leave out --precision"),
    ({"checkpoint_seconds": 1.0}, "leave out --checkpoint-seconds"),
])  # fmt: skip
def test_options_of_steps_are_refused(root: Path, tmp_path: Path, options, said: str) -> None:
    with pytest.raises(InputError) as caught:
        learn(memory(), root, run=tmp_path / "run", **options)
    assert str(caught.value).endswith(said) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_mistakes_are_one_line(root: Path, run: Path, tmp_path: Path) -> None:
    few = sample_sets.mvtec(tmp_path / "few", train=1)
    with pytest.raises(InputError, match="class 'bolt' has 1 good training part: a memory needs"):
        learn(memory(), few, run=tmp_path / "run")
    with pytest.raises(InputError, match="class 'bolt' has 1 good training part"):  # at once
        fit(tiny(memory=MemorySettings()), few, run=tmp_path / "run", batch_size=2)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="remembers no good parts yet"):
        memory().predict(torch.zeros(1, 3, SIZE, SIZE))
    with pytest.raises(InputError, match=r"memory scales \(0, 5\): of 2 scales"):
        memory(memory={"scales": (0, 5)})
    with pytest.raises(InputError, match="choose another --run"):
        learn(memory(), root, run=run)
    with pytest.raises(InputError, match="reconstructs nothing"):
        memory()(torch.zeros(1, 3, SIZE, SIZE))


def test_damaged_files_are_one_line(run: Path, tmp_path: Path) -> None:
    from model_parts import Parts, refused

    source = run / "model.safetensors"
    parts = Parts(source)
    parts.said["config"]["memory"]["counts"] = [PATCHES, PATCHES + 1]
    assert "digest" in (line := refused(parts.write(tmp_path / "a.safetensors"))) or "those" in line
    parts = Parts(source)
    parts.tensors["memory.vectors"][0, 0] += 1
    assert "not those that were saved" in refused(parts.write(tmp_path / "b.safetensors"))


def test_words_of_the_command_line(root: Path, tmp_path: Path, invad) -> None:
    words = ("train", root, "--run", tmp_path / "run", "--encoder", "resnet10t", "--size", 32,
             "--encoder-weights", demo_encoder_weights(), "--quiet", "--workers", 0)  # fmt: skip
    done = invad(*words, "--method", "memory", "--bank", 20)
    assert done.status == 0 and "MB)" in done.stdout
    assert load_model(tmp_path / "run" / "model.safetensors").config.memory.counts == (20, 20)
    for wrong, said in (
        (("--bank", 5), "--bank: there is no memory"),
        (("--join", "bank"), "--join: no memory to join"),
        (("--method", "memory", "--join", "memory"), "is one already"),
        (("--method", "memory", "--epochs", 3), "leave out --epochs"),
        (("--method", "memory", "--bank", 0), "patches"),
    ):
        done = invad(*words[:2], "--run", tmp_path / "no", *words[4:], *wrong)
        assert done.status == 2 and said in done.stderr, done
        assert not (tmp_path / "no").exists()


# ── joined ─────────────────────────────────────────────────────────────────────────────────────


def test_joined_is_invad_and_the_memory_of_one_encoding(
    joined: tuple[InvAD, Path], root: Path
) -> None:
    model, folder = joined
    loaded = load_model(folder / "model.safetensors")
    assert isinstance(loaded, InvAD) and loaded.digest == model.digest
    assert loaded.memory.counts == (PATCHES, PATCHES)
    given, owners = images(root), names(root)
    found = loaded.predict(given, owners, sigma=0.0)
    banks, loaded.memory = loaded.memory, None
    own = loaded.predict(given, owners, sigma=0.0).map
    which = [loaded.classes.index(name) for name in owners]
    with torch.inference_mode():
        near = banks.distances(loaded.encode(given), which)
    near = F.interpolate(near[:, None], size=SIZE, mode="bilinear", align_corners=True)[:, 0]
    mean, deviation = banks.good[:, which, None, None]
    theirs, spread = banks.reconstruction[:, which, None, None]
    expected = (near - mean) / deviation + (own - theirs) / spread
    torch.testing.assert_close(found.map, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("precision, tolerance", [("fp32", 1e-3), ("bf16", 0.1)])
def test_every_form_of_a_joined_model(joined, root: Path, precision: str, tolerance: float) -> None:
    model, given = joined[0], images(root)
    expected = model.predict(given)
    form = model.optimize(precision, "cpu")
    found = form.predict(given)
    scale = expected.map.abs().max()
    assert (found.map - expected.map).abs().max() < tolerance * scale
    assert found.class_names == expected.class_names
    if precision == "fp32":
        assert all(threshold is not None for threshold in found.thresholds)


def test_a_finished_joined_run_keeps_its_model(joined, root: Path, tmp_path: Path) -> None:
    model, folder = joined
    before = contents(folder)
    again = tiny(memory=MemorySettings(patches=PATCHES))
    fit(again, root, epochs=3, run=folder, resume=True)
    assert again.digest == model.digest and again.thresholds == model.thresholds
    assert contents(folder) == before
    (folder / "model.safetensors").unlink()
    made = tiny(memory=MemorySettings(patches=PATCHES))
    fit(made, root, epochs=3, run=folder, resume=True)
    assert made.digest == model.digest
    (folder / "model.safetensors").write_bytes(before["model.safetensors"])
    with pytest.raises(InputError, match="was trained with memory"):
        fit(tiny(), root, epochs=3, run=folder, resume=True)


def test_trained_again_it_remembers_anew(root: Path) -> None:
    model = tiny(memory=MemorySettings(patches=10))
    fit(model, root, epochs=1)
    first = model.digest
    fit(model, root, epochs=1)
    assert model.memory.counts == (10, 10) and model.digest != first


def test_a_model_without_one_has_no_trace_of_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = create_model("invad-lite", None, encoder="resnet10t", input_size=64)
    assert "memory" not in plain.config.to_dict()
    assert not any("memory" in key for key in plain.state_dict())
