"""The schedule that is not the paper's: what it changes in a model, its file and its forms."""

import math
from pathlib import Path

import pytest
import sample_sets
import torch
from tiny_training import fit, tiny

from invad_fast import InvAD, load_model
from invad_fast.data import load_tensor, read_dataset
from invad_fast.standardization import FLOOR, Standardization


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_sets.mvtec(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def model(parts: Path) -> InvAD:
    model = tiny()
    fit(model, parts, epochs=3)
    return model


def training_images(parts: Path) -> torch.Tensor:
    return torch.stack([load_tensor(r.image, (32, 32)) for r in read_dataset(parts).train])


def test_channels_are_standardised_over_the_training_parts(model: InvAD, parts: Path) -> None:
    assert (model.config.standardized, model.config.loss) == (True, "hard_cosine")
    with torch.no_grad():
        plain = model.encode(training_images(parts))
        features, _ = model(training_images(parts))
    for before, after in zip(plain, features):
        deviation, mean = torch.std_mean(before, (0, 2, 3), keepdim=True, correction=0)
        floor = FLOOR * deviation.mean()
        expected = (before - mean) / deviation.clamp_min(floor)
        torch.testing.assert_close(after, expected, rtol=2e-3, atol=2e-3)  # kept in half precision


def test_a_channel_without_deviation_stays_as_quiet_as_it_is() -> None:
    features = torch.randn(4, 3, 5, 5)
    features[:, 1] = 7.0
    standardization = Standardization([3])
    standardization.measure([[features[:1]], [features[1:]]])
    (found,) = standardization([features])
    assert (found[:, 1].abs() < 1e-4).all() and found[:, 0].std() == pytest.approx(1, rel=0.02)
    standardization.measure([[torch.zeros(2, 3, 4, 4)]])
    assert standardization([torch.zeros(1, 3, 4, 4)])[0].eq(0).all()


def test_the_file_and_every_form_keep_it(model: InvAD, parts: Path, tmp_path: Path) -> None:
    model.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.config == model.config and loaded.digest == model.digest
    images = training_images(parts)
    expected, again = model.predict(images), loaded.predict(images)
    torch.testing.assert_close(again.map, expected.map, rtol=1e-5, atol=1e-6)
    form = model.optimize("fp32", "cpu").predict(images)
    torch.testing.assert_close(form.map, expected.map, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(form.descriptor, expected.descriptor, rtol=1e-4, atol=1e-5)
    low = model.optimize("bf16", "cpu").predict(images)
    assert (low.map - expected.map).abs().max() < 0.02 * expected.map.max() + 0.01


def test_the_papers_schedule_leaves_no_trace_of_it(parts: Path) -> None:
    model = tiny()
    before, keys = model.digest, set(model.state_dict())
    assert not {"standardized", "loss"} & set(model.config.to_dict())
    model.take_up(InvAD.schedule("fast"))
    assert model.digest != before and set(model.state_dict()) > keys
    assert {"standardized", "loss"} <= set(model.config.to_dict())
    model.take_up(InvAD.schedule("paper"))
    assert model.digest == before and set(model.state_dict()) == keys


def test_the_learning_rate_warms_up_and_falls_by_a_cosine() -> None:
    schedule = InvAD.schedule("fast")
    rates = [schedule.rate_at(step, 10, 20) for step in range(200)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1, abs=0.01)
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.01 + 0.99 / 2) and rates[-1] == pytest.approx(0.01, 0.01)
    paper = [InvAD.schedule("paper").rate_at(step, 10, 34) for step in range(340)]
    drop = 10 * math.ceil(0.8 * 34)
    assert paper == [1.0] * drop + [0.1] * (340 - drop)
