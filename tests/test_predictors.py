"""The contract of every Predictor: trained forms and forms for inference, of every method."""

from __future__ import annotations

import functools
import itertools
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import pytest
import torch
from filled_memory import remember

from invad_fast import InputError, InvAD, NearestNeighbours, Predictor, ReverseDistillation
from invad_fast.class_prototypes import class_prototypes
from invad_fast.data.preparation import IMAGENET
from invad_fast.memory.settings import MemorySettings
from invad_fast.method import Method
from invad_fast.prediction import ALL_CLASSES, Thresholds, Verdict

pytestmark = pytest.mark.filterwarnings("ignore:.*random weights")

SIZE = (32, 64)
COUNT = 4
# What equal images may differ by when they come as bytes or normalised, and batched or alone.
TOLERANCE = {"fp32": 1e-5, "bf16": 2e-2, "fp16": 2e-3}
MADE = {
    "invad, eval mode": ("invad", None),
    "invad, training mode": ("invad", "training"),
    "invad, folded fp32": ("invad", "fp32"),
    "invad, folded bf16": ("invad", "bf16"),
    "invad, folded fp16": ("invad", "fp16"),
    "rd, eval mode": ("rd", None),
    "rd, plain form": ("rd", "fp32"),
    "memory, eval mode": ("memory", None),
    "memory, plain form": ("memory", "fp32"),
    "joined, eval mode": ("joined", None),
    "joined, folded fp32": ("joined", "fp32"),
}
IN_PRECISION = [name for name, (_, how) in MADE.items() if how in ("fp32", "bf16", "fp16")]


def photos(count: int = COUNT, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, SIZE[0] // 8, SIZE[1] // 8, 3), np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


def normalised(images: np.ndarray) -> np.ndarray:
    planes = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    mean, std = (
        np.array(v, np.float32)[:, None, None] for v in (IMAGENET.mean, IMAGENET.deviation)
    )
    return (planes - mean) / std


def source(method: str) -> Method:
    torch.manual_seed(0)
    fields: dict[str, Any] = {"encoder": "resnet10t", "blocks": (1, 1, 1), "input_size": SIZE}
    model: Method
    if method == "joined":
        model = InvAD("invad-lite", None, memory=MemorySettings(patches=20), **fields)
    elif method == "memory":
        del fields["blocks"]
        model = NearestNeighbours(encoder_weights=None, memory={"patches": 20}, **fields)
    elif method == "invad":
        model = InvAD("invad-lite", None, **fields)
    else:
        model = ReverseDistillation(encoder_weights=None, **fields)
    model.classes, owners = ("bolt", "nut"), ["bolt", "bolt", "nut", "nut"]
    if model.config.memory is not None:
        remember(model.eval(), normalised(photos()), owners)
    found = model.eval().predict(photos(), owners).descriptor
    model.prototypes = class_prototypes(found, owners)
    return model


def make(name: str, model: Method | None = None) -> Any:
    method, how = MADE[name]
    model = model or source(method)
    if how == "training":
        return model.train()
    return model if how is None else model.for_inference(how, "cpu")


@functools.cache
def made_once(name: str) -> Any:
    return make(name)


@pytest.fixture(params=MADE)
def predictor(request: pytest.FixtureRequest) -> Any:
    """Without thresholds; nothing else of it changes, which is part of the contract."""
    made = made_once(request.param)
    made.thresholds = Thresholds()
    return made


def test_has_what_a_predictor_has(predictor: Any) -> None:
    assert isinstance(predictor, Predictor)
    assert predictor.input_size == SIZE and predictor.classes == ("bolt", "nut")
    assert predictor.tells_classes and len(predictor.digest) >= 32
    assert predictor.thresholds == {}
    before = predictor.digest
    predictor.thresholds = {"nut": 1.0}
    assert predictor.digest == before


def test_gives_the_kind_that_it_was_given(predictor: Any) -> None:
    tolerance = TOLERANCE[predictor.score_rule.precision.removesuffix("-rounded")]
    images = photos()
    kept = images.copy()
    results = []
    for given in (images, normalised(images)):
        ours = predictor.predict(given)
        theirs = predictor.predict(torch.from_numpy(given))
        for array, tensor in zip(
            (ours.score, ours.map, ours.descriptor), (theirs.score, theirs.map, theirs.descriptor)
        ):
            assert isinstance(array, np.ndarray) and isinstance(tensor, torch.Tensor)
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, tensor.numpy())
        assert ours.score.shape == (COUNT,) and ours.map.shape == (COUNT, *SIZE)
        np.testing.assert_array_equal(ours.score, ours.map.max((1, 2)))
        assert ours.class_names == theirs.class_names
        results.append(ours)
    np.testing.assert_allclose(results[0].map, results[1].map, atol=tolerance)
    np.testing.assert_array_equal(images, kept)


