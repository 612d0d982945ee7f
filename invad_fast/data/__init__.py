"""Data sets: one record type, one reader a layout, images and masks as arrays and tensors."""

from invad_fast.data.images import load_image, load_mask
from invad_fast.data.layouts import LAYOUTS, Layout, read_dataset
from invad_fast.data.record import GOOD, ClassCount, Dataset, Record
from invad_fast.data.resized_cache import ResizedCache, build_cache
from invad_fast.data.tensors import ImageLoader, ImageTensors, load_tensor

__all__ = [
    "GOOD",
    "LAYOUTS",
    "ClassCount",
    "Dataset",
    "ImageLoader",
    "ImageTensors",
    "Layout",
    "Record",
    "ResizedCache",
    "build_cache",
    "load_image",
    "load_mask",
    "load_tensor",
    "read_dataset",
]
