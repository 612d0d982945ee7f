"""What to expect of an H200 at 256×256 in bfloat16, channels last, written down without one.

Writes ``predicted_h200.csv`` beside itself: for each model, batch and form (inference; training,
with γ and β of a convolution or of the fused op; the metrics of the maps) every op's bytes and
FLOPs (``op_costs.py``), the warp instructions of its kernels (``static.csv``, sm_90), and the time
of whatever is slowest: the bytes, the products on the tensor cores, the launches; and the
instructions, which are counted with those of the branches that are not taken, so that they give
the other end of the range.

    python bench/predicted_h200.py
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from op_costs import BATCHES, MODELS, cost, map_calls, metric_calls, model_calls
from ops import GRADIENTS
from ops.style_modulation import fused
from static_rows import write_whole

FOLDER = Path(__file__).resolve().parent
STATIC = FOLDER / "static.csv"

BYTES_A_SECOND = 0.8 * 4.8e12
SHORTEST_KERNEL = 2e-6  # seconds, in a captured graph
MULTIPROCESSORS, CYCLES_A_SECOND = 132, 1.755e9
INSTRUCTIONS_A_SECOND = 4 * MULTIPROCESSORS * CYCLES_A_SECOND  # of warps
# What mma.sync is said to reach of the tensor cores that wgmma fills.
PRODUCT_FLOPS_A_SECOND = 0.6 * 990e12
PRODUCT_FLOPS = 2 * 16 * 8 * 16  # of one mma.m16n8k16
THREADS, VECTOR = 256, 8  # of a block; bfloat16 in 16 bytes

Call = tuple[str, tuple, int]  # op, arguments on meta, how often


@dataclass(frozen=True)
class Launch:
    """One kernel of a call.

    Attributes:
        form: its template arguments, as in static.csv.
        warps: of the whole grid.
        trips: of its innermost loop; the other loops run once at the models' shapes.
        repeats: how often a warp runs all of it, where a loop holds nearly everything.
    """

    kernel: str
    form: str
    warps: float
    trips: float = 1
    repeats: float = 1


def launches(op: str, arguments: tuple) -> list[Launch]:
    """As csrc/cuda/<op>.cu launches them for vectors of bfloat16, channels last."""
    return _LAUNCHES[op](*arguments)


def _blocks(threads: float) -> int:
    """Warps of blocks of THREADS."""
    return math.ceil(threads / THREADS) * THREADS // 32


def _rows(x: torch.Tensor) -> tuple[int, int, int]:
    """bias_leaky_relu's: pixels, rows of a block, columns of blocks."""
    vectors = math.ceil(x.shape[1] / VECTOR)
    wide = min(1 << (vectors - 1).bit_length(), THREADS)
    return x.numel() // x.shape[1], THREADS // wide, math.ceil(vectors / wide)


