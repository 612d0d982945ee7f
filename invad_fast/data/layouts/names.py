"""What folders and files are called: good parts, splits, masks. Letter case never matters."""

import re

from invad_fast.data.record import Split

GOOD_NAMES = frozenset({"good", "ok", "normal"})
SPLIT_NAMES: dict[Split, frozenset[str]] = {
    "train": frozenset({"train"}),
    "validation": frozenset({"validation", "val", "valid"}),
    "test": frozenset({"test"}),
}
_MASK_FOLDERS = frozenset({"groundtruth", "groundtruths", "mask", "masks", "gt", "gts"})
_SEPARATORS = re.compile(r"[ _.-]")
_SURE = r"masks?|gts?|ground[ _-]?truth"
_LIKELY = rf"{_SURE}|labels?|seg|segm|segmentation|annotation"
_MAY_HOLD_MASKS = re.compile(r"mask|truth|label|anno|seg|binary|(^|[ _.-])gts?($|[ _.-])", re.I)


def _tag(words: str, separated: bool) -> re.Pattern[str]:
    separator = "[ _.-]" if separated else "[ _.-]?"
    return re.compile(rf"^(?P<stem>.+?){separator}(?:{words})(?:[ _.-]?\d+)?$", re.I)


_SURE_TAG, _LIKELY_TAG = _tag(_SURE, separated=True), _tag(_LIKELY, separated=True)
_IN_MASK_FOLDERS = rf"{_LIKELY}|anomaly|defect"
_ANY_TAG = _tag(_IN_MASK_FOLDERS, separated=False)
_TAG_BEFORE = re.compile(rf"^(?:{_IN_MASK_FOLDERS})[ _.-](?P<stem>.+)$", re.I)
_NUMBERED = re.compile(r"^(?P<stem>.+?)[ _.-]\d+$")


def is_good(name: str) -> bool:
    """Whether a folder, class of defect or label of this name stands for good parts."""
    return name.lower() in GOOD_NAMES


def split_of(name: str) -> Split | None:
    """The split that a folder of this name holds; None where it is no split's."""
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), None)


def is_mask_folder(name: str) -> bool:
    """Whether a folder of this name holds masks: ground_truth, masks, GT and the like."""
    return _SEPARATORS.sub("", name.lower()) in _MASK_FOLDERS


def may_hold_masks(name: str) -> bool:
    """Whether a folder of this name may hold masks: what is in it has to tell."""
    return _MAY_HOLD_MASKS.search(name) is not None


def marked_as_mask(stem: str, surely: bool = True) -> str | None:
    """The stem of the image that a file beside it is by its name the mask of: 7 for 7_mask.

    ``surely`` leaves out names that may as well be an image's, such as 7_label.
    """
    found = (_SURE_TAG if surely else _LIKELY_TAG).match(stem)
    return found["stem"] if found else None


def without_mask_tag(name: str) -> str:
    """A folder's name less what says that it holds masks: scratch for scratch_masks."""
    found = _ANY_TAG.match(name) or _TAG_BEFORE.match(name)
    return found["stem"] if found else name


def image_stems(mask: str) -> list[str]:
    """The stems that the image of a mask file may have, by the mask's stem, likeliest first.

    For 7_gt_mask_2 these are 7_gt_mask_2 itself, 7_gt, 7_gt_mask and 7.
    """
    stems = [mask]
    for name in stems:  # which grows
        inner = name.rpartition(".")[0]  # 7 of 7.png, for 7.png.png and 7.png_mask.png
        # A number says which mask only at the end: 7_2_mask is of 7_2 alone.
        tags = (_ANY_TAG, _TAG_BEFORE, *([_NUMBERED] if name == mask else []))
        tagged = (tag.match(name) for tag in tags)
        for stem in (*(found["stem"] for found in tagged if found), inner):
            if stem and stem not in stems:
                stems.append(stem)
    return stems
