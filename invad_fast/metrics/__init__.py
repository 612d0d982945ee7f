"""The figures of method.md §3: threshold-free, at fixed thresholds, and by region."""

from invad_fast.metrics.anomaly_metrics import AnomalyMetrics
from invad_fast.metrics.evaluate import evaluate
from invad_fast.metrics.figures import FIGURES, mean_figures
from invad_fast.metrics.image_scores import image_scores
from invad_fast.metrics.per_image import per_image_recall

__all__ = [
    "FIGURES",
    "AnomalyMetrics",
    "evaluate",
    "image_scores",
    "mean_figures",
    "per_image_recall",
]
