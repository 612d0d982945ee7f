"""COCO-AD, built from COCO 2017: `annotations` are read, `masks` are drawn, `build` writes both."""

from invad_fast.data.coco_ad.build import (
    FULL,
    MASKS,
    PUBLISHED_TEST,
    PUBLISHED_TRAIN,
    SPLITS,
    SplitReport,
    build_coco_ad,
)

__all__ = [
    "FULL",
    "MASKS",
    "PUBLISHED_TEST",
    "PUBLISHED_TRAIN",
    "SPLITS",
    "SplitReport",
    "build_coco_ad",
]
