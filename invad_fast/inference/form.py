"""A form for inference: in eval mode for ever, a copy that later training does not change."""

from __future__ import annotations

import copy
from typing import Any

from invad_fast.errors import InputError
from invad_fast.feature_predictor import FeaturePredictor
from invad_fast.prediction import AUTO, ScoreRule, Thresholds


class InferenceForm(FeaturePredictor):
    """What every form takes from its source; subclasses hold the network and its device.

    `predict` changes no state and may be called from several threads.

    Args:
        source: the trained model.
        form, precision: of the score rule.
    """

    def __init__(self, source: FeaturePredictor, form: str, precision: str) -> None:
        super().__init__()
        self.config, self.classes = source.config, source.classes
        self.standardization = copy.deepcopy(source.standardization)
        self.memory, self.reconstructs = copy.deepcopy(source.memory), source.reconstructs
        self.prototypes, self.seen = source.prototypes, source.seen
        self._digest = source.digest
        self._rule = source.score_rule.but(form=form, precision=precision)
        held = source.thresholds
        self._thresholds = Thresholds(held, held.rule, held.origins)

    @property
    def score_rule(self) -> ScoreRule:
        return self._rule

    @property
    def digest(self) -> str:
        return self._digest

    def for_inference(self, precision: str = AUTO, device: str | None = None) -> Any:
        """This form itself; InputError where another precision is asked for."""
        if precision not in (AUTO, self._rule.precision):
            raise InputError(
                f"this form of the model computes in {self._rule.precision}: make one in "
                f"{precision} from the trained model"
            )
        return self

    def freeze(self) -> None:
        """Eval mode and no gradients, once; called when all layers are there."""
        super().train(False)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> InferenceForm:
        """Stays in eval mode, and walks no modules."""
        return self
