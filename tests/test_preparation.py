"""How pixels become an encoder's input: mean, deviation and resizer follow the model everywhere."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import sample_sets
import torch
from PIL import Image
from refusals import one_line

from invad_fast import InvAD, InvADConfig, load_model, predict_files
from invad_fast.config import FeatureConfig
from invad_fast.data import ImageLoader, ImageTensors, build_cache, load_image, load_tensor
from invad_fast.data.images import decoding
from invad_fast.data.preparation import IMAGENET, preparation_for, preparation_of
from invad_fast.inspection import preprocess as module
from invad_fast.model_file import checked_config, new_header
from invad_fast.training.feature_rows import encoder_key

pytestmark = [
    pytest.mark.filterwarnings("ignore:the encoder .* has random weights"),
    pytest.mark.filterwarnings("ignore:the encoder runs as timm wrote it"),
]

LITE0 = "tf_efficientnet_lite0"
HALF = preparation_for(LITE0)
SIZE = (32, 48)
RNG = np.random.default_rng(0)


def lite0(**changes) -> InvAD:
    torch.manual_seed(0)
    config = InvADConfig(encoder=LITE0, input_size=SIZE, blocks=(1, 1, 1), **changes)
    return InvAD(config, encoder_weights=None).eval()


def noise(path: Path, height: int = 70, width: int = 90) -> np.ndarray:
    pixels = RNG.integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_the_encoder_says_what_it_takes() -> None:
    import timm

    for name in (LITE0, "tf_efficientnet_lite1", "tf_efficientnet_lite2", f"{LITE0}.in1k"):
        theirs, ours = timm.get_pretrained_cfg(name), InvADConfig(encoder=name).preparation
        given = (theirs.mean, theirs.std, theirs.interpolation)
        assert dataclasses.astuple(ours) == given
    for name in ("resnet18", "efficientnet_lite0", None):
        assert preparation_for(name) == IMAGENET == preparation_of(object())
    chosen = InvADConfig(encoder=LITE0, pixel_mean=(0.1, 0.2, 0.3), interpolation="bilinear")
    assert chosen.preparation == dataclasses.replace(
        HALF, mean=(0.1, 0.2, 0.3), interpolation="bilinear"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"pixel_mean": (0.5, 0.5)}, {"pixel_mean": (0.5, 0.5, 127.0)}, {"pixel_mean": "grey"},
        {"pixel_deviation": (0.5, 0.5, 0.0)}, {"pixel_deviation": (0.5, 0.5, float("nan"))},
        {"interpolation": "lanczos"},
    ],
)  # fmt: skip
def test_what_is_none_is_one_line(fields: dict[str, object]) -> None:
    one_line(next(iter(fields)), lambda: InvADConfig(encoder="resnet18", **fields))


def test_what_was_made_before_stays_what_it_was() -> None:
    """No file, digest or cache of ImageNet's preparation says anything of it."""
    told = InvADConfig(encoder="resnet18").to_dict()
    assert not {"pixel_mean", "pixel_deviation", "interpolation"} & set(told)
    # A model on lite0 from before there was a choice was trained with ImageNet's.
    old = InvADConfig(encoder=LITE0).to_dict()
    for name in ("pixel_mean", "pixel_deviation", "interpolation"):
        del old[name]
    fields = dict(method="invad", classes=(), thresholds={}, digest="x")
    header = new_header(config=old, **fields)
    config = checked_config(Path("x"), header, InvADConfig)
    assert config.preparation == IMAGENET and config.to_dict() == old
    for each in (InvADConfig(encoder=LITE0), config):
        assert InvADConfig.from_dict(json.loads(json.dumps(each.to_dict()))) == each
    assert isinstance(config, FeatureConfig)
    assert decoding() == decoding(interpolation="bilinear") != decoding(interpolation="bicubic")