def test_changes_no_state(predictor: Any) -> None:
    def flags() -> list[bool]:
        return [module.training for module in predictor.modules()]

    before = {name: value.clone() for name, value in predictor.state_dict().items()}
    modes = flags()
    predictor.predict(photos())
    assert flags() == modes
    for name, value in predictor.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("name", IN_PRECISION)
def test_a_form_for_inference_is_in_eval_mode_for_ever(name: str) -> None:
    form = make(name)
    expected = form.predict(photos()).map
    assert form.train() is form and form.eval() is form
    assert not any(module.training for module in form.modules())
    assert not any(parameter.requires_grad for parameter in form.parameters())
    np.testing.assert_array_equal(form.predict(photos()).map, expected)
    assert form.for_inference(form.score_rule.precision) is form


def test_later_training_changes_no_form() -> None:
    for name in IN_PRECISION:
        model = source(MADE[name][0])
        form = make(name, model)
        expected = form.predict(photos()).map
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.zero_()
        model.thresholds = {ALL_CLASSES: 0.0}
        np.testing.assert_array_equal(form.predict(photos()).map, expected)
        assert form.thresholds == {}


def test_many_threads_give_what_one_gives(predictor: Any) -> None:
    images = [photos(1, seed) for seed in range(8)]
    expected = [predictor.predict(image) for image in images]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(3):
            for one, other in zip(threads.map(predictor.predict, images), expected):
                np.testing.assert_array_equal(one.map, other.map)
                np.testing.assert_array_equal(one.score, other.score)
                assert one.class_names == other.class_names


def test_training_mode_is_left_until_the_last_prediction_is_done() -> None:
    """One thread's prediction ends within another's, whose batch norm must not notice."""
    model, images = source("invad"), photos()
    expected = model.eval().predict(images).map
    model.train()
    kept, both, first_ended = model._run, threading.Barrier(2), threading.Event()
    waits = iter((False, True))

    def running(*arguments: Any) -> Any:
        last = next(waits)
        both.wait(60)
        if last:
            assert first_ended.wait(60)
        return kept(*arguments)

    model._run = running  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as threads:
        predictions = [threads.submit(model.predict, images) for _ in range(2)]
        done, _ = wait(predictions, return_when=FIRST_COMPLETED)
        assert not model.training
        first_ended.set()
        for prediction in predictions:
            np.testing.assert_array_equal(prediction.result().map, expected)
    assert len(done) == 1 and model.training


def test_classes_are_one_or_each_or_told(predictor: Any) -> None:
    predictor.thresholds = {"bolt": -1.0, "nut": 3.0}
    images = photos()

    def verdicts(class_name: Any) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict, _ in predictor.predict(images, class_name).verdicts)

    passed, rejected, none = Verdict.PASS, Verdict.REJECT, Verdict.NOT_INSPECTED
    assert verdicts("bolt") == (rejected,) * COUNT and verdicts("nut") == (passed,) * COUNT
    mixed = ("nut", "bolt", None, "nut")
    assert verdicts(mixed) == (passed, rejected, none, passed)
    assert predictor.predict(images, list(mixed)).class_names == mixed
    assert predictor.predict(images, None).class_names == (None,) * COUNT
    told = predictor.predict(images)
    assert told.class_names == ("bolt", "bolt", "nut", "nut")
    assert verdicts("auto") == (rejected, rejected, passed, passed)
    predictor.thresholds = {ALL_CLASSES: -1.0, "nut": 3.0}
    assert verdicts(None) == verdicts("bolt") == (rejected,) * COUNT
    for wrong in (["bolt"], ["bolt"] * (COUNT + 1)):
        with pytest.raises(InputError, match=f"{len(wrong)} class names for {COUNT} images"):
            predictor.predict(images, wrong)


@pytest.mark.parametrize("change, field", [
    ({"mode": "per_scale"}, "mode unified, not per_scale"),
    ({"sigma": 2.0}, "sigma 4.0, not 2.0"),
    ({"pooling": 4}, "pooling none, not 4"),
])  # fmt: skip
def test_under_another_rule_there_is_no_threshold(predictor: Any, change, field) -> None:
    if not predictor.reconstructs and "mode" in change:
        with pytest.raises(InputError, match="no map of mode 'per_scale': leave the mode out"):
            predictor.predict(photos(), None, **change)
        return
    if predictor.score_rule.mode == "per_scale" and "mode" in change:
        change, field = {"mode": "unified"}, "mode per_scale, not unified"
    predictor.thresholds = {ALL_CLASSES: 0.0}
    assert predictor.predict(photos(), None).thresholds == (0.0,) * COUNT
    found = predictor.predict(photos(), None, **change)
    assert found.thresholds == (None,) * COUNT and found.anomalous == (None,) * COUNT
    assert found.why_none == f"no threshold: the model's were set for scores with {field}"
    assert {reason for _, reason in found.verdicts} == {found.why_none}


