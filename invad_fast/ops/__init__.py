"""The ops: one file each, which is its declaration; native code is in csrc/ under the same name."""

from invad_fast.ops.anomaly_score import anomaly_score
from invad_fast.ops.bias_leaky_relu import bias_leaky_relu
from invad_fast.ops.blur_upsample import blur_upsample
from invad_fast.ops.connected_regions import connected_regions
from invad_fast.ops.conv3x3 import conv3x3
from invad_fast.ops.cosine_map import cosine_map
from invad_fast.ops.dispatch import implementations, start, use_implementation
from invad_fast.ops.normalize_modulate import normalize_modulate
from invad_fast.ops.score_histogram import score_histogram
from invad_fast.ops.style_modulation import style_modulation
from invad_fast.ops.winograd_conv import winograd_conv

start()

__all__ = [
    "anomaly_score",
    "bias_leaky_relu",
    "blur_upsample",
    "connected_regions",
    "conv3x3",
    "cosine_map",
    "implementations",
    "normalize_modulate",
    "score_histogram",
    "style_modulation",
    "use_implementation",
    "winograd_conv",
]
