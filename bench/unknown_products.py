"""Leaves one product out at a time: are its parts turned away as unknown, and how many others?

    python bench/unknown_products.py SHARED

Prints the table of docs/unknown_products.md: the demo's five products (60 parts of each to learn
from, 300 to calibrate on, 300 good and 90 defective ones to judge), by the demo's encoder and by
ResNet-18; and the three real products of SHARED/data/defects, halves of whose good parts are
learnt from and calibrated on. COCO's pictures are the easy case. No network is trained:
descriptors are of the frozen encoder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from invad_fast.class_prototypes import class_prototypes, why_unknown
from invad_fast.data import load_tensor
from invad_fast.data.preparation import IMAGENET
from invad_fast.data.production_line import DEFECTS, PRODUCTS, photograph_part
from invad_fast.demo import demo_encoder_weights
from invad_fast.encoder import Encoder
from invad_fast.evaluation.unknown_products import MARGIN, distance_limits
from invad_fast.feature_predictor import descriptor_of
from invad_fast.prediction import Thresholds

REAL = {"cookie": (20, 13), "juice_bottle": (160, 120), "tire": (100, 99)}
"""Product → good parts to learn from, and to calibrate on; the others are judged."""


SPLITS = 50


@dataclass
class Product:
    """N×D descriptors of each kind of part."""

    learnt: np.ndarray
    calibration: np.ndarray
    good: np.ndarray
    defective: np.ndarray

    @property
    def all(self) -> np.ndarray:
        return np.concatenate([self.learnt, self.calibration, self.good, self.defective])


def descriptors(encoder: Encoder, tensors: Iterator[torch.Tensor]) -> np.ndarray:
    """N×D of N pictures."""
    found = []
    with torch.inference_mode():
        for tensor in tensors:
            found.append(descriptor_of(encoder(tensor[None])).numpy())
    return np.concatenate(found)


def demo_product(encoder: Encoder, name: str, size: int) -> Product:
    """Parts that no set of the demo has."""
    mean, deviation = (np.array(v, np.float32) for v in (IMAGENET.mean, IMAGENET.deviation))
    kinds = [kind.__name__ for kind in DEFECTS[name]]

    def parts(stream: int, count: int, defects: list) -> np.ndarray:
        def painted() -> Iterator[torch.Tensor]:
            for number in range(count):
                seed = (0, list(PRODUCTS).index(name), stream, number)
                pixels, _ = photograph_part(name, defects[number % len(defects)], size, seed)
                planes = (pixels.astype(np.float32) / 255 - mean) / deviation
                yield torch.from_numpy(planes.transpose(2, 0, 1).copy())

        return descriptors(encoder, painted())

    sets = ((21, 60, [None]), (22, 300, [None]), (23, 300, [None]), (24, 90, kinds))
    return Product(*(parts(*each) for each in sets))


def real_product(encoder: Encoder, folder: Path, size: tuple[int, int]) -> list[Product]:
    """Of a folder in MVTec's layout the good parts, divided at random `SPLITS` times; its
    defective ones.
    """
    good = sorted(folder.glob("*/good/*"))
    bad = sorted(file for file in folder.glob("test/*/*") if file.parent.name != "good")
    found = descriptors(encoder, (load_tensor(file, size) for file in good))
    learnt, calibration = REAL[folder.name]
    cuts = learnt, learnt + calibration
    defective = descriptors(encoder, (load_tensor(file, size) for file in bad))
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(found)) for _ in range(SPLITS)]
    return [Product(*np.split(found[order], cuts), defective) for order in orders]


def judge(known: Mapping[str, Product], strangers: np.ndarray) -> tuple[float, ...]:
    """Shares turned away: strangers; at the conformal distance; good parts; defective ones."""
    owners = [name for name, product in known.items() for _ in product.learnt]
    prototypes = class_prototypes(np.concatenate([p.learnt for p in known.values()]), owners)
    values, names = [], []
    for name, product in known.items():
        own = [name] * len(product.calibration)
        values += prototypes.distances_to(product.calibration, own)
        names += own
    limits = Thresholds()
    for name in known:
        which = np.array(names) == name
        count = int(which.sum())
        rate = 0.01 if count >= 99 else 0
        limits = limits.updated(distance_limits(np.array(values)[which], [name] * count, rate)[0])

    def away(parts: np.ndarray, margin: float = MARGIN) -> float:
        told = prototypes.name(parts)
        distances = prototypes.distances_to(parts, told)
        scale = margin / MARGIN
        found = [bool(why_unknown(d, scale * limits[str(n)], n)) for d, n in zip(distances, told)]
        return float(np.mean(found))

    good = np.concatenate([product.good for product in known.values()])
    bad = np.concatenate([product.defective for product in known.values()])
    return (away(strangers), away(good), away(bad), away(good, 1), away(bad, 1))


def rows(title: str, products: Mapping[str, Sequence[Product]], easy: np.ndarray) -> Iterator[str]:
    """A row of the table for each product left out, and one of COCO's pictures: means of splits."""
    for left_out in (*products, None):
        found = []
        for split in zip(*products.values()):
            named = dict(zip(products, split))
            strangers = easy if left_out is None else named.pop(left_out).all
            found.append(judge(named, strangers))
        shares = " | ".join(f"{100 * share:.1f} %" for share in np.mean(found, axis=0))
        yield f"| {title} | {left_out or 'COCO'} | {len(strangers)} | {shares} |"


def main() -> None:
    shared = Path(sys.argv[1])
    coco = sorted((shared / "data/coco_mini").glob("*2017/*.jpg"))
    weights = shared / "weights/resnet18.safetensors"
    for title, name, file, side in (
        ("demo, its encoder", "resnet10t", demo_encoder_weights(), 128),
        ("demo, ResNet-18", "resnet18", weights, 128),
        ("real, ResNet-18", "resnet18", weights, 256),
    ):
        size = (side, side)
        encoder = Encoder(name, (1, 2, 3), size, file).eval()
        if title.startswith("demo"):
            found = {product: [demo_product(encoder, product, side)] for product in PRODUCTS}
        else:
            folders = {product: shared / "data/defects" / product for product in REAL}
            found = {p: real_product(encoder, folder, size) for p, folder in folders.items()}
        easy = descriptors(encoder, (load_tensor(file, size) for file in coco))
        for row in rows(title, found, easy):
            print(row, flush=True)


if __name__ == "__main__":
    main()
