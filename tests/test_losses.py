"""What training lowers: values, and whose gradient counts how much."""

from __future__ import annotations

import pytest
import torch

from invad_fast.losses import EASY_WEIGHT, MOST_EASY, RAMP, hard_cosine, squared_error


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    feature, made = torch.randn(2, 4, 8, 5, 5, generator=generator)
    return feature, made.requires_grad_()


def test_squared_error_sums_the_scales(pair):
    feature, made = pair
    found = squared_error([feature, feature[:, :3]], [made, made[:, :3]])
    expected = (feature - made).pow(2).mean() + (feature - made)[:, :3].pow(2).mean()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("progress", [0.0, 0.1, 1.0])
def test_the_value_is_the_plain_mean_at_any_progress(pair, progress):
    feature, made = pair
    expected = (1 - torch.cosine_similarity(feature, made, dim=1)).mean()
    torch.testing.assert_close(hard_cosine([feature], [made], progress), expected)


@pytest.mark.parametrize("progress", [0.0, RAMP / 2, RAMP, 1.0])
def test_easy_points_count_a_tenth(pair, progress):
    feature, made = pair
    distance = 1 - torch.cosine_similarity(feature, made, dim=1)
    (plain,) = torch.autograd.grad(distance.mean(), made)
    (found,) = torch.autograd.grad(hard_cosine([feature], [made], progress), made)
    ratio = (found.norm(dim=1) / plain.norm(dim=1)).flatten()
    easy = MOST_EASY * min(progress / RAMP, 1)
    count = max(round(easy * ratio.numel()) - 1, 0)  # the one at the limit is hard
    order = distance.detach().flatten().argsort()
    torch.testing.assert_close(ratio[order[:count]], torch.full((count,), EASY_WEIGHT))
    torch.testing.assert_close(ratio[order[count:]], torch.ones(ratio.numel() - count))
