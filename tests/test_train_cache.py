"""Kept features and resized images: the same training, without encoding or decoding again."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sample_sets
import torch
from tiny_training import SIZE, tiny
from tiny_training import fit as fit_tiny

from invad_fast import InputError, InvAD
from invad_fast.data import load_tensor, tensors
from invad_fast.data.cache import resized_cache
from invad_fast.training.feature_rows import FeatureRow, encoder_key
from invad_fast.training.features import ComputedFeatures
from invad_fast.training.result import TrainingResult


def fit(model: InvAD, root: Path, **options) -> TrainingResult:
    # Adam with beta1 = 0 makes whole steps of rounding noise: small ones keep two runs comparable.
    return fit_tiny(model, root, **{"epochs": 2, "learning_rate": 1e-5} | options)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return sample_sets.mvtec(tmp_path / "set")


def forbid(monkeypatch: pytest.MonkeyPatch, target: object, name: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(target, name, fail)


def test_weights_agree_however_the_features_are_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    computed, memory, disk, again = tiny(), tiny(), tiny(), tiny()
    losses = fit(computed, root, feature_cache_gib=0).losses
    in_half = fit(memory, root).losses
    fit(disk, root, cache=cache)
    (file,) = cache.iterdir()
    assert file.name.startswith("features-")
    forbid(monkeypatch, ComputedFeatures, "encode")
    fit(again, root, cache=cache)  # encodes nothing to train on

    state = memory.state_dict()
    for other in (disk, again):
        assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())
    assert in_half == pytest.approx(losses, rel=1e-3)
    features = [torch.randn(1, *shape) for shape in memory.config.feature_shapes]
    for ours, exact in zip(memory.eval().reconstruct(features), computed.reconstruct(features)):
        assert (ours - exact).norm() < 2e-3 * exact.norm()


def test_only_a_changed_image_is_encoded_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    fit(tiny(), root, cache=cache)
    changed = sample_sets.picture(root / "nut" / "train" / "good" / "1.png", 1234)
    seen: list[int] = []
    whole = ComputedFeatures.encode

    def counting(self: ComputedFeatures, order: Iterable[list[int]]) -> Iterator[list]:
        for features in whole(self, order):
            seen.append(len(features[0]))
            yield features

    monkeypatch.setattr(ComputedFeatures, "encode", counting)
    model = tiny()
    fit(model, root, cache=cache)
    assert seen == [1]
    (file,) = cache.iterdir()
    layout = FeatureRow.of(model)
    row = np.fromfile(file, np.float16, layout.values, offset=5 * layout.row_bytes)
    unpacked = layout.unpack(row[None], torch.device("cpu"))
    for kept, exact in zip(unpacked, model.encode(load_tensor(changed, (SIZE, SIZE))[None])):
        torch.testing.assert_close(kept, exact, rtol=1e-3, atol=1e-3)

    assert encoder_key(model, "fp32", (0, 4095)) != encoder_key(model, "fp32")
    other = tiny(encoder_weights=None)  # other weights, other features
    assert encoder_key(other, "fp32") != encoder_key(model, "fp32")
    fit(other, root, cache=cache)
    assert seen == [1, 8] and len(list(cache.iterdir())) == 2


def test_where_features_do_not_fit_the_resized_images_are_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    options = {"feature_cache_gib": 1e-9, "cache": cache, "cache_gib": 60_000 / 2**30}
    first = fit(tiny(), root, **options)
    (file,) = cache.iterdir()
    assert file.name.startswith("resized-") and file.stat().st_size <= 60_000
    forbid(monkeypatch, tensors, "load_image")
    forbid(monkeypatch, resized_cache, "load_image")
    assert fit(tiny(), root, **options).losses == first.losses


def test_features_too_large_for_half_precision_are_refused(root: Path) -> None:
    model = tiny()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(20)
    with pytest.raises(InputError, match="too large for half precision: .*feature_cache_gib=0"):
        fit(model, root)
