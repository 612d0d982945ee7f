from cost import Count
from torch import Tensor


def flops(features: list[Tensor], reconstructions: list[Tensor], unified: bool) -> int:
    """Three products of each pair of vectors; at every scale but the finest 16 more with neighbours
    (four places, both orders, f·f, r·r), and a quadratic form each of them at a fine pixel."""
    if not unified:
        return sum(6 * f.numel() for f in features)
    finest, *coarse = features
    pixels = finest.numel() // finest.shape[1]
    return 6 * finest.numel() + sum(2 * (3 + 16) * f.numel() + 63 * pixels for f in coarse)


COUNTS = {"cosine_map": Count(flops)}
