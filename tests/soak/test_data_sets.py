"""Index files with odd values, and trees of hostile names: a data set or one line, soon, and
nothing is written."""

import csv
import io
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sample_sets

from invad_fast.data import read_dataset
from invad_fast.data.mask_source import MaskFiles, MaskRuns
from soak.bounded import Bounded
from soak.damage import any_value, damaged, nested_deeply, with_odd_values
from soak.rounds import Rounds

MEBIBYTES = 100
SECRET = "secret.png"  # lies beside the data set: no index may lead to it


def read(root: str) -> int:
    """Called in the other process: how many records there are, each a file below the root."""
    dataset = read_dataset(root)
    inside = os.path.join(os.path.abspath(root), "")
    for record in (*dataset.records, *dataset.validation):
        mask = record.mask
        masks = mask.paths if isinstance(mask, MaskFiles) else [mask]
        for path in (record.image, *masks):
            if path is not None and not isinstance(path, MaskRuns):
                assert os.path.abspath(path).startswith(inside), path
                assert os.path.isfile(path), path
        assert record.class_name and record.defect
    assert (dataset.records or dataset.validation) and dataset.counts
    return len(dataset.records) + len(dataset.validation)


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything below the folder, with size and time."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            stat = os.lstat(os.path.join(place, name))
            found[os.path.join(place, name)] = (stat.st_size, stat.st_mtime_ns)
    return found


def odd_path(rng: random.Random) -> str:
    return rng.choice((f"../{SECRET}", f"a/../../{SECRET}", f"..\\{SECRET}", "/etc/passwd", ".",
                       "C:\\x.png", "x" * 300, "a\0b", "a/good.png/", "~/x.png"))  # fmt: skip


def odd_table(text: str, rng: random.Random) -> str:
    """A CSV table with cells, rows or columns changed."""
    rows = list(csv.reader(io.StringIO(text)))
    for _ in range(rng.randint(1, 4)):
        row = rng.choice(rows)
        kind = rng.randrange(5)
        if kind == 0 and row:
            row[rng.randrange(len(row))] = rng.choice((odd_path(rng), str(any_value(rng, 9))))
        elif kind == 1 and row:
            del row[rng.randrange(len(row))]
        elif kind == 2:
            row.insert(rng.randint(0, len(row)), str(any_value(rng, 9)))
        elif kind == 3:
            rows.insert(rng.randint(0, len(rows)), list(row))
        elif len(rows) > 1:
            rows.remove(row)
    out = io.StringIO()
    csv.writer(out, lineterminator=rng.choice(("\n", "\r\n", "\r"))).writerows(rows)
    return out.getvalue()


