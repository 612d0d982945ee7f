"""What a threshold promises of new good parts, held against simulated and real ones."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import one_line
from scipy import stats

from invad_fast.data.production_line import photograph_part
from invad_fast.demo import demo_encoder_weights
from invad_fast.encoder import Encoder
from invad_fast.evaluation.calibrate import calibrate
from invad_fast.evaluation.conformal import (
    bound_rate,
    expected_rate,
    lowest_rate,
    parts_needed,
    rank,
)
from invad_fast.prediction import ScoreRule, exceeds

RULE = ScoreRule(mode="unified")
DRAWS = 2000


def test_how_many_parts_a_rate_needs() -> None:
    needed = {(0.01, False): 99, (0.001, False): 999, (0.01, True): 299, (0.001, True): 2995,
              (0.1, False): 9, (0.05, True): 59, (0.5, False): 1}  # fmt: skip
    for (rate, bound), parts in needed.items():
        assert parts_needed(rate, bound) == parts
        assert rank(parts, rate, bound) == parts and rank(parts - 1, rate, bound) is None


@pytest.mark.parametrize("bound", [False, True])
def test_ranks_are_the_least_that_hold_the_rate(bound: bool) -> None:
    for count in (1, 2, 9, 19, 99, 100, 199, 299, 300, 1000, 2995):
        for rate in (0.001, 0.01, 0.02, 0.05, 0.1, 0.3, 0.55):
            told = bound_rate if bound else expected_rate
            fitting = [k for k in range(1, count + 1) if told(count, k) <= rate * (1 + 1e-12)]
            assert rank(count, rate, bound) == min(fitting, default=None)
        lowest = lowest_rate(count, bound)
        assert rank(count, lowest, bound) == count
        exact = told(count, count)
        assert exact <= lowest <= 1.01 * exact


def test_the_bound_is_betas_quantile() -> None:
    for count, k in ((299, 299), (500, 497), (59, 59), (1000, 950)):
        wanted = stats.beta(count + 1 - k, k).ppf(0.95)
        assert bound_rate(count, k) == pytest.approx(wanted, rel=1e-9)


def rates(count: int, k: int, draws: int, rng: np.random.Generator, levels: int) -> np.ndarray:
    """Of each draw of ``count`` scores the true rate at its k-th smallest.

    Args:
        levels: 0 for uniform scores; else they are that many equal steps: full of ties.
    """
    scores = rng.random((draws, count))
    if levels:
        scores = np.floor(scores * levels) / levels
    limits = np.sort(scores)[:, k - 1]
    # The share of new scores above a limit: of the steps those that lie above it.
    return 1 - limits if not levels else (levels - 1 - np.round(limits * levels)) / levels


@pytest.mark.parametrize(("count", "rate"), [(99, 0.01), (150, 0.05), (299, 0.01), (40, 0.1)])
def test_simulated_parts_keep_both_promises(count: int, rate: float) -> None:
    rng, k = np.random.default_rng(count), rank(count, rate)
    assert k is not None
    found = rates(count, k, DRAWS, rng, 0)
    deviation = stats.beta(count + 1 - k, k).std()
    assert abs(found.mean() - expected_rate(count, k)) < 3 * deviation / math.sqrt(DRAWS)
    broken = (found > bound_rate(count, k)).mean()
    assert abs(broken - 0.05) < 3 * math.sqrt(0.05 * 0.95 / DRAWS)
    # Equal scores only lower the rates.
    tied = rates(count, k, DRAWS, rng, 30)
    assert tied.mean() < expected_rate(count, k) + 3 * deviation / math.sqrt(DRAWS)
    assert (tied > bound_rate(count, k)).mean() < 0.05 + 3 * math.sqrt(0.05 * 0.95 / DRAWS)


def test_the_function_sets_what_the_simulation_did() -> None:
    """`calibrate` itself, with its comparison, on scores full of ties."""
    rng, above = np.random.default_rng(0), []
    for _ in range(300):
        scores = rng.integers(0, 12, 60) / 12
        limit = calibrate(scores, ["a"] * 60, 0.1, RULE)["a"]
        above.append(exceeds(rng.integers(0, 12, 2000) / 12, limit).mean())
    assert np.mean(above) < 0.1


def test_fresh_parts_of_the_demos_generator() -> None:
    """Parts without end: the mean rate within three standard errors, by a cheap score."""
    rng = np.random.default_rng(0)

    def score(number: int) -> float:
        pixels, _ = photograph_part("wood", None, 32, (9, 9, number))
        return float(pixels.std(axis=(0, 1)).mean()) + 1e-6 * rng.random()

    scores = np.array([score(number) for number in range(600)])
    count, rate = 39, 0.05
    k = rank(count, rate)
    assert k is not None
    found = []
    for _ in range(200):
        order = rng.permutation(600)
        limit = calibrate(scores[order[:count]], ["wood"] * count, rate, RULE)["wood"]
        found.append(exceeds(scores[order[count:]], limit).mean())
    # The draws share their parts: the spread of one draw, not of 200, is what the mean may be off.
    deviation = stats.beta(count + 1 - k, k).std()
    assert abs(np.mean(found) - expected_rate(count, k)) < 3 * deviation / math.sqrt(600 / count)


def test_juice_bottles_held_out_halves(shared: Path) -> None:
    """Real parts: half of them calibrate, of the other half a beta-binomial number is rejected."""
    folder = shared / "data/defects/juice_bottle"
    files = [*(folder / "test/good").iterdir(), *(folder / "validation/good").glob("*")]
    if len(files) < 40:
        pytest.skip(f"only {len(files)} good parts")
    encoder = Encoder("resnet10t", (1, 2, 3), (128, 128), demo_encoder_weights()).eval()
    known = features(encoder, sorted((folder / "train/good").iterdir())[:60])
    scores = (features(encoder, files)[:, None] - known).norm(dim=2).min(1).values.numpy()
    half, rate = len(files) // 2, 0.1
    k = rank(half, rate)
    assert k is not None
    rng, rejected = np.random.default_rng(0), []
    for _ in range(400):
        order = rng.permutation(len(files))
        limit = calibrate(scores[order[:half]], ["juice"] * half, rate, RULE)["juice"]
        rejected.append(int(exceeds(scores[order[half:]], limit).sum()))
    others = len(files) - half
    wanted = stats.betabinom(others, half + 1 - k, k)
    # Splits of one set: over all of them the counts are exactly beta-binomial.
    assert abs(np.mean(rejected) - wanted.mean()) < 3 * wanted.std() / math.sqrt(400)
    for most in range(8):
        share, exact = np.mean(np.array(rejected) <= most), wanted.cdf(most)
        assert abs(share - exact) < 3.5 * math.sqrt(max(exact * (1 - exact), 0.0025) / 400)


def features(encoder: Encoder, files: list[Path]) -> torch.Tensor:
    """N×D: means over all positions, channel by channel."""
    from invad_fast.data import load_tensor

    batch = torch.stack([load_tensor(file, (128, 128)) for file in files])
    with torch.inference_mode():
        return torch.cat([f.mean((2, 3)) for f in encoder(batch)], 1)


def test_too_few_parts_and_the_fitted_tail() -> None:
    rng = np.random.default_rng(0)
    few = rng.standard_normal(50)
    line = "a: 50 good parts are too few .*0.01 .99 are needed.*0.0197: --false-alarm-rate 0.0197"
    one_line(line, lambda: calibrate(few, ["a"] * 50, 0.01, RULE))
    line = "with 95 % confidence .299 are needed.*0.0582: --false-alarm-rate 0.0582 --bound"
    one_line(line, lambda: calibrate(few, ["a"] * 50, 0.01, RULE, bound=True))
    tail = rng.exponential(size=50)
    held = calibrate(tail, ["a"] * 50, 0.001, RULE, extrapolate=True)
    assert tail.max() < held["a"] < 3 * tail.max() and held.origins["a"].extrapolated
    assert "extrapolated" in str(held.origins["a"]) and held.origins["a"].expected_rate is None
    one_line("30 are needed", lambda: calibrate(few[:20], ["a"] * 20, 0.01, RULE, extrapolate=True))
    # Where they are enough nothing is extrapolated.
    many = rng.standard_normal(200)
    assert not calibrate(many, ["a"] * 200, 0.01, RULE, extrapolate=True).origins["a"].extrapolated


def test_both_rates_are_told_in_words() -> None:
    held = calibrate(np.arange(299.0), ["a"] * 299, 0.01, RULE, bound=True)
    assert "0.333 % expected, with 95 % confidence at most 0.997 %" in str(held.origins["a"])
