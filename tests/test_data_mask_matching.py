"""Masks are told from images, and found wherever they usually lie."""

from pathlib import Path

import pytest
from read_sets import counts, read, tree
from refusals import one_line
from sample_sets import mask, picture

from invad_fast.data import load_mask, read_dataset

MASKS = [
    "ground_truth/scratch/{}_mask.png",
    "ground_truth/scratch/{}.png",
    "ground_truth/scratch/{}_gt.png",
    "ground_truth/scratch/{}_GT.bmp",
    "ground_truth/scratch/{}_MASK.PNG",
    "ground_truth/scratch/{}_mask_1.png",
    "ground_truth/scratch/{}_mask1.png",
    "ground_truth/scratch/{}-mask.png",
    "ground_truth/scratch/{} mask.png",
    "ground_truth/scratch/{}mask.png",
    "ground_truth/scratch/{}.mask.png",
    "ground_truth/scratch/{}_1.png",
    "ground_truth/scratch/{}_label.png",
    "ground_truth/scratch/{}_segmentation.png",
    "ground_truth/scratch/{}_gt_mask.png",
    "ground_truth/scratch/{}_anomaly_mask_01.png",
    "ground_truth/scratch/{}_ground_truth.png",
    "ground_truth/scratch/mask_{}.png",
    "ground_truth/scratch/{}.png.png",
    "ground_truth/scratch/{}.png_mask.png",
    "ground_truth/scratch/{}/000.png",
    "ground_truth/scratch/{}/mask.png",
    "ground_truth/Scratch/{}_mask.png",
    "Ground_Truth/scratch/{}_mask.png",
    "GROUND_TRUTH/SCRATCH/{}_mask.png",
    "groundtruth/scratch/{}.png",
    "ground truth/scratch/{}.png",
    "masks/scratch/{}.png",
    "mask/scratch/{}.png",
    "gt/scratch/{}.png",
    "ground_truth/test/scratch/{}.png",
    "ground_truth/{}_mask.png",
    "ground_truth/scratch_{}.png",
    "ground_truth/scratch_{}_mask.png",
    "ground_truth/{}_scratch.png",
    "masks/{}.png",
    "test/ground_truth/scratch/{}.png",
    "test/masks/{}.png",
    "test/scratch/masks/{}.png",
    "test/scratch/GT/{}_mask.png",
    "test/scratch/{}_mask.png",
    "test/scratch/{}_GT.png",
    "test/scratch/{}.bmp",
    "test/scratch_masks/{}.png",
    "test/mask_scratch/{}.png",
    "labels/scratch/{}.png",
    "annotations/{}.png",
    "../ground_truth/a/scratch/{}_mask.png",
    "../masks/a/{}.png",
]


@pytest.mark.parametrize("where", MASKS)
def test_masks_of_every_usual_place_and_name(root: Path, where: str) -> None:
    folder = tree(root)
    for i in range(2):
        mask(folder / where.format(f"{i:03}"))
    dataset, note = read(root)
    assert counts(dataset) == (3, 2, 2) and not note
    for record in dataset.test:
        assert load_mask(record).sum() == (8 * 14 if record.anomalous else 0)


@pytest.mark.parametrize(
    "where",
    [
        "masks/{}.png",
        "Masks/abnormal/{}.png",
        "ground_truth/abnormal/{}_mask.png",
        "abnormal/{}_mask.png",
        "abnormal/{}.bmp",
        "abnormal/gt/{}.png",
        "abnormal_masks/{}.png",
        "abnormal_mask/{}_mask.png",
        "defect_masks/{}.png",
        "label/{}.png",
        "../ground_truth/a/abnormal/{}.png",
    ],
)
def test_masks_in_a_plain_folder(root: Path, where: str) -> None:
    for i in range(10):
        picture(root / "a" / "normal" / f"{i}.png", i)
    for i in range(3):
        picture(root / "a" / "abnormal" / f"{i}.png", 20 + i)
        mask(root / "a" / where.format(i))
    dataset, note = read(root)
    assert counts(dataset) == (8, 2, 3) and not note
    assert {record.defect for record in dataset.test} == {"good", "abnormal"}
    assert all(load_mask(r).any() == r.anomalous for r in dataset.test)


def test_masks_beside_the_images_of_all_folders(root: Path) -> None:
    """As in the magnetic tile data set: a black mask beside every good image."""
    for i in range(6):
        picture(root / "tile" / "good" / f"e{i}.jpg", i)
        mask(root / "tile" / "good" / f"e{i}.png", rows=slice(0))
    for i in range(3):
        picture(root / "tile" / "blowhole" / f"e{i}.jpg", 10 + i)
        mask(root / "tile" / "blowhole" / f"e{i}.png")
    dataset, note = read(root)
    assert sum(counts(dataset)) == 9 and counts(dataset)[2] == 3 and not note
    assert {record.image.suffix for record in dataset.records} == {".jpg"}
    assert all(load_mask(r).any() for r in dataset.test if r.anomalous)


