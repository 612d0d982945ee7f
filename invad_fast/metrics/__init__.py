"""The figures of SPEC §3: threshold-free, at fixed thresholds, and by region."""

from invad_fast.metrics.evaluate import FIGURES, evaluate, image_scores, mean_figures

__all__ = ["FIGURES", "evaluate", "image_scores", "mean_figures"]
