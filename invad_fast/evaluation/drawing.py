"""Pictures of an evaluation: what was missed, what was rejected for nothing, what was found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from invad_fast.data import load_image, load_mask, load_tensor
from invad_fast.data.image_file import upright_size
from invad_fast.data.preparation import preparation_of
from invad_fast.data.size import Size
from invad_fast.evaluation.maps import Maps
from invad_fast.evaluation.output_folder import PICTURES
from invad_fast.evaluation.results import ClassResult, Evaluation, Picture
from invad_fast.evaluation.score_distribution import score_distribution
from invad_fast.files import make_folder, written_whole
from invad_fast.names import FileNames
from invad_fast.pictures import panel, picture_scale

_HIGHEST, _WIDEST = 400, 1000  # pixels of a drawn part: a report of hundreds stays small


def draw_pictures(maps: Maps, evaluation: Evaluation, count: int, earlier: set[Path]) -> None:
    """Fills each class's ``drawn``; of the files that are there only the earlier are overwritten.

    Args:
        earlier: pictures of an earlier evaluation, as real paths.
    """
    assert evaluation.folder is not None
    folders = FileNames()
    scale = picture_scale(maps.predictor, [r.threshold for r in evaluation.classes.values()])
    for name, result in evaluation.classes.items():
        folder = evaluation.folder / PICTURES / folders.of(name)
        files = FileNames()
        for file in folder.iterdir() if folder.is_dir() else ():
            if Path(os.path.realpath(file)) not in earlier:
                files.of(file.stem)
        for index in _picked(result, count):
            make_folder(folder)
            record = result.records[index]
            path = folder / f"{files.of(f'{record.defect}_{record.image.stem}')}.png"
            result.drawn.append(_picture(maps, result, index, scale, path))


def draw_distribution(evaluation: Evaluation) -> None:
    """``histogram.png``: the scores of good and of defective parts."""
    assert evaluation.folder is not None
    rows = {n: (r.scores, r.anomalous, r.threshold) for n, r in evaluation.classes.items()}
    with written_whole(evaluation.folder / "histogram.png") as path:
        score_distribution(rows).savefig(path, dpi=110, format="png")


def _picked(result: ClassResult, count: int) -> list[int]:
    """Misses, false alarms and found defects, at most ``count`` of each, over all scores."""
    rejected, anomalous = result.rejected, result.anomalous
    picked: list[int] = []
    for kind in (anomalous & ~rejected, ~anomalous & rejected, anomalous & rejected):
        found = sorted(np.flatnonzero(kind), key=lambda i: result.scores[i])
        spread = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
        picked += [int(found[i]) for i in np.unique(spread)]
    return picked


def _picture(maps: Maps, result: ClassResult, index: int, scale: float, path: Path) -> Picture:
    record, levels = result.records[index], maps.rule.levels
    size = drawn_size(record.image)
    mask = None if record.mask is None else load_mask(record, size)
    preparation = preparation_of(maps.predictor)
    image = load_tensor(record.image, maps.predictor.input_size, levels, preparation)[None]
    found = maps.of(image, [record.class_name])
    scores = torch.as_tensor(found.map)[0].float().cpu().numpy()
    photo = load_image(record.image, size, levels)
    with written_whole(path) as partial:
        panel(photo, scores, scale, mask, result.threshold, maps.rule).save(partial, format="PNG")
    return Picture(
        path, record, float(result.scores[index]), result.threshold, result.outcomes[index]
    )


def drawn_size(image: Path) -> Size:
    """(height, width) at which a photo is drawn: in its own shape, a small one enlarged."""
    height, width = upright_size(image)
    # A wide one has the report's whole width: its three parts stand below each other.
    widest = _WIDEST if width > 2 * height else _HIGHEST
    scale = min(_HIGHEST / height, widest / width)
    return max(1, round(height * scale)), max(1, round(width * scale))
