"""invad_fast: fast, practical multi-class visual anomaly detection with InvAD."""

from invad_fast.anomaly_map import anomaly_map
from invad_fast.config import InvADConfig
from invad_fast.errors import InputError
from invad_fast.method import Prediction
from invad_fast.methods import create_model, load_model
from invad_fast.model import InvAD
from invad_fast.reverse_distillation import RDConfig, ReverseDistillation

__all__ = [
    "InputError",
    "InvAD",
    "InvADConfig",
    "Prediction",
    "RDConfig",
    "ReverseDistillation",
    "anomaly_map",
    "create_model",
    "load_model",
]
