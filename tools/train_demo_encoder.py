"""Makes the small encoder that ships with the package, from images that it generates itself.

The demo must run where no pretrained encoder can be had. A ResNet-10-T learns to tell 120
procedural materials apart (noise of some grain and stretch, stripes, weave, scattered shapes, in
some palette); none is a product of the demo's line, and no defect is ever shown. What it learns,
edges, corners, grain, colour, is what the demo's features need.

    python tools/train_demo_encoder.py invad_fast/weights/demo_resnet10t.safetensors

Takes about five minutes on two cores; the same seed gives the same weights on the same machine.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file

from invad_fast.data.preparation import IMAGENET
from invad_fast.data.production_line.paint import Canvas, fill, shade

ENCODER = "resnet10t"
MATERIALS, SAMPLES, SIDE, CROP = 120, 6, 160, 96
STEPS, BATCH, LEARNING_RATE = 1200, 48, 2e-3


def material(index: int, sample: int) -> np.ndarray:
    """One image of a material: its recipe comes from ``index``, its phase from ``sample``."""
    recipe = np.random.default_rng([index, 1])
    rng = np.random.default_rng([index, 2, sample])
    canvas = Canvas(SIDE)
    palette = recipe.uniform(0.05, 0.95, (3, 3))
    image = np.ones((SIDE, SIDE, 3)) * palette[0]
    grain, stretch = np.exp(recipe.uniform(np.log(0.006), np.log(0.1))), recipe.choice([1, 4, 15])
    noise = canvas.noise(rng, grain, stretch)
    image = shade(image, 1 + recipe.uniform(0.02, 0.25) * noise)
    if recipe.random() < 0.5:
        angle, pitch = recipe.uniform(0, np.pi), np.exp(recipe.uniform(np.log(8), np.log(80)))
        along = canvas.x * np.cos(angle) + canvas.y * np.sin(angle)
        wave = 0.5 + 0.5 * np.sin(pitch * along + rng.uniform(0, 6.3))
        if recipe.random() < 0.5:
            across = canvas.y * np.cos(angle) - canvas.x * np.sin(angle)
            wave = wave * (0.5 + 0.5 * np.sin(pitch * across + rng.uniform(0, 6.3)))
        image = fill(image, recipe.uniform(0.3, 1) * wave, palette[1])
    if recipe.random() < 0.7:
        kind, size = recipe.integers(3), recipe.uniform(0.04, 0.2)
        aspect, turn, turned = (
            recipe.uniform(0.2, 1),
            recipe.uniform(0, np.pi),
            recipe.random() < 0.5,
        )
        for _ in range(recipe.integers(4, 24)):
            x, y = rng.uniform(-1, 1, 2)
            angle = turn if turned else rng.uniform(0, np.pi)
            if kind == 0:
                shape = canvas.disk(x, y, size)
            elif kind == 1:
                shape = canvas.box(x, y, size, size * aspect, 0.0, angle)
            else:
                shape = canvas.box(x, y, size, size * 0.15, size * 0.1, angle)
            image = fill(image, shape, palette[2] * rng.uniform(0.9, 1.1))
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def batch(images: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random crops, turned, brightened and noisy: N×3×CROP×CROP and their materials."""
    labels = rng.integers(MATERIALS, size=BATCH)
    crops = []
    for label in labels:
        top, left = rng.integers(0, SIDE - CROP, 2)
        crop = images[label, rng.integers(SAMPLES), :, top : top + CROP, left : left + CROP]
        crop = torch.rot90(crop.flip(2) if rng.random() < 0.5 else crop, rng.integers(4), (1, 2))
        gain = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3)
        crops.append(crop.float() / 255 * torch.tensor(gain).float().view(3, 1, 1))
    crops = torch.stack(crops)
    crops += 0.02 * torch.from_numpy(rng.standard_normal(crops.shape, np.float32))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET.mean, IMAGENET.deviation))
    return (crops - mean) / std, torch.from_numpy(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    started = time.monotonic()
    images = np.stack([[material(m, s) for s in range(SAMPLES)] for m in range(MATERIALS)])
    images = torch.from_numpy(images).permute(0, 1, 4, 2, 3).contiguous()
    print(f"{MATERIALS} materials in {time.monotonic() - started:.0f} s", flush=True)
    model = timm.create_model(ENCODER, num_classes=MATERIALS)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, STEPS, 0.1)
    correct = 0.0
    for step in range(STEPS):
        inputs, labels = batch(images, rng)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(inputs)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        correct += (logits.argmax(1) == labels).float().mean().item() / 50
        if step % 50 == 49:
            spent = time.monotonic() - started
            print(
                f"step {step + 1}: loss {loss:.3f}, right {correct:.3f}, {spent:.0f} s", flush=True
            )
            correct = 0.0
    kept = timm.create_model(ENCODER, features_only=True, out_indices=(1, 2, 3)).state_dict()
    trained = model.state_dict()
    weights = {
        name: trained[name].half() for name in kept if not name.endswith("num_batches_tracked")
    }
    save_file(weights, options.output)
    print(f"{options.output}: {options.output.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