def _bias_leaky_relu(x, bias, skip) -> list[Launch]:
    pixels, down, columns = _rows(x)
    groups = math.ceil(pixels / down)
    each = min(max(columns * groups // 1024, 1), 4)
    warps = math.ceil(groups / each) * columns * THREADS // 32
    return [Launch("forward", "BFloat16 8 false", warps)]


def _bias_leaky_relu_backward(grad, x, bias, has_skip) -> list[Launch]:
    pixels, down, columns = _rows(x)
    rows = max(4 * down, math.ceil(pixels / 512))
    parts = math.ceil(pixels / rows)
    return [
        Launch("backward_pixels", "BFloat16 8", parts * columns * THREADS // 32, rows / down / 4),
        Launch("add_parts", "float", math.ceil(x.shape[1] / 32) * 16, parts / 16 / 4),
    ]


def _chunk_warps(x) -> int:
    sample = math.prod(x.shape[1:])
    tile = THREADS * 4 * VECTOR
    length = tile * math.ceil(sample / (tile * 512))
    return x.shape[0] * math.ceil(sample / length) * THREADS // 32


def _normalize_modulate(x, gamma_beta, eps) -> list[Launch]:
    warps = _chunk_warps(x)
    return [Launch("chunk_moments", "BFloat16 8", warps), Launch("modulate", "BFloat16 8", warps)]


def _normalize_modulate_backward(grad, x, *_) -> list[Launch]:
    warps = _chunk_warps(x)
    return [Launch(kernel, "BFloat16 8", warps) for kernel in ("backward_sums", "backward_x")]


def _style_tiles(x, kernel: str) -> Launch:
    """A warp a tile: that it stays for the next one saves little but the filters."""
    n, channels, height, width = x.shape
    columns = 8 if width <= 8 else 16
    tiles = n * math.ceil(width / columns) * math.ceil(height * columns / 128)
    of_block = 64 if channels > 32 and tiles * math.ceil(channels / 64) >= MULTIPROCESSORS else 32
    warps = tiles * math.ceil(channels / of_block) * THREADS // 32
    return Launch(kernel, f"BFloat16 8 true {of_block}", warps, trips=9)


def _style_modulation(x, *_) -> list[Launch]:
    moments = Launch("chunk_moments", "BFloat16 8", _chunk_warps(x))
    return [moments, _style_tiles(x, "modulate")]


def _style_modulation_backward(grad, x, *_) -> list[Launch]:
    return [_style_tiles(x, kernel) for kernel in ("backward_sums", "backward_x")]


def _blur_upsample(x, bias, padding) -> list[Launch]:
    n, channels, height, width = x.shape
    out_height, out_width = (side + 2 * padding - 3 for side in (height, width))
    groups = math.ceil(channels / VECTOR) * out_width
    strip = 16
    while strip > 2 and n * groups * math.ceil(out_height / strip) < 1 << 17:
        strip //= 2
    threads = n * groups * math.ceil(out_height / strip)
    return [Launch("blur", "BFloat16 8 true", _blocks(threads), trips=strip)]


def _cosine_map(features, reconstructions, unified) -> list[Launch]:
    finest, *coarse = features
    pixels = finest.shape[0] * finest.shape[2] * finest.shape[3]
    made = []
    for f in coarse:
        n, channels, height, width = f.shape
        warps = n * math.ceil(height / 4) * math.ceil(width / 8) * THREADS // 32
        neighbours = Launch("multiply_neighbours", "BFloat16 8 true", warps, 1, channels / 64)
        made += [neighbours, Launch("add_resized", "float", _blocks(pixels))]
    return [*made, Launch("make_map", "BFloat16 8 true", pixels)]


def _anomaly_score(maps, size, sigma) -> list[Launch]:
    radius = int(4 * sigma + 0.5)
    made = []
    for m in maps:
        n, height, width = m.shape
        taps = [
            min(min(2 * radius, target) * (source - 1) // (target - 1) + 3, source)
            for source, target in zip((height, width), size)
        ]
        made += [
            Launch("make_band", "float", _blocks(count * target), 2 * radius + 1)
            for count, target in zip(taps, size)
        ]
        made.append(Launch("widen", "float float", _blocks(n * height * size[1]), taps[1] / 4))
        made.append(Launch("heighten", "float", n * _blocks(math.prod(size)), taps[0] / 4))
    return [*made, Launch("reduce", "float", maps[0].shape[0] * THREADS // 32)]


def _score_histogram(scores, areas, boundaries) -> list[Launch]:
    blocks = min(1024, math.ceil(scores.numel() / THREADS))
    halvings = math.ceil(math.log2(len(boundaries) + 1))
    pixels = scores.numel() / (blocks * THREADS)
    return [
        Launch("histogram", "true", blocks * THREADS // 32, halvings, pixels),
        Launch("to_overlap", "", _blocks(len(boundaries) + 1)),
    ]


def _connected_regions(mask) -> list[Launch]:
    warps = _blocks(mask.shape[0] * math.ceil(mask.shape[1] / 2) * math.ceil(mask.shape[2] / 2))
    return [Launch(kernel, "", warps) for kernel in ("start", "join_cells", "measure", "write_out")]


_LAUNCHES = {
    "bias_leaky_relu": _bias_leaky_relu,
    "bias_leaky_relu_backward": _bias_leaky_relu_backward,
    "normalize_modulate": _normalize_modulate,
    "normalize_modulate_backward": _normalize_modulate_backward,
    "style_modulation": _style_modulation,
    "style_modulation_backward": _style_modulation_backward,
    "blur_upsample": _blur_upsample,
    "cosine_map": _cosine_map,
    "anomaly_score": _anomaly_score,
    "score_histogram": _score_histogram,
    "connected_regions": _connected_regions,
}


@dataclass(frozen=True)
class Prediction:
    """All calls of an op in one pass over a batch.

    Attributes:
        form: inference, training (forward and backward), fused training (with style_modulation),
            or metrics.
        megabytes: read and written, with the second reading of what needs statistics first.
        fewest_megabytes: the same with every input read once.
        gflop: needed.
        mega_instructions: of warps, at most: all of a kernel's once, its inner loop's each time.
        memory_us: ``megabytes`` at 80 % of 4.8 TB/s.
        issue_us: the instructions at four a cycle and multiprocessor, 1.755 GHz.
        tensor_us: the products on the tensor cores at 60 % of 990 TFLOP/s, edges included.
        us: of each call the slower of memory and tensor cores, no kernel under 2 µs.
        us_at_most: the same with the instructions.
    """

    model: str
    batch: int
    form: str
    op: str
    calls: int
    kernels: int
    megabytes: float
    fewest_megabytes: float
    gflop: float
    mega_instructions: float
    memory_us: float
    issue_us: float
    tensor_us: float
    us: float
    us_at_most: float


def forms(model: str, batch: int) -> dict[str, list[Call]]:
    """Name → what is called for a batch."""
    made = model_calls(model, batch, torch.bfloat16)
    with_style = [_with_style(*call) for call in made]
    return {
        "inference": [*with_style, *map_calls(model, batch)],
        "training": [*made, *_gradients(made)],
        "fused training": [*with_style, *_gradients(with_style)],
        "metrics": metric_calls(model, batch),
    }


def _with_style(op: str, arguments: tuple, count: int) -> Call:
    given = fused(*arguments) if op == "normalize_modulate" else None
    return (op, arguments, count) if given is None else ("style_modulation", given, count)


def _gradients(made: Iterable[Call]) -> list[Call]:
    return [(*GRADIENTS[op](*arguments), count) for op, arguments, count in made]


def predictions() -> Iterator[Prediction]:
    kernels = machine_code()
    for model in MODELS:
        for batch in BATCHES:
            for form, made in forms(model, batch).items():
                by_op: dict[str, list[Call]] = {}
                for call in made:
                    by_op.setdefault(call[0], []).append(call)
                whole = [
                    _sum(model, batch, form, op, [_one(kernels, *call) for call in calls])
                    for op, calls in by_op.items()
                ]
                yield from whole
                yield _sum(model, batch, form, "all", [_figures(each) for each in whole])


def _figures(of: Prediction) -> dict[str, float]:
    return {field.name: getattr(of, field.name) for field in fields(Prediction)[4:]}


def _sum(model: str, batch: int, form: str, op: str, of: list[dict[str, float]]) -> Prediction:
    sums = {name: sum(each[name] for each in of) for name in of[0]}
    return Prediction(model, batch, form, op, **{k: round(v, 3) for k, v in sums.items()})


def machine_code() -> dict[tuple[str, str, str], dict[str, int]]:
    """(op, kernel, template arguments) → figures of sm_90's machine code."""
    with STATIC.open(newline="") as file:
        return {
            (row["op"], row["kernel"], row["form"]): {
                name: int(row[name]) for name in ("instructions", "inner_loop", "products")
            }
            for row in csv.DictReader(file)
            if row["architecture"] == "sm_90"
        }


def _one(kernels: dict, op: str, arguments: tuple, count: int) -> dict[str, float]:
    launched = launches(op, arguments)
    instructions = products = 0.0
    for each in launched:
        code = kernels[op.removesuffix("_backward"), each.kernel, each.form]
        again = (each.trips - 1) * code["inner_loop"]
        instructions += each.warps * each.repeats * (code["instructions"] + again)
        products += each.warps * each.repeats * each.trips * code["products"]
    of_one = cost(op, *arguments)
    memory = of_one.bytes / BYTES_A_SECOND
    issue = instructions / INSTRUCTIONS_A_SECOND
    tensor = products * PRODUCT_FLOPS / PRODUCT_FLOPS_A_SECOND
    seconds = max(memory, tensor, len(launched) * SHORTEST_KERNEL)
    return {
        "calls": count,
        "kernels": count * len(launched),
        "megabytes": count * of_one.bytes / 1e6,
        "fewest_megabytes": count * of_one.least_bytes / 1e6,
        "gflop": count * of_one.flops / 1e9,
        "mega_instructions": count * instructions / 1e6,
        "memory_us": count * memory * 1e6,
        "issue_us": count * issue * 1e6,
        "tensor_us": count * tensor * 1e6,
        "us": count * seconds * 1e6,
        "us_at_most": count * max(seconds, issue) * 1e6,
    }


def main() -> None:
    write_whole(Path(__file__).with_suffix(".csv"), [asdict(row) for row in predictions()])


if __name__ == "__main__":
    main()
