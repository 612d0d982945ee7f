"""Overlays and panels: the photo's size and shape, what is drawn where, and the plot of scores."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from invad_fast.evaluation.score_distribution import score_distribution
from invad_fast.pictures import (
    FOUND_COLOUR,
    TRUTH_COLOUR,
    colour_map,
    comparison,
    overlay,
    panel,
    picture_scale,
)
from invad_fast.prediction import Thresholds

SIZES = [(32, 32), (40, 600), (600, 40), (1, 1), (240, 320), (1944, 2592)]  # height, width


def photo(size: tuple[int, int], colour: tuple[int, int, int] = (90, 120, 90)) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


def blob(size: tuple[int, int] = (64, 64), top: int = 24, left: int = 36) -> np.ndarray:
    """A map of 0.1 with a square of 0.9, a quarter of its side."""
    scores = np.full(size, 0.1, np.float32)
    scores[top : top + size[0] // 4, left : left + size[1] // 4] = 0.9
    return scores


def where(image: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels of just this colour."""
    return np.argwhere((np.asarray(image) == colour).all(axis=2))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "verdict, threshold", [("REJECT", 0.5), ("PASS", 0.95), ("NOT_INSPECTED", None)]
)
def test_an_overlay_has_the_photos_size(size, verdict, threshold) -> None:
    given = photo(size)
    drawn = overlay(given, blob(), 1.0, threshold, verdict, 0.9)
    assert drawn.size == size[::-1] and drawn.mode == "RGB"
    assert (given == (90, 120, 90)).all()  # the photo itself is as it was


@pytest.mark.parametrize("size", [(64, 64), (240, 320), (1944, 2592)])
@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 48, 48), (0, 0, 0)])
def test_the_contour_lies_around_what_was_found_and_is_seen(size, colour) -> None:
    drawn = overlay(photo(size, colour), blob(), 1.0, 0.5, "REJECT", 0.9)
    rows, columns = where(drawn, FOUND_COLOUR).T
    if colour == FOUND_COLOUR:  # of the part's own colour: the dark halo is what is seen
        rows, columns = where(drawn, (16, 16, 16)).T
    down, across = size[0] / 64, size[1] / 64
    width = max(3, min(size) / 40)
    assert abs(rows.min() - 24 * down) <= width and abs(rows.max() - 40 * down) <= width
    assert abs(columns.min() - 36 * across) <= width and abs(columns.max() - 52 * across) <= width
    # As thick as can be seen on a screen that shows the whole picture.
    middle = np.asarray(drawn)[round(32 * down)]
    inked = (middle[: round(44 * across)] == (16, 16, 16)).all(axis=1).sum()
    assert inked >= min(size) / 400


def test_nothing_is_outlined_at_the_threshold_itself() -> None:
    scores = np.full((8, 8), 0.5, np.float32)
    drawn = overlay(photo((200, 200)), scores, 1.0, 0.5, "PASS", 0.5)
    assert not len(where(drawn, FOUND_COLOUR))
    scores[3, 3] = np.nextafter(np.float32(0.5), np.float32(1))
    drawn = overlay(photo((200, 200)), scores, 1.0, 0.5, "REJECT", float(scores.max()))
    assert len(where(drawn, FOUND_COLOUR))


def test_a_region_at_the_edge_is_closed() -> None:
    drawn = overlay(photo((200, 200)), blob(top=48, left=48), 1.0, 0.5, "REJECT", 0.9)
    rows, columns = where(drawn, FOUND_COLOUR).T
    assert rows.max() >= 198 and columns.max() >= 198


def test_a_quiet_map_leaves_the_photo_as_it_is() -> None:
    given = photo((200, 300))
    drawn = np.asarray(overlay(given, np.full((64, 64), 0.2, np.float32), 1.0, 0.5, "PASS", 0.2))
    assert (drawn[60:] == given[60:]).all()  # below the stamp


def test_the_stamp_is_legible_and_hides_nothing_that_was_found() -> None:
    def plate(drawn: Image.Image) -> tuple[int, int, int, int]:
        rows, columns = where(drawn, (190, 24, 24)).T
        return rows.min(), rows.max(), columns.min(), columns.max()

    for size in ((240, 320), (1944, 2592)):
        top, bottom, left, right = plate(overlay(photo(size), blob(), 1.0, 0.5, "REJECT", 0.9))
        assert top == left == 0 and (bottom + 1) / size[0] > 0.05 and (right + 1) / size[1] > 0.3
        corner = overlay(photo(size), blob(top=0, left=0), 1.0, 0.5, "REJECT", 0.9)
        assert plate(corner)[2] > size[1] / 4
    assert not len(where(overlay(photo((32, 32)), blob(), 1.0, 0.5, "REJECT", 0.9), (190, 24, 24)))