def test_a_threshold_holds_for_the_form_and_precision_that_it_was_set_in() -> None:
    forms = [made_once(name) for name in MADE if name.startswith("invad")]
    for set_in, asked in itertools.product(forms, forms):
        asked.thresholds = Thresholds({ALL_CLASSES: 0.0}, set_in.score_rule)
        found = asked.predict(photos(1), None)
        same = set_in.score_rule == asked.score_rule
        assert found.thresholds == (0.0 if same else None,)
        if not same:
            assert "form" in found.why_none or "precision" in found.why_none
            assert found.verdicts[0][0] == Verdict.NOT_INSPECTED
    by_hand = source("invad")
    by_hand.thresholds = {ALL_CLASSES: 0.0}
    for name in ("invad, eval mode", *IN_PRECISION[:3]):
        assert make(name, by_hand).predict(photos(1), None).thresholds == (0.0,)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_form_of_the_thresholds_is_made_again(precision: str) -> None:
    model = source("invad")
    rule = make(f"invad, folded {precision}", model).score_rule
    model.thresholds = Thresholds({ALL_CLASSES: 0.0}, rule)
    form = model.for_inference(device="cpu")
    assert form.score_rule == rule
    assert form.predict(photos(1), None).thresholds == (0.0,)


@pytest.mark.parametrize("name", MADE)
def test_scores_that_are_no_numbers_pass_nothing(name: str) -> None:
    model = source(MADE[name][0])
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if not key.startswith("encoder.") and tensor.is_floating_point():
                tensor.fill_(torch.nan)
    model.thresholds = {ALL_CLASSES: 0.5}
    found = make(name, model).predict(photos(), None)
    assert np.isnan(found.score).all()
    assert found.anomalous == (None,) * COUNT
    assert set(found.verdicts) == {(Verdict.NOT_INSPECTED, "the score is not a number")}


@pytest.mark.parametrize("given", [
    np.zeros((1, 64, 32, 3), np.uint8),
    np.zeros((1, 3, *SIZE), np.uint8),
    np.zeros((*SIZE, 3), np.uint8),
    np.zeros((1, *SIZE, 4), np.uint8),
    np.zeros((1, *SIZE), np.uint8),
    np.zeros((1, *SIZE, 3), np.int64),
    np.zeros((1, *SIZE, 3), np.uint16),
    np.zeros((1, *SIZE, 3), np.float32),
    np.zeros((1, 3, 64, 32), np.float32),
    np.zeros((3, *SIZE), np.float32),
    np.zeros((0, *SIZE, 3), np.uint8),
    np.zeros((0, 3, *SIZE), np.float32),
    np.zeros((1, 1, *SIZE), np.float32),
    np.zeros((1, 3, *SIZE), bool),
    np.array(["a"]),
    np.array([None]),
    [[1.0]],
    "part.png",
    None,
], ids=lambda given: f"{getattr(given, 'dtype', given)} {getattr(given, 'shape', '')}")  # fmt: skip
def test_other_images_are_one_line(given: Any) -> None:
    for name in ("invad, eval mode", "invad, folded fp32", "rd, plain form", "memory, plain form"):
        predictor = made_once(name)
        kinds = [given]
        if isinstance(given, np.ndarray) and given.dtype.kind in "uifb":
            kinds.append(torch.from_numpy(given))
        for images in kinds:
            with pytest.raises(InputError, match="takes images") as caught:
                predictor.predict(images)
            assert "\n" not in str(caught.value)


def test_arrays_of_any_memory_are_taken() -> None:
    """Read-only, reversed, Fortran-ordered and float64 ones."""
    predictor = made_once("invad, folded fp32")
    images = photos()
    expected = predictor.predict(images).map
    locked = images.copy()
    locked.flags.writeable = False
    bgr = np.ascontiguousarray(images[..., ::-1])
    for same in (locked, bgr[..., ::-1], np.asfortranarray(images)):
        np.testing.assert_array_equal(predictor.predict(same).map, expected)
    double = normalised(images).astype(np.float64)
    found = predictor.predict(double).map
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("change", [{"mode": "other"}, {"sigma": -1}, {"sigma": float("nan")},
                                    {"pooling": 0}, {"sigmas": 3}])  # fmt: skip
def test_other_rules_are_one_line(change: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        made_once("invad, folded fp32").predict(photos(1), **change)
    assert "\n" not in str(caught.value)
    assert next(iter(change)) in str(caught.value)
