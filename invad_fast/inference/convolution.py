"""Convolutions in their final form: scales, batch norms and gains are in the weights.

On a CPU oneDNN's convolutions with an epilogue add the bias, the activation and another map in the
pass that writes the result; elsewhere the convolution is torch's and the epilogue this package's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from invad_fast.ops import bias_leaky_relu, blur_upsample, native_libraries
from invad_fast.ops.bias_leaky_relu import GAIN, SLOPE
from invad_fast.ops.winograd_conv import LANES, suits_winograd, winograd_conv, winograd_weight

Pair = tuple[int, int]


@dataclass(frozen=True)
class Target:
    """Where, and in which arithmetic, the inference form runs.

    Attributes:
        rounded: the weights are rounded to this type, which the device has no unit for, and
            ``dtype`` is float32.
    """

    device: torch.device
    dtype: torch.dtype
    rounded: torch.dtype | None = None

    @property
    def fused(self) -> bool:
        """Whether oneDNN's convolutions with an epilogue are there.

        They are what ``torch.compile`` lowers a frozen convolution to; half precision needs a
        processor that multiplies it.
        """
        if self.device.type != "cpu" or not torch.backends.mkldnn.is_available():
            return False
        if self.dtype == torch.bfloat16:
            return torch.ops.mkldnn._is_mkldnn_bf16_supported()
        if self.dtype == torch.float16:
            return torch.ops.mkldnn._is_mkldnn_fp16_supported()
        return self.dtype == torch.float32

    def winograd_factors(self, weight: Tensor) -> torch.dtype | None:
        """The type in which `winograd_conv` multiplies filters O×I×k×k, where it is the faster one.

        It has a quarter of the multiplications (measured, AVX-512). Bfloat16 factors are for
        processors that multiply them, and for so many channels that their rounding averages out:
        scores then err no more than with direct convolutions, with 64 channels a quarter more.
        """
        if not self.fused or not suits_winograd(weight) or not native_libraries.has_avx512():
            return None
        channels = min(weight.shape[:2])
        if self.dtype == torch.bfloat16 and native_libraries.has_bf16() and channels >= 128:
            return torch.bfloat16
        least = {torch.float32: LANES, torch.bfloat16: 64}.get(self.dtype)
        return None if least is None or channels < least else torch.float32

    def weight(self, tensor: Tensor) -> Tensor:
        """What a folded weight is worth here, on its way to `place`."""
        return tensor if self.rounded is None else tensor.to(self.rounded).to(tensor.dtype)

    def place(self, tensor: Tensor) -> Tensor:
        """The tensor as it is used; folding is done before, in float64."""
        # Only where there is something to detach: torch.compile cannot do it in inference mode.
        tensor = tensor.detach() if tensor.requires_grad else tensor
        tensor = tensor.to(self.device, self.dtype)
        if tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor


class FoldedConv(nn.Module):
    """y = activation(conv(x) + bias + plus), the activation none or a leaky ReLU.

    Args:
        weight: O×I/groups×k×k.
        bias: O, or None.
        target: where it runs.
        slope: of the leaky ReLU; 0 for a ReLU, None for no activation.
        stride, padding, dilation: (vertical, horizontal); half the kernel is padded by default.
        groups: as in torch.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        target: Target,
        *,
        slope: float | None = None,
        stride: Pair = (1, 1),
        padding: Pair | None = None,
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> None:
        super().__init__()
        half = (weight.shape[2] // 2, weight.shape[3] // 2)
        self.form = (half if padding is None else padding, stride, dilation, groups)
        self.fused, self.slope = target.fused, slope
        plain = self.form == (half, (1, 1), (1, 1), 1)
        weight = target.weight(weight.detach())
        factors = target.winograd_factors(weight) if plain else None
        self.winograd = factors is not None
        if factors is not None:
            bias = weight.new_zeros(weight.shape[0]) if bias is None else bias.detach()
            self.register_buffer("weight", winograd_weight(weight, factors))
            self.register_buffer("bias", bias.float())
        else:
            self.register_buffer("weight", target.place(weight))
            self.register_buffer("bias", None if bias is None else target.place(bias))
        self._packed: Tensor | None = None

    def forward(self, x: Tensor, plus: Tensor | None = None, in_place: bool = False) -> Tensor:
        """N×I×H×W → N×O×H'×W'.

        Args:
            plus: shaped like the result; ``in_place`` allows it to be overwritten.
        """
        if self.winograd:
            assert self.bias is not None
            slope = 1.0 if self.slope is None else self.slope
            return winograd_conv(x, self.weight, self.bias, plus, slope)
        if self.fused:
            return self._fused(x, plus, in_place)
        padding, stride, dilation, groups = self.form
        y = F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        if plus is not None:
            y += plus
        return y if self.slope is None else F.leaky_relu_(y, self.slope)

    def _fused(self, x: Tensor, plus: Tensor | None, in_place: bool) -> Tensor:
        ops = torch.ops.mkldnn
        if self._packed is None:
            # In oneDNN's layout for such images; with others oneDNN takes it and may be slower.
            self._packed = ops._reorder_convolution_weight(self.weight, *self.form, x.shape)
        conv = (self._packed, self.bias, *self.form)
        name, numbers = _epilogue(self.slope)
        if plus is None:
            return ops._convolution_pointwise(x, *conv, name or "none", numbers, "")
        last = ("add", 1.0, name, numbers, "")
        if in_place:
            return ops._convolution_pointwise_.binary(plus, x, *conv, *last)
        return ops._convolution_pointwise.binary(x, plus, *conv, *last)


def _epilogue(slope: float | None) -> tuple[str | None, list[float]]:
    """oneDNN's name and numbers of an activation."""
    if slope is None:
        return None, []
    return ("leaky_relu", [slope]) if slope else ("relu", [])


class ActivatedConv(nn.Module):
    """leaky_relu(conv(x) + bias, 0.2)·√2: method.md §1's ConvLayer, its weight scaled already.

    Args:
        weight: O×I×k×k.
        bias: O.
        target: where it runs.
    """

    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, target: Target) -> None:
        super().__init__()
        self.fused = target.fused
        if self.fused:
            # The gain is positive: it may as well be applied before the activation.
            self.conv = FoldedConv(weight * GAIN, bias * GAIN, target, slope=SLOPE)
        else:
            self.conv = FoldedConv(weight, None, target)
        self.register_buffer("bias", bias.detach().float().to(target.device))

    def forward(self, x: Tensor) -> Tensor:
        """N×I×H×W → N×O×H×W."""
        y = self.conv(x)
        return y if self.fused else bias_leaky_relu(y, self.bias)