def test_one_colour_scale_whatever_the_picture() -> None:
    low, high = np.full((2, 2), 0.1, np.float32), np.full((2, 2), 0.9, np.float32)
    assert (colour_map(low, 1.0) == colour_map(np.array([[0.1, 9.0]]), 1.0)[0, 0]).all()
    assert colour_map(high, 1.0).sum() > 2 * colour_map(low, 1.0).sum()
    odd = np.array([[np.nan, np.inf, -np.inf, -1.0]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = colour_map(odd, 1.0)
    assert (found[0, 0] == found[0, 3]).all() and (found[0, 1] == colour_map(high, 0.9)[0, 0]).all()


def test_the_scale_belongs_to_the_model() -> None:
    def scale(values: dict[str, float], *others: float | None) -> float:
        return picture_scale(SimpleNamespace(thresholds=Thresholds(values)), others)

    assert scale({"*": 0.4, "a": 0.9}) == 0.8
    assert scale({"a": 0.2, "b": 0.3}) == 0.6  # calibrated class by class
    assert scale({}) == 1.0 and scale({}, None, 0.25) == 0.5
    assert scale({"*": 0.0}) == scale({"*": -1.0}) == 1.0


@pytest.mark.parametrize("size, shape", [((300, 200), (300, 612)), ((200, 300), (200, 912)),
                                         ((100, 400), (312, 400))])  # fmt: skip
def test_a_panel_has_the_photos_shape_three_times(size, shape) -> None:
    mask = np.zeros(size, np.uint8)
    mask[20:60, 30:90] = 1
    drawn = panel(photo(size), blob(), 1.0, mask, 0.5)
    assert (drawn.height, drawn.width) == shape
    truth, found = where(drawn, TRUTH_COLOUR), where(drawn, FOUND_COLOUR)
    assert abs(truth[:, 0].min() - 20) <= 3 and abs(truth[:, 1].max() - 90) <= 3
    last = (shape[0] - size[0], shape[1] - size[1])
    assert (found >= last).all() and len(found)
    plain = panel(photo(size), blob(), 1.0)
    assert not len(where(plain, TRUTH_COLOUR)) and not len(where(plain, FOUND_COLOUR))


def test_a_comparison_tells_score_and_threshold_apart() -> None:
    assert comparison(0.53124, 0.41) == "0.5312 > 0.41"
    assert comparison(0.41, 0.41) == "0.41 ≤ 0.41"
    assert comparison(0.41000001, 0.41) == "0.41000001 > 0.41"
    assert comparison(0.5, None) == "0.5" and comparison(float("nan"), 0.4) == "nan"


def scores(count: int = 20) -> tuple[np.ndarray, np.ndarray, float]:
    return np.linspace(0.1, 0.9, count), np.arange(count) >= count // 2, 0.5


HOSTILE = [
    "$x^2$ and $",
    r"$\frac{",
    "缺陷",
    "a\x1b[31m\nb",
    "<b>",
    "👨\u200d👩",
    "x" * 200,
    "\udcff",
    "",
    "עברית",
]


def test_titles_of_the_plot_are_data(tmp_path, capfd) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = score_distribution({name: scores() for name in HOSTILE})
        figure.savefig(tmp_path / "plot.png", dpi=60)
    assert capfd.readouterr().err == ""
    titles = [axes.texts[0].get_text() for axes in figure.axes]
    assert len(titles) == len(HOSTILE)
    assert titles[:2] == HOSTILE[:2] and r"a\x1b[31m\nb" in titles
    assert titles[6].replace("\n", "") == "x" * 200 and "\n" in titles[6]
    width, height = figure.get_size_inches()
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        box = axes.texts[0].get_window_extent(renderer)
        assert box.x1 <= width * figure.dpi and box.y1 <= height * figure.dpi


@pytest.mark.parametrize(
    "row",
    [
        (np.array([np.nan, 0.2, np.inf]), np.array([False, True, True]), None),
        (np.full(3, np.nan), np.zeros(3, bool), 0.5),
        (np.array([0.5]), np.array([True]), 0.5),
        (np.zeros(2), np.zeros(2, bool), 0.0),
        (np.array([1e9, 1e9 + 1]), np.array([True, False]), 1e9),
        (np.array([1e-30, 2e-30], np.float32), np.array([True, False]), 1e-30),
        (np.zeros(0), np.zeros(0, bool), None),
    ],
)  # fmt: skip
def test_a_plot_of_odd_scores(row, tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = score_distribution({"odd": row})
        figure.savefig(tmp_path / "plot.png", dpi=50)
    counted = sum(sum(patch.get_data().values) for patch in figure.axes[0].patches)
    assert counted == np.isfinite(row[0]).sum()


@pytest.mark.parametrize("count, columns", [(1, 1), (6, 1), (16, 2), (80, 4)])
def test_a_plot_of_many_classes_can_be_looked_at(count: int, columns: int) -> None:
    figure = score_distribution({str(i): scores() for i in range(count)})
    assert len({round(axes.get_position().x0, 6) for axes in figure.axes}) == columns
    assert len(figure.axes) == count and max(figure.get_size_inches()) < 50
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 < b.x0 < b.x1 < 1 and 0 < b.y0 < b.y1 < 1 for b in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
