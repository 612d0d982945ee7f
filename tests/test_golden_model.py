"""The numbers that the reference implementation printed (SPEC §6), reproduced."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from invad_fast import InputError, InvAD, InvADConfig, anomaly_map
from invad_fast.reference_checkpoint import our_name

VARIANTS = ("tiny_invad", "tiny_invad_lite")


class Golden:
    """One golden file: tensors by prefix, and a model with the reference's parameters."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, framework="pt") as file:
            self.meta = file.metadata()
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        read = {key: json.loads(value) for key, value in self.meta.items()}
        self.config = InvADConfig(
            encoder=None,
            channels=read["channels"],
            style_channels=read["style_channels"][0],
            latent_channels=read["latent_channels"],
            grid=read["bottleneck_size"],
            blocks=read["blocks"],
            loss_weight=read["loss_weight"],
        )
        self.lr, self.betas = read["lr"], tuple(read["adam_betas"])
        self.clip = read["clip_grad_norm"]

    def model(self) -> InvAD:
        return InvAD(self.config).load_reference(self.named("state.")).eval()

    def named(self, prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): t for k, t in self.tensors.items() if k.startswith(prefix)}

    def scales(self, prefix: str) -> list[Tensor]:
        return [self.tensors[f"{prefix}.{scale}"] for scale in range(3)]


@pytest.fixture(params=VARIANTS)
def golden(request: pytest.FixtureRequest, shared: Path) -> Golden:
    return Golden(shared / "golden" / f"{request.param}.safetensors")


def relative_error(actual: Tensor, expected: Tensor) -> float:
    expected = expected.double()
    return ((actual.double() - expected).norm() / expected.norm().clamp_min(1e-12)).item()


def test_styles_and_reconstructions(golden: Golden) -> None:
    model = golden.model()
    features = golden.scales("feature")
    with torch.no_grad():
        styles = model.fuser(features)
        reconstructions = model.reconstruct(features)
    for actual, expected in zip(styles, reversed(golden.scales("style"))):
        assert relative_error(actual, expected) < 1e-5
    for actual, expected in zip(reconstructions, golden.scales("reconstruction")):
        assert relative_error(actual, expected) < 1e-5


@pytest.mark.parametrize("sigma", [0, 4])
@pytest.mark.parametrize("mode", ["unified", "per_scale"])
def test_maps(golden: Golden, mode: str, sigma: int) -> None:
    expected = golden.tensors[f"map.{mode}.sigma{sigma}"]
    if mode == "per_scale":
        expected = expected * 3  # the reference divides by n² instead of n (SPEC §2)
    actual = anomaly_map(
        golden.scales("feature"), golden.scales("reconstruction"), (64, 64), mode, sigma
    )
    assert relative_error(actual, expected) < 1e-5


def test_three_training_steps(golden: Golden) -> None:
    from invad_fast.train import clip_gradients, make_optimizer, reconstruction_loss

    model = golden.model().train()
    optimizer = make_optimizer(model, golden.lr)
    names = {our_name(key, set(model.state_dict())): g for key, g in golden.named("grad.").items()}
    losses = []
    for step in range(3):
        features = golden.scales(f"train.{step}.feature")
        loss = reconstruction_loss(features, model.reconstruct(features), golden.config.loss_weight)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            gradients = dict(model.named_parameters())
            assert set(names) == set(gradients)
            whole = torch.cat([g.flatten() for g in names.values()]).norm()
            for name, expected in names.items():
                error = (gradients[name].grad - expected.view_as(gradients[name])).norm()
                # Biases before a batch norm have a zero gradient: only rounding is left of it.
                assert error <= 1e-4 * expected.norm() + 1e-6 * whole, name
        clip_gradients(model, golden.clip)
        optimizer.step()
        losses.append(loss.item())
    assert relative_error(torch.tensor(losses), golden.tensors["train.losses"]) < 1e-5
    undo_rounding_of_biases(model.eval(), golden)
    with torch.no_grad():
        reconstructions = model.reconstruct(golden.scales("feature"))
    for actual, expected in zip(reconstructions, golden.scales("trained.reconstruction")):
        assert relative_error(actual, expected) < 1e-3