class UpsamplingConv(nn.Module):
    """Stride-2 transposed convolution, blur, bias and activation: method.md §1's ConvLayer(3, up).

    Args:
        weight: O×I×3×3, scaled.
        bias: O.
        target: where it runs.
    """

    weight: Tensor
    bias: Tensor

    FORM = ([0, 0], [0, 0], [2, 2], [1, 1], 1)  # padding at both ends, stride, dilation, groups

    def __init__(self, weight: Tensor, bias: Tensor, target: Target) -> None:
        super().__init__()
        weight = target.weight(weight.detach())
        self.register_buffer("weight", target.place(weight.transpose(0, 1)))
        self.register_buffer("bias", bias.detach().float().to(target.device))
        self.fused = target.fused
        self._packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """N×I×H×W → N×O×2H×2W."""
        y = self._fused(x) if self.fused else F.conv_transpose2d(x, self.weight, stride=2)
        return blur_upsample(y, self.bias, padding=1)

    def _fused(self, x: Tensor) -> Tensor:
        """oneDNN's too, which torch only takes for some shapes."""
        ops = torch.ops.mkldnn
        if self._packed is None:
            weight = self.weight.contiguous()
            self._packed = ops._reorder_convolution_transpose_weight(weight, *self.FORM, x.shape)
        return ops._convolution_transpose_pointwise(
            x, self._packed, None, *self.FORM, "none", [], ""
        )


def upsample(x: Tensor) -> Tensor:
    """What stride-2 zero-stuffing and the blur make of x: N×C×H×W → N×C×2H×2W.

    The blur's taps over stuffed zeros are bilinear interpolation with zeros beyond the edges.
    """
    padded = F.pad(x, (1, 1, 1, 1))
    large = F.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)
    return large[..., 2:-2, 2:-2]
