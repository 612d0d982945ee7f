"""invad_fast: fast, practical multi-class visual anomaly detection with InvAD."""

from invad_fast.anomaly_map import anomaly_map
from invad_fast.config import InvADConfig
from invad_fast.errors import InputError
from invad_fast.model import InvAD, Prediction

__all__ = ["InputError", "InvAD", "InvADConfig", "Prediction", "anomaly_map"]
