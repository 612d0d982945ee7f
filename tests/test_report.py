"""What an evaluation writes and says: counts at the threshold, pictures, names that are data."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.cells import cell_len
from rich.console import Console

from invad_fast.data import Dataset, Record
from invad_fast.evaluation.evaluate import evaluate_model
from invad_fast.evaluation.report import print_results, write_report
from invad_fast.evaluation.results import Evaluation
from invad_fast.names import visible
from invad_fast.prediction import Origin, Prediction, ScoreRule, Thresholds

HOSTILE = [
    "[bold]", "[/]", "a$b$c", "'quoted\"", "<script>alert(1)</script>", "a,b;c", "=1+1", "@SUM(A1)",
    "../../escaped", "/tmp/absolute", "back\\slash", "new\nline", "a\x1b[31mred", "a\u202egnp",
    "\udcff", "x" * 200, "part", "PART", "mean", "*", "auto", "👍🏽", "缺陷", "..", "con", ":bug:",
]  # fmt: skip


class Brightness:
    """A Predictor whose map is how bright an image is, 0 to 1."""

    input_size = (32, 32)
    score_rule = ScoreRule(mode="unified", form=None, precision=None)
    tells_classes = True
    digest = "0"
    classes: tuple[str, ...] = ()

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds

    def predict(self, images, class_name="auto", **changes) -> Prediction:
        maps = (images * 0.226 + 0.449).mean(1)
        one = isinstance(class_name, str | None)
        names = (class_name,) * len(images) if one else tuple(class_name)
        limits = tuple(self.thresholds.of(name, self.score_rule.but(**changes)) for name in names)
        return Prediction(maps.amax((1, 2)), maps, names, limits)


def record(folder: Path, class_name: str, name: str, peak: int, defect: str = "good",
           size: tuple[int, int] = (40, 60)) -> Record:  # fmt: skip
    """A dark image with a bright square of brightness ``peak``; masked where it has a defect."""
    pixels, mask = np.full((*size, 3), 30, np.uint8), np.zeros(size, np.uint8)
    pixels[10:26, 12:30], mask[10:26, 12:30] = peak, 255
    folder.mkdir(parents=True, exist_ok=True)
    image, masked = folder / f"{name}.png", folder / f"{name}_mask.png"
    Image.fromarray(pixels).save(image)
    Image.fromarray(mask).save(masked)
    anomalous = defect != "good"
    return Record(image, class_name, "test", defect, anomalous, masked if anomalous else None)


def parts(folder: Path, class_name: str) -> list[Record]:
    """At a threshold of 0.5: one of two good ones rejected, two of six defects missed."""
    peaks = {"good": (60, 160), "hole": (80, 100, 180, 200, 220, 240)}
    return [
        record(folder / f"{defect}{i}", class_name, "000", peak, defect)
        for defect, of_defect in peaks.items()
        for i, peak in enumerate(of_defect)
    ]


def evaluated(root: Path, names: list[str], values: dict[str, float], **changes) -> Evaluation:
    records = [r for i, n in enumerate(names) for r in parts(root / "data" / str(i), n)]
    options = {"pictures": 2, "show_progress": False, "workers": 0, "device": "cpu"} | changes
    thresholds = Thresholds(values, Brightness.score_rule, options.pop("origins", {}))
    dataset = Dataset(root / "data", "by hand", tuple(records))
    return evaluate_model(Brightness(thresholds), dataset, output=root / "out", **options)


class Text(HTMLParser):
    """The text of a page, row by row of its tables, and all tags and addresses in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.rows: list[list[str]] = []
        self.captions: list[str] = []
        self.text, self._cell, self._skip = "", False, False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href") and v]
        self._skip = tag == "style"
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True
        elif tag == "figcaption":
            self.captions.append("")

    def handle_endtag(self, tag: str) -> None:
        self._skip = False
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += "" if self._skip else data
        if self._cell:
            self.rows[-1][-1] += data
        elif self.captions and not self._skip:
            self.captions[-1] += data


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Two classes: "a" calibrated, "mean" judged by the provisional threshold for any class."""
    origins = {"a": Origin(source="held-out parts", parts=31, false_alarm_rate=0.01),
               "*": Origin(source="training parts", parts=90, false_alarm_rate=0.05)}  # fmt: skip
    root = tmp_path_factory.mktemp("plain")
    result = evaluated(root, ["a", "mean"], {"a": 0.5, "*": 0.72}, origins=origins)
    write_report(root / "out" / "report.html", "Defects", ["A note."], result)
    return result


def page(result: Evaluation) -> Text:
    assert result.folder is not None
    return Text((result.folder / "report.html").read_text(encoding="utf-8"))


def printed(result: Evaluation, width: int) -> str:
    console = Console(width=width, record=True, force_terminal=True)
    print_results(console, result)
    return console.export_text()


def test_counts_at_the_threshold(plain: Evaluation) -> None:
    a, mean = plain.classes["a"], plain.classes["mean"]
    assert (a.missed, a.defective, a.false_alarms, a.good) == (2, 6, 1, 2)
    assert (mean.missed, mean.false_alarms) == (3, 0)
    assert not a.provisional and mean.provisional
    rows = page(plain).rows
    assert ["a", "2 of 6", "1 of 2", "0.5", "31 parts 1"] in rows
    assert ["mean", "3 of 6", "0 of 2", "0.72", "90 parts, provisional 2"] in rows
    assert ["all together", "5 of 12", "1 of 4", "", ""] in rows
    text = page(plain).text
    assert "5 of 12 defective parts missed, 1 of 4 good parts rejected." in text
    assert "Set on held-out parts for a false-alarm rate of 0.01" in text
    assert "Of all classes together, set on training parts for a false-alarm rate of 0.05" in text


@pytest.mark.parametrize("width", [80, 120, 40])
def test_the_terminal_says_the_same(plain: Evaluation, width: int) -> None:
    text = printed(plain, width)
    assert max(map(len, text.split("verdicts at")[0].splitlines())) <= width
    if width == 40:  # wrapped, but all there
        assert {"2", "6", "0.5", "0.72", "mean"} <= set(text.split("verdicts at")[1].split())
    if width >= 80:
        assert re.search(r"^a +2 of 6 +1 of 2 +0\.5 +31 parts \[1\]$", text, re.M)
        assert re.search(r"^mean +3 of 6 .*90 parts, provisional \[2\]$", text, re.M)
    assert "5 of 12 defective parts missed, 1 of 4 good parts rejected." in text
    assert "1 threshold is provisional" in text
    figures = {"I-AUROC", "AUPRO", "P-AUROC", "mAD_T", "mAD"}
    assert figures <= set(text.split())


def test_every_picture_says_what_became_of_the_part(plain: Evaluation) -> None:
    captions = page(plain).captions
    drawn = [p for r in plain.classes.values() for p in r.drawn]
    assert len(captions) == len(drawn)
    for caption, picture in zip(captions, drawn):
        verdict = "REJECT" if picture.score > picture.threshold else "PASS"
        badge = {"miss": "MISSED", "false alarm": "FALSE ALARM", "reject": "FOUND"}
        assert caption.startswith(badge[picture.outcome]) and f", {verdict}" in caption
        assert f"{picture.score:.4g} " in caption and f" {picture.threshold:.4g}" in caption
        assert picture.verdict.value == verdict
        with Image.open(picture.path) as image:  # 60×40, three times beside each other
            assert image.size == (3 * 400 + 12, 267)
    assert len({p.path for p in drawn}) == len(drawn)  # though all images are called 000.png
    of_a = [p.outcome for p in plain.classes["a"].drawn]
    assert of_a == ["miss", "miss", "false alarm", "reject", "reject"]
    assert "Defects found (4: 2 of them shown" in page(plain).text


def test_a_class_called_mean_is_not_the_mean(plain: Evaluation) -> None:
    assert plain.folder is not None
    described = json.loads((plain.folder / "figures.json").read_text())
    assert set(described["figures"]) == {"a", "mean"}
    assert described["verdicts"]["mean"]["missed"] == 3
    rows = list(csv.DictReader((plain.folder / "figures.csv").open()))
    assert [(r["class"], r["kind"]) for r in rows] == [
        ("a", "class"), ("mean", "class"), ("mean of 2 classes", "mean"),
    ]  # fmt: skip
    names = [row[0] for row in page(plain).rows]
    assert names.count("mean") == 2 and names.count("mean of 2 classes") == 1
    assert len(re.findall(r"^mean of 2 classes ", printed(plain, 120), re.M)) == 1


def test_a_row_an_image(plain: Evaluation) -> None:
    assert plain.folder is not None
    rows = list(csv.DictReader((plain.folder / "images.csv").open()))
    assert len(rows) == 16
    for row in rows:
        rejected = float(row["score"]) > float(row["threshold"])
        assert row["verdict"] == ("REJECT" if rejected else "PASS")
        good = row["defect"] == "good"
        assert row["outcome"] == [["miss", "reject"], ["pass", "false alarm"]][good][rejected]
        assert Path(row["file"]).is_file()
    of_mean = [r for r in rows if r["class"] == "mean"]
    assert sum(r["outcome"] == "miss" for r in of_mean) == 3


def test_names_are_data(tmp_path: Path) -> None:
    before = set(tmp_path.parent.rglob("*"))
    result = evaluated(tmp_path, HOSTILE, {"*": 0.5}, pictures=1)
    write_report(tmp_path / "out" / "report.html", "[bold] <i>$x$", ["<b>note</b>"], result)
    pictures = [p for r in result.classes.values() for p in r.pictures]
    assert len(pictures) == 3 * len(HOSTILE)  # a miss, a false alarm, a defect found
    assert len({str(p.resolve()).casefold() for p in pictures}) == len(pictures)
    out = (tmp_path / "out").resolve()
    for path in pictures:
        assert path.is_file() and out in path.resolve().parents
    new = set(tmp_path.parent.rglob("*")) - before
    assert all(out in p.resolve().parents or (tmp_path / "data") in p.parents or p in
               (out, tmp_path / "data") for p in new)  # fmt: skip

    read = page(result)
    cells = [row[0] for row in read.rows]
    text = printed(result, 300)
    rows = list(csv.reader((tmp_path / "out" / "figures.csv").open(encoding="utf-8")))
    for name in HOSTILE:
        assert cells.count(visible(name)) == 2  # verdicts and figures
        assert visible(name) in text
        assert visible(name) in [row[0].removeprefix("'") for row in rows]
        assert not any(row[0].startswith(("=", "+", "-", "@")) for row in rows)
    assert not set(read.tags) & {"script", "i", "b"}
    assert all(a.startswith(("data:image/", "#class-")) for a in read.addresses)
    assert "\x1b[31mred" not in text and "\u202e" not in text
    described = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert set(described["figures"]) == set(HOSTILE)


def test_long_names_do_not_break_the_table(tmp_path: Path) -> None:
    result = evaluated(tmp_path, ["y" * 200, "中" * 60, "b"], {"*": 0.5}, pictures=0)
    text = printed(result, 80)
    assert text.replace("\n", "").replace(" ", "").count("y" * 20) >= 1
    table = text.split("defective parts missed")[0].split("[1] set")[0]
    assert max(map(cell_len, table.splitlines())) <= 80
    assert re.search(r"^b +.*2 of 6", text, re.M)


def test_nothing_is_fetched_and_each_picture_is_small(plain: Evaluation) -> None:
    assert plain.folder is not None
    read = page(plain)
    source = (plain.folder / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:|#)|url\(|@import|<link", source)
    assert read.tags.count("img") == 1 + sum(len(r.drawn) for r in plain.classes.values())
    assert len(source) < 600_000


def test_what_could_not_be_read_is_counted(tmp_path: Path) -> None:
    records = parts(tmp_path / "data", "a")
    records[0].image.write_bytes(b"no image")
    thresholds = Thresholds({"*": 0.5}, Brightness.score_rule)
    dataset = Dataset(tmp_path / "data", "by hand", tuple(records))
    result = evaluate_model(Brightness(thresholds), dataset, output=tmp_path / "out", workers=0,
                            skip_damaged=True, show_progress=False, device="cpu")  # fmt: skip
    write_report(tmp_path / "out" / "report.html", "t", [], result)
    line = "1 image could not be read, and is not in these numbers."
    assert result.unreadable == 1 and line in page(result).text and line in printed(result, 100)


def test_without_a_threshold_the_best_f1_is_told_and_counts_as_it_says(tmp_path: Path) -> None:
    result = evaluated(tmp_path, ["a"], {})
    found = result.classes["a"]
    # The best F1 calls all from 180 on anomalous, or all from 80 on with one false alarm.
    predicted = found.rejected
    tp = (predicted & found.anomalous).sum()
    f1 = 2 * tp / (predicted.sum() + found.anomalous.sum())
    assert f1 == pytest.approx(found.figures["image_f1_max"])
    assert found.provisional and "best F1 on this test set" in found.origin


def test_without_both_kinds_there_is_no_verdict(tmp_path: Path) -> None:
    records = [r for r in parts(tmp_path / "data", "a") if r.anomalous]
    dataset = Dataset(tmp_path / "data", "by hand", tuple(records))
    result = evaluate_model(Brightness(Thresholds()), dataset, output=tmp_path / "out", workers=0,
                            show_progress=False, device="cpu")  # fmt: skip
    write_report(tmp_path / "out" / "report.html", "t", [], result)
    assert "No verdicts: there is no threshold." in page(result).text
    assert ["a", "– of 6", "none there", "none", ""] in page(result).rows
    rows = list(csv.DictReader((tmp_path / "out" / "images.csv").open()))
    assert {r["verdict"] for r in rows} == {"NOT_INSPECTED"} and {r["threshold"] for r in rows} == {
        ""
    }
    assert all("no threshold" in caption for caption in page(result).captions)


def test_wide_and_tiny_photos_keep_their_shape(tmp_path: Path) -> None:
    sizes = {"wide": (50, 900), "tiny": (32, 32), "tall": (300, 30)}
    records = [record(tmp_path / "data", "a", n, 250, "hole", s) for n, s in sizes.items()]
    records.append(record(tmp_path / "data", "a", "good", 40))
    dataset = Dataset(tmp_path / "data", "by hand", tuple(records))
    result = evaluate_model(Brightness(Thresholds({"*": 0.5}, Brightness.score_rule)), dataset,
                            output=tmp_path / "out", workers=0, show_progress=False,
                            device="cpu")  # fmt: skip
    shapes = {}
    for picture in result.classes["a"].drawn:
        with Image.open(picture.path) as image:
            shapes[picture.record.image.stem] = image.size
    assert shapes == {"wide": (1000, 3 * 56 + 12), "tiny": (1212, 400), "tall": (132, 400)}


def test_an_evaluation_that_is_cut_off_leaves_the_earlier_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    evaluated(tmp_path, ["nut"], {"*": 0.5})
    folder = tmp_path / "out" / "pictures"
    (folder / "nut" / "of mine.png").write_bytes(b"mine")
    before = {path for path in folder.rglob("*.png")}
    figures = (tmp_path / "out" / "figures.json").read_bytes()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("invad_fast.evaluation.drawing.panel", cut_off)
        evaluated(tmp_path, ["nut"], {"*": 0.5})
    assert {path for path in folder.rglob("*.png")} == before
    assert (tmp_path / "out" / "figures.json").read_bytes() == figures
    # A whole one takes their places, and what it does not draw itself is gone.
    result = evaluated(tmp_path, ["nut"], {"*": 0.5}, pictures=1)
    drawn = {path for r in result.classes.values() for path in r.pictures}
    assert drawn < before
    assert set(folder.rglob("*.png")) == drawn | {folder / "nut" / "of mine.png"}
