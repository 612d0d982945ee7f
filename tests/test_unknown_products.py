"""Parts that are like none of the classes are turned away; what it costs the others."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from line_recipe import MAKER, recipe
from refusals import one_line
from stub_engine import picture

from invad_fast import find_images, load_model, predict_files
from invad_fast.class_prototypes import class_prototypes, why_unknown
from invad_fast.data.production_line import DEFECTS, PRODUCTS, photograph_part
from invad_fast.demo import demo_encoder_weights
from invad_fast.encoder import Encoder
from invad_fast.evaluation.unknown_products import MARGIN, distance_limits, will_not_pass
from invad_fast.feature_predictor import descriptor_of
from invad_fast.inspection import Inspector, Reason, Recipe
from invad_fast.prediction import Origin, Thresholds, Verdict

LOWEST = 0.2  # that four good parts of a class allow


def test_the_limit_is_the_conformal_distance_and_a_margin() -> None:
    distances = np.arange(1.0, 101.0)
    limits, lacking = distance_limits(distances, ["a"] * 100)
    assert limits == {"a": MARGIN * 100} and not lacking  # the 100th of 100, at 1 %
    assert limits.origins["a"].expected_rate == pytest.approx(1 / 101)
    limits, _ = distance_limits(distances, ["a"] * 100, 0.1)
    assert limits == {"a": MARGIN * 91}
    # Two pictures of a part are one, the farther.
    parts = [str(number // 2) for number in range(100)]
    limits, _ = distance_limits(distances, ["a"] * 100, 0, parts=parts)
    assert limits == {"a": MARGIN * 100} and limits.origins["a"].parts == 50


def test_too_few_parts() -> None:
    names = ["a"] * 99 + ["b"] * 98
    limits, lacking = distance_limits(np.ones(197), names)
    assert set(limits) == {"a"} and lacking == {"b": 99}
    told = "b: 98 good parts are too few to turn away at most 0.01 of them"
    assert "(99 are needed)" in one_line(told, lambda: distance_limits(np.ones(197), names, 0.01))
    one_line(
        "a rate of good parts turned away", lambda: distance_limits(np.ones(2), ["a"] * 2, 1.5)
    )


def test_what_will_not_pass_is_the_sum() -> None:
    def held(rate: float) -> Thresholds:
        return Thresholds({"a": 1.0}, None, {"a": Origin(parts=99, expected_rate=rate)})

    told = will_not_pass(held(0.01), held(0.02), "a")
    assert told is not None and "3 % at most (1 % rejected, 2 % turned away" in told
    assert will_not_pass(held(0.01), Thresholds(), "a") is None


@pytest.fixture(scope="module")
def painted() -> dict[str, list[np.ndarray]]:
    """Product → descriptors of good parts to learn from, to calibrate on, to judge; defective."""
    encoder = Encoder("resnet10t", (1, 2, 3), (64, 64), demo_encoder_weights()).eval()

    def described(name: str, stream: int, kinds: list) -> np.ndarray:
        seeds = [(1, list(PRODUCTS).index(name), stream, number) for number in range(30)]
        pictures = [
            photograph_part(name, kinds[number % len(kinds)], 64, seed)[0]
            for number, seed in enumerate(seeds)
        ]
        planes = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            return descriptor_of(encoder(planes)).numpy()

    return {
        name: [
            *(described(name, stream, [None]) for stream in (31, 32, 33)),
            described(name, 34, [kind.__name__ for kind in DEFECTS[name]]),
        ]
        for name in PRODUCTS
    }


@pytest.mark.parametrize("left_out", PRODUCTS)
def test_a_product_left_out_is_turned_away(painted: dict, left_out: str) -> None:
    known = [name for name in PRODUCTS if name != left_out]
    owners = [name for name in known for _ in range(30)]

    def of(place: int) -> np.ndarray:
        return np.concatenate([painted[name][place] for name in known])

    prototypes = class_prototypes(of(0), owners)
    distances = np.array(prototypes.distances_to(of(1), owners), float)
    prototypes = prototypes.limited(distance_limits(distances, owners, 0)[0])

    def away(parts: np.ndarray) -> float:
        names = prototypes.name(parts)
        pairs = zip(prototypes.distances_to(parts, names), names)
        return np.mean([bool(why_unknown(d, prototypes.limits[n], n)) for d, n in pairs])

    assert away(np.concatenate(painted[left_out])) >= 0.95
    assert away(of(2)) <= 0.01 and away(of(3)) <= 0.05


@pytest.fixture
def calibrated(trained: Path, parts: Path, tmp_path: Path, invad) -> Path:
    """A model that tells unknown products, of four good parts each."""
    model = Path(shutil.copy(trained, tmp_path / "model.safetensors"))
    done = invad("calibrate", parts, "--model", model, "--false-alarm-rate", LOWEST,
                 "--unknown-product-rate", LOWEST, "--quiet")  # fmt: skip
    assert done.status == 0, done.stderr
    assert "a: unknown beyond a distance of" in done.stdout
    assert "a: good parts that will not pass: 40 % at most (20 % rejected, 20 %" in done.stdout
    return model


def test_from_calibration_to_a_verdict(calibrated: Path, parts: Path, tmp_path: Path) -> None:
    """The limits are in the file, in predictions, in the recipe, and on the line."""
    model = load_model(calibrated)
    assert set(model.prototypes.limits) == {"a", "b"}
    images = find_images([parts / "a/test/good"])
    assert {row["verdict"] for row in predict_files(model, images)} == {"PASS"}
    model.prototypes = model.prototypes.limited(Thresholds({"a": 1e-3}))
    model.save(calibrated)
    for given in (None, 1e9):
        rows = list(predict_files(load_model(calibrated), images, threshold=given))
        assert {row["verdict"] for row in rows} == {"NOT_INSPECTED"}
        assert all(row["reason"].startswith("unknown product: unlike the parts of") for row in rows)
        assert all(row["score"] >= 0 and row["threshold"] is None for row in rows)
    from invad_fast.data.images import load_image
    from invad_fast.model_engine import make_recipe

    made = make_recipe(calibrated, tmp_path / "line.yaml")
    assert made.distance_limit("a") == 1e-3 and made.distance_limit("b") is None
    made = Recipe.of(made.content | {"deadline_ms": 60_000}, tmp_path / "line.yaml")
    with Inspector(made, tmp_path / "line.db", in_process=True) as line:
        result = line.inspect(load_image(images[0], None), pixel_format="RGB8")
    assert (result.verdict, result.reason) == (Verdict.NOT_INSPECTED, Reason.UNKNOWN_PRODUCT)
    assert "unlike the parts of 'a'" in result.detail and result.score is not None


def test_it_is_left_out(calibrated: Path, parts: Path, invad) -> None:
    words = ("calibrate", parts, "--model", calibrated, "--false-alarm-rate", LOWEST, "--quiet")
    done = invad(*words)
    assert done.status == 0 and "that takes 99 good parts of each" in done.stderr
    assert not load_model(calibrated).prototypes.limits
    done = invad(*words, "--no-unknown-products")
    assert done.status == 0 and not done.stderr.count("unknown products")
    done = invad(*words, "--no-unknown-products", "--unknown-product-rate", LOWEST)
    assert done.status == 2 and "choose one" in done.stderr
    done = invad(*words, "--unknown-product-rate", 0.01)
    assert done.status == 2 and "(99 are needed)" in done.stderr


def test_a_recipe_of_before_has_none(tmp_path: Path) -> None:
    held = recipe(tmp_path).content
    del held["unknown_products"]
    assert Recipe.of(json.loads(json.dumps(held)), tmp_path / "r").unknown_products is None
    limits = {"model": "stub", "values": {"a": {"value": 1.0}}}
    made = recipe(tmp_path, unknown_products=limits)
    with Inspector(made, tmp_path / "line.db", engine=MAKER, in_process=True) as line:
        assert line.inspect(picture(0), pixel_format="RGB8").verdict is Verdict.PASS
    one_line("no class 'c'", lambda: recipe(
        tmp_path, unknown_products={"model": "stub", "values": {"c": {"value": 1.0}}}))  # fmt: skip
    one_line("another model", lambda: recipe(tmp_path, unknown_products=limits | {"model": "x"}))