@pytest.mark.parametrize("size", [(32, 48), (70, 90), (200, 91), (1, 1), (140, 30)])
def test_bicubic_is_pils(size: tuple[int, int], tmp_path: Path, monkeypatch) -> None:
    """Of files and of frames, compiled and not: PIL's filter, rows first, to the byte."""
    pixels = noise(tmp_path / "x.png")
    wanted = Image.fromarray(pixels)
    for shape in ((size[1], 70), size[::-1]):
        wanted = wanted.resize(shape, Image.Resampling.BICUBIC)
    found = load_image(tmp_path / "x.png", size, interpolation="bicubic")
    assert (found == np.asarray(wanted)).all()
    # A cubic overshoots: black and white stay so, and the bilinear weights are not those kept.
    edges = np.where(RNG.random((70, 90, 1)) < 0.5, np.uint8(0), np.uint8(255)).repeat(3, 2)
    for frame in (pixels, edges):
        module.preprocess(frame, "RGB8", size)
        cubic = module.preprocess(frame, "RGB8", size, interpolation="bicubic")
        with monkeypatch.context() as patched:
            patched.setattr(module, "native_module", lambda: None)
            plain = module.preprocess(frame, "RGB8", size, interpolation="bicubic")
        assert (cubic == plain).all()
    assert (module.preprocess(pixels, "RGB8", size, interpolation="bicubic") == found).all()


def test_tensors_batches_and_caches(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file in files:
        noise(file)
    images = ImageTensors(files, SIZE, preparation=HALF)
    (batch,) = ImageLoader(images, 3, workers=0)
    for i, file in enumerate(files):
        pixels = load_image(file, SIZE, interpolation="bicubic")
        wanted = torch.from_numpy(pixels.transpose(2, 0, 1) / np.float32(255) * 2 - 1)
        for found in (images[i][0], batch.images[i], load_tensor(file, SIZE, preparation=HALF)):
            torch.testing.assert_close(found, wanted)


def test_caches_of_two_resizers_are_two(tmp_path: Path) -> None:
    from invad_fast.data import read_dataset

    parts = read_dataset(sample_sets.mvtec(tmp_path / "set", train=2)).train
    usual = build_cache(parts, SIZE, tmp_path / "c")
    cubic = build_cache(parts, SIZE, tmp_path / "c", interpolation="bicubic")
    assert usual.file != cubic.file
    assert np.array_equal(cubic.get(0), load_image(parts[0].image, SIZE, interpolation="bicubic"))
    with pytest.raises(ValueError, match="another resizer"):
        ImageTensors(parts, SIZE, usual, preparation=HALF)
    model = lite0()
    other = InvAD(dataclasses.replace(model.config, interpolation="bilinear"), None)
    other.load_state_dict(model.state_dict())
    brighter = InvAD(dataclasses.replace(model.config, pixel_mean=(0.4, 0.5, 0.5)), None)
    brighter.load_state_dict(model.state_dict())
    assert len({encoder_key(m, "fp32") for m in (model, other, brighter)}) == 3


def test_a_model_takes_what_its_encoder_was_trained_with(tmp_path: Path) -> None:
    """Bytes, tensors and files alike, in every form, saved and loaded; the rule has the resizer."""
    noise(tmp_path / "part.png")
    model = lite0()
    model.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.preparation == HALF and loaded.digest == model.digest
    assert model.score_rule.resize == "bicubic, antialiased"
    model.thresholds = {"*": 0.5}
    fast = model.optimize("fp32", "cpu")
    assert fast.preparation == HALF and fast.score_rule.interpolation == "bicubic"
    pixels = load_image(tmp_path / "part.png", SIZE, interpolation="bicubic")
    planes = load_tensor(tmp_path / "part.png", SIZE, preparation=HALF)[None]
    expected = loaded.predict(planes)
    for form in (model, fast):
        for given in (planes, torch.from_numpy(pixels)[None]):
            found = form.predict(given)
            torch.testing.assert_close(found.map, expected.map, rtol=1e-4, atol=1e-5)
    (row,) = predict_files(fast, [tmp_path / "part.png"], workers=0)
    assert row["score"] == pytest.approx(expected.score.item(), rel=1e-4)
    # Thresholds of pictures resized otherwise are none.
    usual = dataclasses.replace(fast.score_rule, resize="bilinear, antialiased")
    assert "resize bicubic" in str(fast.score_rule.difference(usual))
