"""One scalar decides: the highest level at which a region of the least area exists."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from refusals import one_line
from scipy import ndimage
from scipy.ndimage import gaussian_filter

from invad_fast import ScoreRule, find_images, load_model, predict_files
from invad_fast.data.region_of_interest import check_polygons, inside_of, largest_part
from invad_fast.inspection import regions
from invad_fast.inspection.regions import regions_above
from invad_fast.metrics import region_scores as module
from invad_fast.metrics.region_scores import region_scores
from invad_fast.pictures import overlay

AROUND = np.ones((3, 3), int)


def largest(above: np.ndarray) -> int:
    labels, count = ndimage.label(above, AROUND)
    return int(np.bincount(labels.ravel())[1:].max()) if count else 0


def by_definition(scores: np.ndarray, least: int, inside: np.ndarray) -> float:
    """Each level of the map tried, from the highest on."""
    for level in sorted(set(scores[inside].tolist()), reverse=True):
        if largest((scores >= level) & inside) >= least:
            return level
    return -np.inf


@pytest.fixture(params=["native", "numpy"])
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(module, "native_module", lambda: None)
    return request.param


MAPS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0])),
        arrays(bool, shape),
        st.integers(1, shape[0] * shape[1]),
        st.sampled_from([-2.0, 0.0, 0.3, 0.5, 2.0]),
    )
)


@settings(max_examples=150, deadline=None)
@given(MAPS)
def test_is_what_the_definition_says(case) -> None:
    scores, inside, least, threshold = case
    found = float(region_scores(scores[None], least, inside)[0])
    assert found == by_definition(scores, least, inside)
    # The verdict and the regions that are drawn are of one mind.
    assert (found > threshold) == (largest((scores > threshold) & inside) >= least)


@pytest.mark.parametrize("least", [1, 2, 7, 60, 900, 20_000])
def test_on_smooth_and_rough_maps(core: str, least: int) -> None:
    rng = np.random.default_rng(least)
    maps = rng.standard_normal((3, 160, 144)).astype(np.float32)
    maps[1] = ndimage.gaussian_filter(maps[1], 4)
    maps[2] = np.round(maps[2])  # ties
    for mask in (None, np.asarray(ndimage.gaussian_filter(rng.random((160, 144)), 9) > 0.49)):
        found = region_scores(maps, least, mask)
        where = np.ones(maps.shape[1:], bool) if mask is None else mask
        for scores, level in zip(maps, found):
            if level == -np.inf:
                assert largest(where) < least
                continue
            assert largest((scores >= level) & where) >= least
            assert largest((scores > level) & where) < least


def test_with_the_defaults_it_is_the_maximum(core: str) -> None:
    maps = np.random.default_rng(0).standard_normal((4, 33, 20)).astype(np.float32)
    assert (region_scores(maps, 1) == maps.max((1, 2))).all()


def test_regions_of_interest() -> None:
    whole = check_polygons("0,0 1,0 1,1 0,1")
    assert inside_of(whole, (5, 7)).all()
    left = check_polygons([[(0, 0), (0.5, 0), (0.5, 1), (0, 1)]])
    assert (inside_of(left, (4, 8)) == (np.arange(8) < 4)).all()
    two = check_polygons("0,0 0.25,0 0.25,1 0,1; 0.75,0 1,0 1,1 0.75,1")
    assert inside_of(two, (4, 8)).sum() == 16 and largest_part(two, (4, 8)) == 8
    for wrong in ("0,0 1,1", "0,0 1,0 2,2", "a", [], [[(0, 0), (1, 1), (0, float("nan"))]], 3, ""):
        one_line("polygons of at least three corners", lambda w=wrong: check_polygons(w))


def test_a_rule_says_what_it_is() -> None:
    rule = ScoreRule(mode="unified", least_area=20, region="0,0 1,0 1,1")
    assert rule == ScoreRule(mode="unified", least_area=20, region=(((0, 0), (1, 0), (1, 1)),))
    assert hash(rule) and not rule.takes_maximum
    assert rule.difference(rule.but(least_area=21)) == "least_area 20, not 21"
    assert "region none, not" in str(ScoreRule(mode="unified").difference(rule.but(least_area=1)))
    one_line("cannot go together", lambda: ScoreRule(mode="unified", pooling=3, least_area=2))
    one_line("least_area", lambda: ScoreRule(mode="unified", least_area=0))


def test_regions_have_outlines_and_sides() -> None:
    scores = np.zeros((40, 60), np.float32)
    scores[10:14, 20:40] = 1  # a bar
    scores[30, 50] = 3  # a speck
    found = regions_above(scores, 0.5, (80, 120), mm_per_pixel=0.5)
    speck, bar = found
    assert speck["polygon"] == [[100, 60], [102, 60], [102, 62], [100, 62]]
    assert bar["box"] == [40, 20, 40, 8] and bar["longest_side"] == 40 and bar["area"] == 320
    assert bar["area_mm2"] == 80 and bar["longest_side_mm"] == 20
    rule = ScoreRule(mode="unified", least_area=2)
    assert [r["box"] for r in regions_above(scores, 0.5, (40, 60), rule)] == [[20, 10, 20, 4]]
    right = ScoreRule(mode="unified", region="0.7,0 1,0 1,1 0.7,1")
    assert [r["box"] for r in regions_above(scores, 0.5, (40, 60), right)] == [[50, 30, 1, 1]]
    rows, columns = np.mgrid[:200, :200]
    turned = (abs(rows - columns) < 8) & (abs(rows + columns - 200) < 80)
    (region,) = regions_above(turned.astype(np.float32), 0.5, (200, 200))
    assert region["longest_side"] == pytest.approx(80 * 2**0.5, rel=0.05)


def test_a_line_of_pixels_and_a_ring_have_outlines() -> None:
    ring = np.zeros((20, 20), np.float32)
    ring[3:16, 3:16], ring[6:12, 6:12] = 1, 0
    ring[18, 2:9] = 2
    line, outer = regions_above(ring, 0.5, (20, 20))
    assert sorted(outer["polygon"]) == [[3, 3], [3, 16], [16, 3], [16, 16]]
    assert sorted(line["polygon"]) == [[2, 18], [2, 19], [9, 18], [9, 19]]
    steps = np.zeros((3, 3), np.float32)  # they touch at corners
    steps[0, 0] = steps[1, 1] = steps[0, 2] = 1
    (region,) = regions_above(steps, 0.5, (3, 3))
    assert region["area"] == 3 and len(region["polygon"]) == 12


def test_predict_calibrate_and_evaluate_take_the_rule(
    trained: Path, parts: Path, tmp_path: Path, invad
) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(trained.read_bytes())
    rule = ("--least-area", 12, "--region", "0.1,0.1 0.9,0.1 0.9,0.9 0.1,0.9")
    done = invad("calibrate", parts, "--model", model, "--false-alarm-rate", 0.2, *rule, "--quiet")
    assert done.status == 0, done.stderr
    loaded = load_model(model)
    held = loaded.optimize().score_rule
    assert held.least_area == 12 and held.region is not None
    images = find_images([parts / "a/test/good"])
    rows = list(predict_files(loaded, images))
    assert [row["verdict"] for row in rows] == ["PASS"] * 4
    assert max(row["score"] for row in rows) == rows[0]["threshold"]
    plain = list(predict_files(loaded, images, least_area=1))
    assert all(row["verdict"] == "NOT_INSPECTED" for row in plain)
    assert all(a["score"] <= b["score"] for a, b in zip(rows, plain))
    done = invad("evaluate", parts, "--model", model, "--output", tmp_path / "e")
    assert done.status == 0 and '"least_area": 12' in (tmp_path / "e/figures.json").read_text()
    one_line("does not fit", lambda: list(predict_files(loaded, images, least_area=10**6)))


def test_what_does_not_count_is_not_outlined() -> None:
    """The picture and the verdict are of one mind."""
    scores = np.zeros((64, 64), np.float32)
    scores[10:13, 10:13], scores[40:50, 40:50] = 1, 1
    photo = np.full((64, 64, 3), 128, np.uint8)

    def red(rule: ScoreRule | None) -> np.ndarray:
        drawn = np.asarray(overlay(photo, scores, 1e9, 0.5, "PASS", 0.0, rule)).astype(int)
        return (drawn[..., 0] - drawn[..., 1] > 100) & (np.arange(64)[:, None] > 8)

    speck, spot = np.s_[8:15, 8:15], np.s_[36:54, 36:54]
    assert red(None)[speck].any() and red(None)[spot].any()
    large = red(ScoreRule(mode="unified", least_area=20))
    assert not large[speck].any() and large[spot].any()
    corner = red(ScoreRule(mode="unified", region="0,0 0.4,0 0.4,0.4 0,0.4"))
    assert corner[speck].any() and not corner[spot].any()


def test_an_area_larger_than_the_map_is_never_there(core: str) -> None:
    assert (region_scores(np.ones((2, 3, 4), np.float32), 13) == -np.inf).all()
    assert region_scores(np.ones((0, 3, 4), np.float32), 2).shape == (0,)


@pytest.mark.parametrize("smooth", [0.0, 0.7, 1.5])
def test_compiled_regions_are_the_plain_ones(smooth: float, monkeypatch) -> None:
    rng, tried = np.random.default_rng(int(10 * smooth)), []
    for _ in range(60):
        height, width = (int(n) for n in rng.integers(1, 40, 2))
        scores = gaussian_filter(rng.random((height, width)), smooth).astype(np.float32)
        size = (height * int(rng.integers(1, 5)), width * int(rng.integers(1, 5)))
        tried.append((scores, float(np.quantile(scores, rng.random())), size))
    compiled = [regions_above(*each, mm_per_pixel=0.5) for each in tried]
    assert max(map(len, compiled)) > 5
    monkeypatch.setattr(regions, "native_module", lambda: None)
    for each, found in zip(tried, compiled, strict=True):
        assert by_place(regions_above(*each, mm_per_pixel=0.5)) == by_place(found)


def by_place(found: list[dict]) -> list[dict]:
    """Of several as strong the order is nobody's."""
    return sorted(found, key=lambda region: (-region["peak"], region["box"]))
