import torch


def forward() -> list[tuple]:
    x, plus = torch.randn(2, 16, 5, 6), torch.randn(2, 64, 5, 6)
    weight, pairs, bias = torch.randn(36, 1, 16, 64), torch.randn(36, 1, 8, 128), torch.randn(64)
    return [
        (x, weight, bias, None, 0.2),
        (x, weight, bias, plus, 1.0),
        (x.bfloat16(), pairs.bfloat16(), bias, plus.bfloat16(), 0.2),
    ]


def backward() -> list[tuple]:
    return [(torch.randn(2, 16, 5, 6), torch.randn(2, 64, 5, 6))]


CALLS = {"winograd_conv": forward, "winograd_conv_backward": backward}
