"""RD: the paper's architecture and loss, and the whole path that it shares with InvAD."""

import json
from pathlib import Path

import numpy as np
import pytest
import sample_sets
import torch
from torch.nn import functional as F

from invad_fast import InputError, InvAD, RDConfig, ReverseDistillation, create_model, load_model
from invad_fast.anomaly_map import anomaly_map
from invad_fast.evaluation.evaluate import evaluate_model


def tiny(encoder: str = "resnet10t", size: int = 64) -> ReverseDistillation:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="random weights"):
        return ReverseDistillation(encoder=encoder, input_size=size, encoder_weights=None)


@pytest.mark.parametrize(
    "encoder, blocks, squeezing, inner",
    [
        ("wide_resnet50_2", (3, 6, 4), 3, 0.5),
        ("resnet50", (3, 6, 4), 3, 0.25),
        ("resnet34", (3, 6, 4), 3, 0.0),
        ("resnet10t", (1, 1, 1), 1, 0.0),
    ],
)
def test_the_student_mirrors_a_resnet(encoder, blocks, squeezing, inner) -> None:
    config = RDConfig(encoder=encoder)
    assert config.blocks == blocks and config.embedding_blocks == squeezing
    assert config.inner_ratio == inner and config.rectified


def test_the_papers_model_on_the_meta_device() -> None:
    """The embedding is the fourth stage's size at stride 32, the student undoes three stages."""
    with torch.device("meta"):
        model = ReverseDistillation.__new__(ReverseDistillation)
        like_wide_resnet = {"blocks": (3, 6, 4), "embedding_blocks": 3, "inner_ratio": 0.5}
        channels = (256, 512, 1024)
        config = RDConfig(encoder=None, channels=channels, rectified=True, **like_wide_resnet)
        model._build(config, None)
        features = [torch.empty(1, c, s, s) for c, s in ((256, 64), (512, 32), (1024, 16))]
        assert model.embedding(features).shape == (1, 2048, 8, 8)
        assert [r.shape for r in model.reconstruct(features)] == [f.shape for f in features]


def test_loss_is_the_cosine_distance_of_every_position() -> None:
    model = tiny()
    features = [torch.randn(2, c, s, s).abs() for c, s in ((64, 16), (128, 8), (256, 4))]
    made = model.reconstruct(features)
    expected = 0.0
    for f, r in zip(features, made):
        f, r = f.detach().numpy(), r.detach().numpy()
        norms = np.linalg.norm(f, axis=1) * np.linalg.norm(r, axis=1)
        expected += (1 - (f * r).sum(1) / norms).mean()
    assert model.loss(features, made).item() == pytest.approx(expected, rel=1e-5)
    assert model.loss(features, [3 * f for f in features]).item() == pytest.approx(0, abs=1e-5)
    assert all(r.min() >= 0 for r in made)  # as the features of a ResNet


def test_its_maps_are_those_of_single_scales() -> None:
    model = tiny().eval()
    images = torch.randn(2, 3, 64, 64)
    features, made = model(images)
    found = model.predict(images, sigma=0).map
    expected = torch.zeros(2, 64, 64)
    for f, r in zip(features, made):
        distance = 1 - F.cosine_similarity(f, r)
        resized = F.interpolate(distance[:, None], size=64, mode="bilinear", align_corners=True)
        expected += resized[:, 0] / 3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    unified = anomaly_map(features, made, (64, 64), "unified", 0)
    torch.testing.assert_close(model.predict(images, mode="unified", sigma=0).map, unified)


def test_trains_evaluates_saves_and_resumes_as_invad_does(tmp_path: Path) -> None:
    root = sample_sets.mvtec(tmp_path / "set")
    model = tiny(size=32)
    frozen = {n: p.clone() for n, p in model.encoder.named_parameters()}
    options = {"batch_size": 4, "workers": 0, "show_progress": False, "epochs": 6}
    result = model.fit(root, run=tmp_path / "run", **options)
    assert result.losses[-1] < result.losses[0]
    assert all(torch.equal(p, frozen[n]) for n, p in model.encoder.named_parameters())
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["training"]["learning_rate"] == 0.005
    assert model.classes == ("bolt", "nut") and model.threshold("nut") > 0

    path = tmp_path / "run" / "model.safetensors"
    loaded = load_model(path)
    assert isinstance(loaded, ReverseDistillation) and loaded.config == model.config
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded.predict(images).map, model.predict(images).map)
    with pytest.raises(InputError, match=r"holds a model of the method 'rd', not 'invad'"):
        InvAD.load(path)
    figures = evaluate_model(loaded, root, workers=0, show_progress=False).mean
    assert 0 <= figures["image_auroc"] <= 1 and 0 <= figures["aupro"] <= 1

    again = tiny(size=32).fit(root, run=tmp_path / "run", resume=True, **options)
    assert again.losses == result.losses


def test_the_papers_schedule() -> None:
    schedule = ReverseDistillation.schedule("paper")
    assert (schedule.epochs, schedule.betas, schedule.clip) == (200, (0.5, 0.999), None)
    assert schedule.learning_rate_of(8) == schedule.learning_rate_of(16) == 0.005


def test_mistakes_are_one_line() -> None:
    with pytest.raises(InputError, match="odd side: choose an input size divisible by 32, not 48x"):
        RDConfig(encoder="resnet18", input_size=48)
    with pytest.raises(InputError, match="no method 'rdd': did you mean 'rd'"):
        create_model("rdd")
