"""The Triton kernels against the reference in float64, in Triton's interpreter.

``test_triton.py`` runs this file with TRITON_INTERPRET=1, which must be set before Triton is
imported: the kernels then run on the CPU, a program at a time. Few and small samples, as a program
takes some 10 ms; tiles that hang over every edge, and samples of several tiles, are among them.
"""

import pytest
import torch
from op_arguments import assert_same, cases, function, outcome
from op_cases import DTYPES, LAYOUTS, VALUES, Variant, assert_close, available, samples
from ops import CALLS, VARIANTS

from invad_fast.kernels import sample_moments
from invad_fast.ops import style_modulation, use_implementation
from invad_fast.ops.dispatch import ops

SHAPES = [(2, 3, 5, 7), (1, 1, 1, 1), (0, 4, 3, 3), (1, 40, 17, 9)]
VARIANT = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


def check(variant: Variant, shape: tuple[int, ...], dtype: torch.dtype, gradients: bool, **kinds):
    checked = 0
    for what, sample in samples(variant, shape, dtype, **kinds):
        result = sample.result("triton")
        assert result.dtype == dtype
        assert_close(result, sample.expected(), sample.tolerance, what)
        if gradients:
            for got, exact in zip(sample.gradients("triton"), sample.expected_gradients()):
                assert_close(got, exact, 4 * sample.tolerance, what, 1.0)
        checked += 1
    assert checked or min(shape[2:]) < variant.smallest


@VARIANT
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(variant: Variant, shape: tuple[int, ...]) -> None:
    check(
        variant, shape, torch.float32, True,
        layouts=("channels first", "channels last"), values=("shifted",),
    )  # fmt: skip


@VARIANT
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit(variant: Variant, dtype: torch.dtype) -> None:
    check(variant, (2, 3, 5, 7), dtype, True, layouts=("channels last",), values=("usual",))


@VARIANT
@pytest.mark.parametrize("layout", set(LAYOUTS) - {"channels first", "channels last"})
def test_layouts(variant: Variant, layout: str) -> None:
    check(variant, (2, 3, 4, 5), torch.float32, True, layouts=(layout,), values=("usual",))


@VARIANT
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", set(VALUES) - {"usual", "shifted"})
def test_magnitudes(variant: Variant, kind: str, dtype: torch.dtype) -> None:
    check(variant, (2, 3, 4, 5), dtype, False, layouts=("channels first",), values=(kind,))


@VARIANT
def test_not_finite(variant: Variant) -> None:
    layouts = ("channels first", "channels last")
    shape = (3, 4, 5, 6)
    for _, sample in samples(variant, shape, torch.float32, layouts=layouts, values=("usual",)):
        x = sample.arguments[0]
        x[0, 1, 2, 3], x[1, 0, 4, 5] = float("nan"), float("inf")
        result, expected = sample.result("triton"), sample.expected()
        assert torch.equal(result.isnan(), expected.isnan())
        assert torch.equal(result.isinf(), expected.isinf())
        assert result[2].isfinite().all() and expected[0].isnan().any()


NORMALISING = [v for v in VARIANTS.values() if "modul" in v.op]


@pytest.mark.parametrize("variant", NORMALISING[:3], ids=["style given", "alone", "fused"])
def test_parts_of_several_tiles(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in samples of more than 256 tiles; the last part is shorter, its last tiles are empty."""
    monkeypatch.setattr(sample_moments, "MOST_PARTS", 4)
    shape = (1, 17, 9, 33)
    cut = sample_moments.part_moments(torch.zeros(shape))[2]
    assert (cut.parts, cut.steps) == (4, 3)
    check(
        variant, shape, torch.float32, variant.op == "normalize_modulate",
        layouts=("channels first", "channels last"), values=("shifted",),
    )  # fmt: skip


def test_many_steps_of_a_channels_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    from invad_fast.kernels import bias_leaky_relu

    monkeypatch.setattr(bias_leaky_relu, "ENOUGH_PROGRAMS", 2)
    check(VARIANTS["bias_leaky_relu"], (2, 5, 33, 40), torch.float32, True, values=("usual",))


def test_wide_styles_and_styles_of_another_type() -> None:
    torch.manual_seed(0)
    x, style = torch.randn(1, 20, 3, 4), torch.randn(1, 70, 3, 4)
    weight, bias = torch.randn(40, 70, 3, 3) / 25, torch.randn(40)
    expected = style_modulation(x.double(), style.double(), weight.double(), bias.double())
    with use_implementation("triton", "style_modulation"):
        assert_close(style_modulation(x, style.double(), weight, bias), expected, 2e-5)
        kept = weight.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
        assert_close(style_modulation(x, style, kept, bias), expected, 2e-5)


@pytest.mark.parametrize("variant", NORMALISING[:3], ids=["style given", "alone", "fused"])
def test_equal_bits_whatever_the_batch(variant: Variant) -> None:
    _, sample = next(samples(variant, (3, 20, 9, 8), torch.float32))
    whole = sample.result("triton")
    assert torch.equal(whole, sample.result("triton"))
    x, *others = sample.arguments
    one = [o[1:2] if isinstance(o, torch.Tensor) and len(o) == 3 else o for o in others]
    with use_implementation("triton"):
        assert torch.equal(variant.function(x[1:2], *one), whole[1:2])


@pytest.mark.parametrize("variant", NORMALISING, ids=lambda v: v.op)
def test_largest_halves(variant: Variant) -> None:
    """Squares and sums of numbers near float16's largest, 65504, are far beyond it."""
    _, sample = next(samples(variant, (1, 8, 16, 16), torch.float16))
    sample.arguments[0].copy_(torch.randn(1, 8, 16, 16).sign() * 3e4 + 3e4)
    assert sample.arguments[0].max() == 6e4
    assert_close(sample.result("triton"), sample.expected(), sample.tolerance)


@pytest.mark.parametrize("op", sorted({v.op for v in VARIANTS.values()}))
def test_opcheck(op: str) -> None:
    """Schema and fakes; autograd and tracing, which test_ops.py checks, do not see the kernels."""
    for name in (op, f"{op}_backward"):
        if name in ops():
            with use_implementation("triton", op):
                for sample in CALLS[name]():
                    function = getattr(torch.ops.invad_fast, name).default
                    checks = ("test_schema", "test_faketensor")
                    torch.library.opcheck(function, sample, test_utils=checks)


@pytest.mark.parametrize("op", [op for op in ops() if "triton" in available(op)])
def test_refuses_as_the_reference(op: str) -> None:
    for case in cases(op):
        with use_implementation("reference"):
            expected = outcome(function(op), case.arguments)
        if isinstance(expected, str):
            with use_implementation("triton", op):
                assert_same(outcome(function(op), case.arguments), expected, case)


def test_float64_takes_the_reference() -> None:
    _, sample = next(samples(VARIANTS["style_modulation"], (1, 2, 3, 3), torch.float32))
    x, *others = (a.double() for a in sample.arguments)
    with use_implementation("triton"):
        result = style_modulation(x, *others)
    assert torch.equal(result, sample.expected())


def test_all_ops_have_it() -> None:
    assert all("triton" in available(variant.op) for variant in VARIANTS.values())
