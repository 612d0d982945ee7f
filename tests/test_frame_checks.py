"""Pictures that cannot be judged are turned away before the model, and say why."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from line_recipe import MAKER, recipe
from PIL import Image, ImageFilter
from stub_engine import picture

from invad_fast.data.production_line import DEFECTS, photograph_part
from invad_fast.frame_figures import (
    FIGURES,
    _bounds,
    _outside,
    for_any_of,
    frame_figures,
    learn_limits,
    numpy_figures,
)
from invad_fast.inspection import Inspector, Reason, Recipe
from invad_fast.inspection.frame_checks import FrameCheck
from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.preprocess import FrameError
from invad_fast.inspection.recipe import FrameChecks, PartPlace
from invad_fast.prediction import Verdict

SCHEMA = json.loads((files("invad_fast") / "result.schema.json").read_text())
SIZE = 128
WOOD = [make.__name__ for make in DEFECTS["wood"]]


@pytest.fixture(scope="module")
def good() -> list[np.ndarray]:
    return [photograph_part("metal", None, SIZE, (0, 0, 5, n))[0] for n in range(40)]


SHAPES = [(1, 1), (1, 7), (7, 1), (4, 5), (64, 64), (65, 127), (130, 40), (3, 2000), (513, 300)]


@pytest.mark.parametrize("height, width", SHAPES)
def test_compiled_figures_are_numpys(height: int, width: int) -> None:
    rng, shape = np.random.default_rng(height), (height, width, 3)
    spots = np.where(rng.random((height, width, 1)) < 0.02, 255, 10)
    for pixels in (
        rng.integers(0, 256, shape),
        np.full(shape, 17),
        np.zeros(shape),
        np.linspace(0, 255, width)[None, :, None] * np.ones(shape),
        spots * np.ones(3),
    ):
        taken = pixels.astype(np.uint8)
        np.testing.assert_allclose(frame_figures(taken), numpy_figures(taken), 1e-5, 1e-9)
        np.testing.assert_array_equal(
            frame_figures(taken[:, ::-1]), frame_figures(taken[:, ::-1].copy())
        )


def checks(pictures: list[np.ndarray], **changes: object) -> FrameCheck:
    found = learn_limits(np.array([frame_figures(each) for each in pictures]))
    return FrameCheck(FrameChecks(**{
        "too_dark": found.brightness[0], "too_bright": found.brightness[1],
        "empty": found.contrast, "blurred": found.sharpness,
        "shifted": PartPlace(x=found.x, y=found.y), **changes}))  # fmt: skip


def why(check: FrameCheck, pixels: np.ndarray) -> str:
    try:
        check.hold(check.figures(pixels))
    except FrameError as error:
        return error.reason.value
    return ""


def blurred(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1.5)))


def test_each_fault_has_its_reason_and_its_figures(good: list[np.ndarray]) -> None:
    check, own = checks(good[:30]), good[35]
    assert [why(check, each) for each in good[30:]] == [""] * 10
    belt = np.random.default_rng(0).normal(own.mean(), 2, own.shape).astype(np.uint8)
    light = np.minimum(own * 1.6, 255).astype(np.uint8)
    dark = (own * 0.6).astype(np.uint8)
    assert why(check, dark) == why(check, np.zeros_like(own)) == "too dark"
    assert why(check, light) == why(check, np.full_like(own, 255)) == "too bright"
    assert why(check, belt) == "empty"
    assert why(check, blurred(own)) == "blurred"
    assert why(check, np.roll(own, SIZE // 5, 1)) == "shifted"
    assert why(check, np.roll(own, SIZE // 5, 0)) == "shifted"
    with pytest.raises(FrameError, match=r"^brightness \d\d\.\d+, at least \d+\.\d+$"):
        check.hold(check.figures(dark))
    # Each can be turned off by itself.
    assert why(checks(good, too_dark=None), dark) == ""
    assert why(checks(good, blurred=None), blurred(own)) == ""
    assert why(checks(good, shifted=None), np.roll(own, SIZE // 5, 0)) == ""


def test_a_defect_is_for_the_model_to_judge() -> None:
    """A crack in wood, the strongest edges of the picture, says nothing of where the part lies."""
    check = checks([photograph_part("wood", None, SIZE, (0, n))[0] for n in range(30)])
    made = [photograph_part("wood", kind, SIZE, (1, n))[0]
            for kind in WOOD for n in range(6)]  # fmt: skip
    assert len(made) >= 18 and [why(check, each) for each in made] == [""] * len(made)


def test_frozen_is_the_same_picture_again(good: list[np.ndarray]) -> None:
    check = checks(good)
    check.refuse_frozen(good[0], 0)
    check.refuse_frozen(good[0], 1)  # another camera
    for _ in range(2):
        with pytest.raises(FrameError, match="bit for bit") as caught:
            check.refuse_frozen(good[0], 0)
        assert caught.value.reason is Reason.FROZEN
    nearly = good[0].copy()
    nearly[3, 3, 1] += 1
    check.refuse_frozen(nearly, 0)
    off = checks(good, frozen=False)
    off.refuse_frozen(good[0], 0)
    off.refuse_frozen(good[0], 0)


def test_figures_keep_what_they_promise(good: list[np.ndarray]) -> None:
    """A lamp changes the brightness alone; sizes of one pixel and grey ones are figures too."""
    own, dimmed = frame_figures(good[0]), frame_figures((good[0] * 0.8).astype(np.uint8))
    assert dimmed[0] == pytest.approx(0.8 * own[0], rel=0.02)
    assert dimmed[1:] == pytest.approx(own[1:], rel=0.05)
    assert own[0] == pytest.approx(good[0].mean(), rel=0.05)
    for shape in ((1, 1, 3), (8, 8, 3), (3, 200, 3)):
        assert frame_figures(np.full(shape, 7, np.uint8)).tolist() == [7, 0, 0, 0.5, 0.5]
    part = np.random.default_rng(0).integers(30, 34, (SIZE, SIZE, 3), np.uint8)
    part[40:80, 30:90] = 150
    own, moved = frame_figures(part), frame_figures(np.roll(part, (7, 13), (0, 1)))
    assert own[3:] == pytest.approx([60 / SIZE, 60 / SIZE], abs=0.02)
    assert moved[3:] - own[3:] == pytest.approx([13 / SIZE, 7 / SIZE], abs=0.025)


def test_the_share_turned_away_is_that_of_pictures_left_out() -> None:
    """As if each was held against the others, which is done for the outermost only."""
    rng = np.random.default_rng(1)
    figures = np.abs(rng.standard_t(1.2, (150, len(FIGURES)))) + 5
    counted = sum(
        _outside(figures[i], *_bounds(np.delete(figures, i, 0))) for i in range(len(figures))
    )
    assert learn_limits(figures).turned_away == counted > 1
    alike = np.repeat(figures[2:3], 20, 0)
    limits = learn_limits(alike)
    assert limits.turned_away == 0 and limits.brightness[0] < alike[0, 0] < limits.brightness[1]


def test_limits_of_several_classes_are_the_widest() -> None:
    rng = np.random.default_rng(2)
    first, second = (learn_limits(rng.normal(m, 1, (30, 5))) for m in (20, 90))
    both = for_any_of([first, second])
    assert both.brightness == (first.brightness[0], second.brightness[1])
    assert both.contrast == first.contrast and both.pictures == 60


def test_a_line_counts_them(tmp_path: Path) -> None:
    limits = {"too_dark": 40, "too_bright": 90}
    given = recipe(tmp_path, frame_checks=limits)
    with Inspector(given, tmp_path / "l.db", in_process=True, engine=MAKER) as inspector:
        frames = [picture(250), picture(250), picture(100), picture(255), picture(10)]
        found = [inspector.inspect(frame, pixel_format="RGB8") for frame in frames]
    for result in found:
        jsonschema.validate(json.loads(json.dumps(result.row())), SCHEMA)
    reasons = [None if each.reason is None else each.reason.value for each in found]
    assert reasons == ["too bright", "too bright", None, "too bright", "too dark"]
    assert found[0].detail == "brightness 125, at most 90"
    assert found[2].views[0].figures["brightness"] == 50  # its green is 0
    assert totals(tmp_path / "l.db").by_reason == {"too bright": 3, "too dark": 1}


def test_a_frozen_camera_on_a_line(tmp_path: Path) -> None:
    given = recipe(tmp_path, frame_checks={})
    with Inspector(given, tmp_path / "l.db", in_process=True, engine=MAKER) as inspector:
        found = [inspector.inspect(picture(red), pixel_format="RGB8") for red in (9, 9, 9, 8, 9)]
    assert [each.reason for each in found] == [None, Reason.FROZEN, Reason.FROZEN, None, None]
    assert found[1].verdict is Verdict.NOT_INSPECTED


def test_every_reason_is_published() -> None:
    published = SCHEMA["$defs"]["reason_on_a_line"]["enum"]
    assert published == [None, *(reason.value for reason in Reason)]


def test_limits_are_learnt_where_thresholds_are(trained: Path, tmp_path: Path, invad) -> None:
    model, folder, line = tmp_path / "m.safetensors", tmp_path / "good", tmp_path / "line.yaml"
    shutil.copy(trained, model)
    folder.mkdir()
    for number in range(20):
        pixels, _ = photograph_part("metal", None, 64, (0, 0, 6, number))
        Image.fromarray(pixels).save(folder / f"{number}.png")
    words = ("--false-alarm-rate", 0.1, "--quiet", "--good", "--class")
    for name in ("a", "b"):
        done = invad("calibrate", folder, "--model", model, *words, name)
        assert done.status == 0, done.stderr
        assert f"{name}: frame checks turned away" in done.stdout
        assert "of 20 good pictures" in done.stdout
    done = invad("recipe", model, "--output", line)
    assert done.status == 0, done.stderr
    assert "all classes: frame checks turned away" in done.stdout
    held = yaml.safe_load(line.read_text())
    dark = Image.fromarray((np.asarray(Image.open(folder / "3.png")) * 0.4).astype(np.uint8))
    dark.save(tmp_path / "dark.png")
    words = ("--ledger", tmp_path / "l.db", "--headless", "--in-process")
    done = invad("inspect", line, "--source", tmp_path / "dark.png", *words)
    row = json.loads(done.stdout)
    jsonschema.validate(row, SCHEMA)
    assert (row["verdict"], row["reason"]) == ("NOT_INSPECTED", "too dark")
    # What a person has turned off stays off.
    held["frame_checks"] |= {"blurred": None, "frozen": False, "too_dark": 0.0}
    line.write_text(yaml.safe_dump(held))
    assert invad("recipe", model, "--output", line, "--update").status == 0
    again = Recipe.load(line).frame_checks
    assert again is not None and again.blurred is None and not again.frozen
    assert again.too_dark and again.too_dark > 1
