"""score ─> verdict: one comparison, thresholds that belong to the rule of their scores."""

import math

import numpy as np
import pytest
import torch

from invad_fast import InputError
from invad_fast.evaluation.calibrate import calibrate
from invad_fast.prediction import (
    Origin,
    Prediction,
    ScoreRule,
    Thresholds,
    Verdict,
    exceeds,
    judge,
)

FOLDED = ScoreRule(mode="unified", form="folded", precision="fp32")


def test_equal_to_the_threshold_passes() -> None:
    assert judge(0.5, 0.5) == (Verdict.PASS, None)
    assert judge(math.nextafter(0.5, 1), 0.5) == (Verdict.REJECT, None)
    assert exceeds(np.array([0.4, 0.5, 0.6]), 0.5).tolist() == [False, False, True]


def test_single_precision_is_compared_as_the_number_that_it_is() -> None:
    above = np.float32(0.1)  # 1.5e-9 above 0.1
    assert exceeds(np.array([above]), 0.1).tolist() == [True]
    assert exceeds(torch.tensor([0.1]), 0.1).tolist() == [True]
    assert judge(float(above), 0.1)[0] is Verdict.REJECT


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_no_verdict(score: float) -> None:
    verdict, reason = judge(score, 0.5)
    assert verdict is Verdict.NOT_INSPECTED and reason == "the score is not a number"
    found = Prediction(torch.tensor([score]), torch.zeros(1, 2, 2), ("a",), (0.5,))
    assert found.anomalous == (None,)


def test_without_a_threshold_there_is_no_verdict() -> None:
    assert judge(0.5, None, "because") == (Verdict.NOT_INSPECTED, "because")
    found = Prediction(np.array([0.1, 0.9]), np.zeros((2, 2, 2)), (None, "a"), (None, 0.5))
    assert found.anomalous == (None, True)


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.5", None, True])
def test_thresholds_are_finite_numbers(value: object) -> None:
    for make in (lambda: Thresholds({"a": value}), lambda: Thresholds().__setitem__("a", value)):
        with pytest.raises(InputError, match="threshold of 'a' must be a finite number"):
            make()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"mode": "per_scale"}, "mode unified, not per_scale"),
        ({"sigma": 8.0}, "sigma 4.0, not 8.0"),
        ({"pooling": 5}, "pooling none, not 5"),
        ({"levels": (0, 4095)}, "levels none, not (0, 4095)"),
        ({"form": "plain"}, "form folded, not plain"),
        ({"precision": "bf16"}, "precision fp32, not bf16"),
    ],
)
def test_under_another_rule_there_is_no_threshold(change: dict, words: str) -> None:
    held = Thresholds({"*": 0.5, "a": 0.25}, FOLDED)
    assert held.of("a", FOLDED) == 0.25 and held.of("b", FOLDED) == held.of(None, FOLDED) == 0.5
    other = FOLDED.but(**change)
    assert held.of("a", other) is None and held.of(None, other) is None
    assert words in str(held.why_none(other))


def test_thresholds_by_hand_hold_for_any_form() -> None:
    by_hand = ScoreRule(mode="unified", form=None, precision=None)
    held = Thresholds({"*": 0.5}, by_hand)
    assert held.of(None, FOLDED) == held.of(None, FOLDED.but(precision="bf16")) == 0.5
    assert held.of(None, FOLDED.but(mode="per_scale")) is None
    assert not held.origins["*"].provisional and str(held.origins["*"]) == "set by hand"


def test_a_number_set_later_is_set_by_hand() -> None:
    held = Thresholds({"*": 0.5}, FOLDED, {"*": Origin(source="training parts", parts=3,
                                                       false_alarm_rate=0.01)})  # fmt: skip
    assert held.origins["*"].provisional and "provisional" in str(held.origins["*"])
    held["*"] = 0.75
    assert held == {"*": 0.75} and held.origins["*"] == Origin()
    del held["*"]
    assert held == {} and held.origins == {}


def test_calibrating_some_classes_keeps_the_others() -> None:
    before = Thresholds({"*": 0.5, "a": 0.1, "b": 0.2}, FOLDED)
    after = before.updated(Thresholds({"a": 0.3}, FOLDED))
    assert after == {"*": 0.5, "a": 0.3, "b": 0.2}
    with pytest.raises(InputError, match="all classes, b were set for scores with precision fp32"):
        before.updated(Thresholds({"a": 0.3}, FOLDED.but(precision="bf16")))
    whole = Thresholds({"*": 1, "a": 2, "b": 3}, FOLDED.but(precision="bf16"))
    assert before.updated(whole) == whole


def test_calibration_is_the_kth_smallest_of_each_class() -> None:
    scores = np.concatenate([np.arange(99) / 100, np.arange(99) + 1.0])
    names = ["a"] * 99 + ["b"] * 99
    held = calibrate(scores, names, 0.1, FOLDED)
    assert held["a"] == 0.89 and held["b"] == 90  # the 90th of 99
    assert held.rule == FOLDED and held.origins["b"].parts == 99
    assert held.origins["a"].expected_rate == 0.1
    lowest = calibrate(scores, names, 0.0, FOLDED)
    assert lowest["a"] == 0.98 and lowest.origins["a"].expected_rate == 0.01
    assert "the lowest false-alarm rate that they allow: 1 % expected" in str(
        lowest.origins["a"]
    ).replace(f", {lowest.origins['a'].date[:10]}", "")
    with pytest.raises(InputError, match="99 good parts are too few .*0.001 .999 are needed"):
        calibrate(scores, names, 0.001, FOLDED)
    training = calibrate(scores, names, 0.0, FOLDED, "training parts")
    assert training["a"] == 0.98 and training.origins["a"].rate_95 is None


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_calibration_refuses_scores_that_are_no_numbers(score: float) -> None:
    with pytest.raises(InputError, match="1 of 2 scores are not finite, the first of class 'b'"):
        calibrate(np.array([0.5, score]), ["a", "b"], 0.01, FOLDED)


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan])
def test_calibration_refuses_a_rate_that_is_none(rate: float) -> None:
    with pytest.raises(InputError, match=r"lies in \[0, 1\)"):
        calibrate(np.array([0.5]), ["a"], rate, FOLDED)


def test_the_best_f1s_threshold_is_one_for_this_comparison() -> None:
    from invad_fast.metrics.ranking import f1_threshold, rank

    scores = np.array([0.1, 0.2, 0.2, 0.3, 0.9], np.float32)
    labels = np.array([False, False, True, True, True])
    found = exceeds(scores, f1_threshold(rank(scores, labels)))
    assert found.tolist() == [False, True, True, True, True]  # F1 6/7, the best there is