def undo_rounding_of_biases(model: InvAD, golden: Golden) -> None:
    """Finds the aggregation biases that the reference ended with.

    A bias before a batch norm has a zero gradient; rounding leaves some 1e-9 of it, of either
    sign, and Adam with beta1 = 0 turns that into a whole step of the learning rate. In training
    the batch norm takes it out again (the losses agree to 1e-5); in eval mode, its running mean
    lagging behind, it stays, and moves the outputs by about 1 %. These few biases are therefore
    fitted, no further than three steps can take them; thousands of outputs must then agree.
    """
    biases = [a.conv.bias for a in model.fuser.aggregate]
    before = [b.detach().clone() for b in biases]
    targets, features = golden.scales("trained.reconstruction"), golden.scales("feature")
    fit = torch.optim.LBFGS(biases, max_iter=200, line_search_fn="strong_wolfe")

    def error() -> Tensor:
        fit.zero_grad()
        outputs = model.reconstruct(features)
        loss = sum(((o - t).norm() / t.norm()) ** 2 for o, t in zip(outputs, targets))
        loss.backward()
        return loss

    fit.step(error)
    # Three steps apart in either direction, seen through what the running mean has taken in.
    assert max((b - a).abs().max() for a, b in zip(before, biases)) < 6.5 * golden.lr


@pytest.mark.parametrize("preset, millions", [("invad", 95.631), ("invad-lite", 17.147)])
def test_parameter_count_and_key_list(preset: str, millions: float, shared: Path) -> None:
    with torch.device("meta"), pytest.warns(UserWarning, match="random weights"):
        model = InvAD(preset, encoder_weights=None)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 3) == millions
    name = "invad_state_keys" if preset == "invad" else "invad_lite_state_keys"
    keys = json.loads((shared / "golden" / f"{name}.json").read_text())
    with torch.device("meta"):
        released = {f"module.{key}": torch.empty(shape) for key, shape in keys.items()}
        model.load_state_dict(model.state_dict(), assign=True)
        model.load_reference({"net": released})
    ours = model.state_dict()
    mapped = {our_name(key, set(ours)) for key in keys} - {None}
    assert mapped == set(ours)


def test_checkpoint_wrappings_and_mismatch(golden: Golden, tmp_path: Path) -> None:
    state = golden.named("state.")
    expected = golden.model().state_dict()
    wrapped = {"net": {f"module.{key}": value for key, value in state.items()}}
    torch.save(wrapped, tmp_path / "net.pth")
    model = InvAD(golden.config).load_reference(tmp_path / "net.pth")
    assert all(torch.equal(model.state_dict()[name], t) for name, t in expected.items())

    del state["net_decoder.input.input"]
    state["net_decoder.extra"] = torch.zeros(1)
    with pytest.raises(InputError, match=r"net_decoder\.extra.*decoder\.constant"):
        InvAD(golden.config).load_reference(state)


def test_save_and_load(golden: Golden, tmp_path: Path) -> None:
    model = golden.model()
    model.classes, model.thresholds = ("bolt", "nut"), {"*": 0.25, "nut": 0.5}
    model.save(tmp_path / "model.safetensors")
    loaded = InvAD.load(tmp_path / "model.safetensors")
    assert loaded.config == model.config and loaded.classes == model.classes
    assert loaded.threshold("nut") == 0.5 and loaded.threshold("bolt") == 0.25
    features = golden.scales("feature")
    for a, b in zip(model.reconstruct(features), loaded.reconstruct(features)):
        assert torch.equal(a, b)
    (tmp_path / "broken.safetensors").write_bytes(b"not a model")
    with pytest.raises(InputError, match="broken.safetensors is not a readable"):
        InvAD.load(tmp_path / "broken.safetensors")
