"""The inference form computes what the trainable form computes."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from test_golden_model import VARIANTS, Golden
from torch import Tensor, nn

from invad_fast import InputError, InvAD, InvADConfig
from invad_fast.device import has_bf16
from invad_fast.errors import InputWarning
from invad_fast.inference import convolution
from invad_fast.inference.convolution import FoldedConv
from invad_fast.inference.encoder import fold_encoder
from invad_fast.prediction import Thresholds

NO_UNIT = {"bf16": torch.bfloat16, "fp16": torch.float16}

pytestmark = pytest.mark.filterwarnings("ignore:the encoder .* has random weights")


def as_if_trained(model: InvAD, seed: int = 0) -> InvAD:
    """Every parameter and statistic that starts at 0 or 1 gets a value of its own."""
    generator = torch.Generator().manual_seed(seed)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator)

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.3 * noise(parameter)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean += 0.2 * noise(module.running_mean)
                module.running_var *= 1 + 0.3 * noise(module.running_var).abs()
    return model.eval()


def small(encoder: str | None = "resnet10t", size=(64, 64), blocks=(2, 1, 2), **more) -> InvAD:
    torch.manual_seed(0)
    config = InvADConfig(encoder=encoder, input_size=size, blocks=blocks, **more)
    return as_if_trained(InvAD(config, encoder_weights=None))


def error(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()


def assert_same(model: InvAD, other, images: Tensor, tolerance: float = 1e-4) -> None:
    with torch.inference_mode():
        for actual, expected in zip(other(images), model(images)):
            assert len(actual) == len(expected)
            for a, b in zip(actual, expected):
                assert error(a, b) < tolerance


# Basic blocks, bottlenecks, deep stem with average pooling; norms that are functions; many sums.
@pytest.mark.parametrize(
    "encoder", ["resnet10t", "resnet18", "resnet26", "mobilenetv3_small_050", "hrnet_w18_small"]
)
def test_encoders(encoder: str) -> None:
    model = small(encoder, blocks=(1, 1, 1))
    assert_same(model, model.optimize("fp32", "cpu"), torch.randn(2, 3, 64, 64))


def test_an_encoder_that_cannot_be_traced_runs_as_it_is() -> None:
    """ "Same" padding looks at the image's size, which no trace knows: the rest is folded, and it
    is said."""
    model, images = small("tf_efficientnet_lite0", blocks=(1, 1, 1)), torch.randn(2, 3, 64, 64)
    with pytest.warns(InputWarning, match="correct but not sped up: its code cannot be traced"):
        optimized = model.optimize("fp32", "cpu")
    assert_same(model, optimized, images)
    ours, expected = optimized.predict(images), model.predict(images)
    torch.testing.assert_close(ours.map, expected.map, rtol=1e-4, atol=1e-5)


def test_an_encoder_is_folded_where_it_matches() -> None:
    target = convolution.Target(torch.device("cpu"), torch.float32)
    folded = fold_encoder(small("resnet18").encoder, target).net
    modules = [node for node in folded.graph.nodes if node.op == "call_module"]
    kinds = Counter(type(folded.get_submodule(node.target)) for node in modules)
    # stem, two stages of two blocks before whose sums two convolutions and, but for the first
    # stage, a shortcut's stand
    assert kinds == {convolution.FoldedConv: 1 + 3 * 4 + 2, nn.MaxPool2d: 1}
    assert len(folded.graph.nodes) == len(modules) + 2  # input and output: no sums, no leftovers


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_sizes_and_batches(size: tuple[int, int], fused: bool, monkeypatch) -> None:
    """With oneDNN's epilogues, and the way other devices compute."""
    if not fused:
        monkeypatch.setattr(convolution.Target, "fused", False)
    model = small(size=size)
    optimized = model.optimize("fp32", "cpu")
    for batch in (1, 3, 8, 1):
        images = torch.randn(batch, 3, *size)
        assert_same(model, optimized, images)
        ours, expected = optimized.predict(images), model.predict(images)
        torch.testing.assert_close(ours.map, expected.map, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.score, expected.score, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_golden_reconstructions(name: str, shared: Path) -> None:
    golden = Golden(shared / "golden" / f"{name}.safetensors")
    features = golden.scales("feature")
    optimized = golden.model().optimize("fp32", "cpu")
    for actual, expected in zip(
        optimized.reconstruct(features), golden.scales("reconstruction"), strict=True
    ):
        assert error(actual, expected) < 1e-5


def test_scales_of_one_stride_and_other_widths() -> None:
    """A finer scale that does not upsample, in which a plain convolution changes the width."""
    config = InvADConfig(
        encoder=None, channels=(24, 40, 72), strides=(4, 8, 8), grid=(3, 5), blocks=(1, 2, 2)
    )
    torch.manual_seed(0)
    model = as_if_trained(InvAD(config))
    features = [torch.randn(2, c, 24 // s, 40 // s) for c, s in zip((24, 40, 72), (4, 8, 8))]
    with torch.no_grad():
        expected = model.reconstruct(features)
    for a, b in zip(model.optimize("fp32", "cpu").reconstruct(features), expected, strict=True):
        assert error(a, b) < 1e-4


@pytest.mark.parametrize("precision, tolerance", [("bf16", 2e-2), ("fp16", 3e-3)])
def test_half_precision(precision: str, tolerance: float) -> None:
    model, images = small(), torch.randn(2, 3, 64, 64)
    optimized = model.optimize(precision, "cpu")
    assert_same(model, optimized, images, tolerance)
    prediction = optimized.predict(images)
    assert prediction.map.dtype == prediction.score.dtype == torch.float32


@pytest.mark.parametrize("precision, tolerance", [("bf16", 2e-2), ("fp16", 3e-3)])
def test_without_a_unit_the_weights_are_rounded_and_the_arithmetic_is_32_bits(
    precision: str, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invad_fast.inference.model.has_unit", lambda _, name: name not in NO_UNIT)
    model, images = small(), torch.randn(2, 3, 64, 64)
    with pytest.warns(InputWarning, match=f"no unit for {precision}: .* no faster than in fp32"):
        optimized = model.optimize(precision, "cpu")
    assert optimized.score_rule.precision == f"{precision}-rounded"
    assert optimized.target.dtype == torch.float32
    assert_same(model, optimized, images, tolerance)
    exact = model.optimize("fp32", "cpu").predict(images).map
    assert not torch.equal(optimized.predict(images).map, exact)
    for conv in (m for m in optimized.modules() if isinstance(m, FoldedConv) and not m.winograd):
        assert torch.equal(conv.weight, conv.weight.to(NO_UNIT[precision]).float())


def test_thresholds_of_rounded_weights_bring_that_form_back_where_there_is_a_unit() -> None:
    model = small()
    rule = model.optimize("bf16-rounded", "cpu").score_rule
    model.thresholds = Thresholds({"*": 0.5}, rule)
    assert model.optimize().score_rule == rule
    assert model.optimize().threshold(None) == 0.5
    assert model.optimize("fp32").threshold(None) is None


@pytest.mark.parametrize("limit, has", [("AVX-512 with BF16", True), ("AVX-512", False)])
def test_a_processor_that_is_held_to_less_has_no_unit(
    limit: str, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr("invad_fast.ops.native_libraries.cpu_capability", lambda: limit)
    assert has_bf16(torch.device("cpu")) == has
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    assert not has_bf16(torch.device("cpu"))


def test_it_is_a_copy_with_the_models_thresholds() -> None:
    model, images = small(), torch.randn(1, 3, 64, 64)
    model.classes, model.thresholds = ("bolt",), {"*": 0.5, "bolt": 0.25}
    optimized = model.optimize("fp32", "cpu")
    before = optimized.predict(images, "bolt")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.thresholds["bolt"] = 0.75
    after = optimized.predict(images, "bolt")
    assert torch.equal(before.map, after.map)
    assert before.thresholds == after.thresholds == (0.25,) and optimized.threshold("nut") == 0.5


def test_bad_requests_are_refused() -> None:
    model = small()
    with pytest.raises(InputError, match="no precision 'int4': choose auto, fp32, bf16, fp16"):
        model.optimize("int4")
    with pytest.raises(InputError, match="no device 'abacus'"):
        model.optimize(device="abacus")
    with pytest.raises(InputError, match="as float32 N×3×64×64"):
        model.optimize("fp32", "cpu").predict(torch.zeros(1, 3, 32, 32))