def test_what_only_looks_like_a_mask_by_its_name_is_an_image(root: Path) -> None:
    folder = tree(root, defect="label")  # bottles without one
    picture(folder / "test" / "label" / "000_label.png", 30)  # another view
    picture(folder / "test" / "label" / "001.jpg", 31)  # another photograph of the same number
    picture(folder / "test" / "gas_mask" / "000.png", 32)
    picture(folder / "train" / "good" / "part_mask.png", 33)  # no part.png is there
    dataset, note = read(root)
    assert counts(dataset) == (4, 2, 5) and not note


def test_masks_of_good_parts_are_not_missed(root: Path) -> None:
    folder = tree(root)
    for name in ("good", "scratch"):
        for i in range(2):
            blank = slice(0) if name == "good" else slice(4, 12)
            mask(folder / "ground_truth" / name / f"{i:03}_mask.png", rows=blank)
    assert read(root)[1] == ""
    for file in (folder / "ground_truth" / "good").iterdir():
        file.rename(folder / "ground_truth" / f"00{7 + int(file.name[2])}_mask.png")
    for i in range(2):
        (folder / "test" / "good" / f"{i:03}.png").rename(
            folder / "test" / "good" / f"00{7 + i}.png"
        )
    assert read(root)[1] == ""  # all in one folder
    mask(folder / "ground_truth" / "007_mask.png")  # it shows a defect in a good part
    assert "masks that fit no image: 1 (such as a/ground_truth/007_mask.png)" in read(root)[1]


def test_several_masks_of_an_image_are_a_union(root: Path) -> None:
    folder = tree(root)
    for i in range(2):
        mask(folder / f"ground_truth/scratch/{i:03}_mask_1.png", rows=slice(4, 8))
        mask(folder / f"ground_truth/scratch/{i:03}_mask_2.png", rows=slice(7, 12))
    dataset, note = read(root)
    assert [load_mask(r).sum() for r in dataset.test if r.anomalous] == [8 * 14] * 2 and not note


def test_images_of_one_name_and_one_mask(root: Path) -> None:
    folder = tree(root)
    picture(folder / "test" / "scratch" / "000.jpg", 30)  # another format of it
    picture(folder / "test" / "scratch" / "N.png", 31)
    picture(folder / "test" / "scratch" / "n.png", 32)  # another image
    for name in ("000_mask", "001_mask", "N_mask", "n"):
        mask(folder / "ground_truth" / "scratch" / f"{name}.png")
    dataset, note = read(root)
    masks = {r.image.name: r.mask.name for r in dataset.test if r.anomalous}
    assert masks == {
        "000.jpg": "000_mask.png", "000.png": "000_mask.png", "001.png": "001_mask.png",
        "N.png": "N_mask.png", "n.png": "n.png",
    }  # fmt: skip
    assert not note


@pytest.mark.parametrize(
    "where, count",
    [
        ("ground_truth/crack/{}_mask.png", 2),  # another defect's
        ("ground_truth/scratch/9{}_mask.png", 2),
        ("ground_truth/scratch/{}_2_mask.png", 2),  # of 000_2, which is not there
        ("ground_truth/scratch/inner/deep/{}.png", 2),
        ("masks/unknown/{}.png", 2),
        ("test/scratch/x{}_GT.png", 0),  # an image, for what anybody can tell
    ],
)
def test_masks_that_fit_no_image_are_told(root: Path, where: str, count: int) -> None:
    folder = tree(root)
    for i in range(2):
        mask(folder / where.format(f"{i:03}"))
    dataset, note = read(root)
    assert not any(record.mask for record in dataset.records)
    assert (f"2 not used: masks that fit no image: {count}" in note) == bool(count)
    assert counts(dataset)[2] == (2 if count else 4)


def test_a_mask_that_fits_several_images_is_told(root: Path) -> None:
    folder = tree(root)
    picture(folder / "test" / "crack" / "000.png", 40)
    mask(folder / "ground_truth" / "000_mask.png")
    dataset, note = read(root)
    assert not any(record.mask for record in dataset.records)
    assert "masks that fit no image: 1 (such as a/ground_truth/000_mask.png)" in note
    for name in ("crack_000", "scratch_000", "scratch_001"):  # these say whose they are
        mask(folder / "ground_truth" / f"{name}.png")
    dataset, note = read(root)
    assert all(record.mask for record in dataset.test if record.anomalous)
    assert "masks that fit no image: 1 " in note


def test_masks_that_do_not_fit_are_told_before_a_lacking_one_is_refused(root: Path) -> None:
    folder = tree(root)
    mask(folder / "ground_truth/scratch/000_mask.png")
    mask(folder / "ground_truth/scratch/01_mask.png")
    with pytest.warns(UserWarning, match=r"masks that fit no image: 1 .*01_mask\.png"):
        one_line(r"001\.png: no mask for this anomalous image", lambda: read_dataset(root))