def odd_index(text: str, suffix: str, rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        if suffix == ".json" and rng.random() < 0.1:
            return nested_deeply(text, rng).encode()
        return damaged(text.encode(), rng)
    if suffix == ".csv":
        return odd_table(text, rng).encode("utf-8", "replace")
    if kind == 1:  # a path elsewhere
        named = [word for word in text.split('"') if "/" in word]
        return text.replace(json.dumps(rng.choice(named)), json.dumps(odd_path(rng)), 1).encode()
    return json.dumps(with_odd_values(json.loads(text), rng)).encode()


INDEXED: dict[str, Callable[[Path], Path]] = {
    "meta.json": sample_sets.meta_json,
    "split_csv/1cls.csv": sample_sets.visa,
    "realiad_jsons/audiojack.json": sample_sets.real_iad,
}


@pytest.mark.soak("index files with odd values: meta.json, VisA's table, Real-IAD's", weight=2)
def test_odd_index_files(rounds: Rounds, bounded: Bounded, tmp_path: Path) -> None:
    sound = {}
    for index, make in INDEXED.items():
        root = tmp_path / Path(index).stem / "set"
        make(root)
        sample_sets.picture(root.parent / SECRET)
        sound[root / index] = (root / index).read_text()
        assert bounded.call(MEBIBYTES, read, str(root)).value
    for rng in rounds:
        index = rng.choice(list(sound))
        root = next(f for f in index.parents if f.name == "set")
        index.write_bytes(odd_index(sound[index], index.suffix, rng))
        before = contents(root.parent)
        answer = bounded.call(MEBIBYTES, read, str(root))
        assert contents(root.parent) == before
        rounds.came("read" if answer.value else "refused in one line")
        index.write_text(sound[index])


def build_coco(root: str, out: str) -> int:
    """Called in the other process."""
    from invad_fast.data.coco_ad import build_coco_ad

    (report,) = build_coco_ad(root, 1, out)
    return len(read_dataset(report.folder, outside=True).records)


@pytest.mark.soak("COCO's annotation files with odd values", weight=1)
def test_odd_coco_files(rounds: Rounds, bounded: Bounded, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools", reason="pip install 'invad-fast[coco]'")
    from test_data_coco_ad import TRAIN, VAL, write_coco

    root = write_coco(tmp_path / "coco", TRAIN, VAL)
    sound = {file: file.read_text() for file in sorted((root / "annotations").iterdir())}
    for rng in rounds:
        file, text = rng.choice(list(sound.items()))
        if rng.random() < 0.3:
            file.write_bytes(damaged(text.encode(), rng))
        else:
            content = json.loads(text)
            part = rng.choice(("images", "annotations", "annotations", "categories"))
            content[part] = with_odd_values(content[part], rng)
            file.write_text(json.dumps(content))
        before = contents(tmp_path)
        out = tmp_path / f"out{rounds.number}"
        answer = bounded.call(MEBIBYTES, build_coco, str(root), str(out))
        after = contents(tmp_path)
        assert {p: v for p, v in after.items() if not p.startswith(str(out))} == before
        rounds.came("built" if answer.value else "refused in one line")
        file.write_text(text)


USUAL = ("good", "ok", "Good", "train", "test", "validation", "ground_truth", "masks", "cut",
         "rgb", "gt", "Label", "Train", "NG", "bolt", "nut")  # fmt: skip
HOSTILE = (b"\xff\xfe", b"a\nb", b"\x1b[31mred", "\u202egnp.exe".encode(), b"=cmd()", b"a\\b",
           b"%s{}", b" ", b"-rf", b"..x", b"~", b"#", b"a" * 200, "e\u0301".encode(), b"CON",
           b"good ", b"*", b"NaN", b"\xf0\x9f\x94\xa9", b"[1]", b"'\"`$(x)")  # fmt: skip


def grow(folder: Path, rng: random.Random, depth: int = 0) -> None:
    """Folders, images, files that are none, and links, under usual and hostile names."""
    folder.mkdir(exist_ok=True)
    for _ in range(rng.randint(0, 5)):
        usual = rng.random() < 0.7
        name = rng.choice(USUAL) if usual else os.fsdecode(rng.choice(HOSTILE))
        kind = rng.randrange(10)
        path = folder / (name + rng.choice((".png", ".jpg", ".txt", "", "_mask.png", ".PNG")))
        if kind < 4 and depth < 4:
            path = folder / name
            if not os.path.lexists(path):
                grow(path, rng, depth + 1)
        elif os.path.lexists(path):
            continue
        elif kind < 7:
            sample_sets.picture(folder / "drawn.png").rename(path)
        elif kind < 8:
            path.write_bytes(rng.randbytes(rng.choice((0, 9, 300))))
        elif kind < 9:
            path.symlink_to(rng.choice((".", "..", path.name, "nowhere", "good")))
        else:
            os.mkfifo(path) if hasattr(os, "mkfifo") else path.touch()


@pytest.mark.skipif(os.name != "posix", reason="names that only POSIX has")
@pytest.mark.soak("trees of folders with hostile names, links and pipes", weight=2)
def test_hostile_trees(rounds: Rounds, bounded: Bounded, tmp_path: Path) -> None:
    for rng in rounds:
        root = tmp_path / str(rounds.number)
        sample_sets.mvtec(root, ("bolt",), 1) if rng.random() < 0.4 else root.mkdir()
        grow(root, rng)
        places = [Path(place) for place, _, _ in os.walk(root)]
        grow(rng.choice(places), rng)
        before = contents(tmp_path)
        answer = bounded.call(MEBIBYTES, read, str(root))
        assert contents(tmp_path) == before
        rounds.came("read" if answer.value else "refused in one line")
        shutil.rmtree(root)
