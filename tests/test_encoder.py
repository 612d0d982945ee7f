"""Encoders of every kind of timm: layouts, sizes, weights by file, and transformers end to end."""

from pathlib import Path

import pytest
import sample_sets
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import checkpoint_filter_fn

from invad_fast import InputError, InvADConfig, create_model, load_model
from invad_fast.encoder import Encoder
from invad_fast.evaluation.evaluate import evaluate_model

CONVOLUTIONAL = ("resnet10t", "convnext_atto", "efficientnet_lite0", "regnetx_002")
# Of the names that timm knows the smallest; patch size, and an image size other than its own.
TRANSFORMERS = (
    ("vit_tiny_patch16_224", 16, (64, 96)),
    ("deit_tiny_distilled_patch16_224", 16, 64),
    ("vit_small_patch14_dinov2", 14, 56),
    ("vit_small_patch14_reg4_dinov2", 14, (56, 28)),
    ("vit_small_patch16_dinov3", 16, 64),
)


def saved_network(name: str, folder: Path) -> dict[str, torch.Tensor]:
    """A whole network's random weights in a file named after it."""
    torch.manual_seed(1)
    state = timm.create_model(name, pretrained=False).state_dict()
    save_file(state, folder / f"{name}.safetensors")
    return state


def encoder_of(config: InvADConfig, weights: Path | None = None) -> Encoder:
    return Encoder(config.encoder, config.out_indices, config.input_size, weights)


def check_features(encoder: Encoder, config: InvADConfig, reference: torch.nn.Module) -> None:
    images = torch.randn(1, 3, *config.input_size)
    with torch.no_grad():
        expected = reference.eval().forward_intermediates(
            images, indices=list(config.out_indices), intermediates_only=True
        )
    features = encoder(images)
    assert [tuple(f.shape[1:]) for f in features] == config.feature_shapes
    for feature, other in zip(features, expected):
        torch.testing.assert_close(feature, other)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_a_file_of_the_whole_network_fits(name: str, tmp_path: Path) -> None:
    """Classifier and later stages are ignored; stages that timm renames are found."""
    state = saved_network(name, tmp_path)
    config = InvADConfig(encoder=name, input_size=64)
    reference = timm.create_model(name, pretrained=False)
    reference.load_state_dict(state)
    check_features(encoder_of(config, tmp_path), config, reference)


@pytest.mark.parametrize("name, patch, size", TRANSFORMERS)
def test_a_transformers_tokens_become_maps(name: str, patch: int, size, tmp_path: Path) -> None:
    """Prefix tokens are dropped; positions are resampled to the image size as timm does it."""
    state = saved_network(name, tmp_path)
    config = InvADConfig(encoder=name, out_indices=(0, 1, 2), input_size=size)
    assert config.strides == (patch,) * 3
    reference = timm.create_model(name, pretrained=False, img_size=config.input_size)
    reference.load_state_dict(checkpoint_filter_fn(state, reference))
    check_features(encoder_of(config, tmp_path / f"{name}.safetensors"), config, reference)


def test_channels_last_features_are_turned() -> None:
    config = InvADConfig(
        encoder="swin_tiny_patch4_window7_224", out_indices=(0, 1), input_size=56, blocks=(1, 1)
    )
    assert config.strides == (4, 8)
    features = encoder_of(config)(torch.randn(1, 3, 56, 56))
    assert [tuple(f.shape[1:]) for f in features] == config.feature_shapes == [
        (96, 14, 14), (192, 7, 7),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "method, name, size",
    [
        ("invad-lite", "vit_tiny_patch16_224", 32),
        ("rd", "vit_tiny_patch16_224", 32),
        ("invad-lite", "vit_small_patch14_reg4_dinov2", 28),
    ],
)
def test_transformers_end_to_end(method: str, name: str, size: int, tmp_path: Path) -> None:
    """Build, train two steps, evaluate, save, load: all three scales have one stride."""
    root = sample_sets.mvtec(tmp_path / "set", train=2)
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="random weights"):
        model = create_model(
            method, encoder=name, encoder_weights=None, out_indices=(0, 1, 2), input_size=size,
            blocks=(1, 1, 1),
        )  # fmt: skip
    result = model.fit(
        root, run=tmp_path / "run", epochs=1, batch_size=2, workers=0, show_progress=False
    )
    assert result.losses[0] > 0
    loaded = load_model(tmp_path / "run" / "model.safetensors")
    images = torch.randn(2, 3, size, size)
    torch.testing.assert_close(loaded.predict(images).map, model.predict(images).map)
    figures = evaluate_model(loaded, root, workers=0, show_progress=False).mean
    assert 0 <= figures["image_auroc"] <= 1 and 0 <= figures["pixel_auroc"] <= 1


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    def fails(match: str, weights: Path | None = None, **fields) -> None:
        with pytest.raises(InputError, match=match) as caught:
            encoder_of(InvADConfig(**fields), weights)
        assert "\n" not in str(caught.value)

    fails("timm has no model named 'resnet19': did you mean .*resnet18", encoder="resnet19")
    fails("no model named 'vit_tiny_patch17_224': did you mean vit_tiny_patch16_224",
          encoder="vit_tiny_patch17_224")  # fmt: skip
    fails(r"no model named '/etc/x': timm\.list_models\(\) lists", encoder="/etc/x")
    fails("no model named 'hf-hub:timm/resnet18'", encoder="hf-hub:timm/resnet18.a1_in1k")
    fails("timm's resnet18 has no weights 'a1_in1l': did you mean 'a1_in1k'",
          encoder="resnet18.a1_in1l")  # fmt: skip
    told = r"resnet18 offers no features at out_indices \(1, 7\): it has 5, 0 to 4"
    fails(told, encoder="resnet18", out_indices=(1, 7))
    fails("levit_128 offers no features at out_indices", encoder="levit_128")
    fails("not divisible by the stride 14", encoder="vit_small_patch14_dinov2", input_size=64)
    saved_network("vit_tiny_patch16_224", tmp_path)
    fails(
        "does not fit the encoder vit_small_patch14_dinov2: it lacks model.blocks.0.ls1.gamma",
        tmp_path / "vit_tiny_patch16_224.safetensors",
        encoder="vit_small_patch14_dinov2",
        input_size=56,
    )
    # The other way round nothing is missing: the shapes tell.
    saved_network("vit_small_patch14_dinov2", tmp_path)
    fails(
        "does not fit the encoder vit_tiny_patch16_224: it has other shapes at model.cls_token",
        tmp_path / "vit_small_patch14_dinov2.safetensors",
        encoder="vit_tiny_patch16_224",
        input_size=64,
    )
