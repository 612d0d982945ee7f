import math

from cost import Count

# comparisons: a pixel finds its bin by halves
COUNTS = {
    "score_histogram": Count(
        lambda scores, areas, boundaries: scores.numel() * math.ceil(math.log2(len(boundaries) + 1))
    )
}
