"""What all methods share: made, saved, loaded, and made ready for predictions.

A trained method says how it reconstructs the encoder's features, with which loss, and by which
schedule it is trained; training, evaluation, calibration and the model file are the same for all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from invad_fast.config import FeatureConfig
from invad_fast.data import Dataset
from invad_fast.encoder import Encoder, warn_random
from invad_fast.errors import InputError
from invad_fast.frame_figures import FrameLimits
from invad_fast.inference.form import InferenceForm
from invad_fast.inference.plain import PlainForm
from invad_fast.memory.banks import MemoryBanks
from invad_fast.model_file import (
    check_tensors,
    checked_config,
    model_digest,
    new_header,
    read_header,
    read_tensors,
    write_model,
)
from invad_fast.prediction import (
    AUTO,
    Array,
    MapMode,
    Origin,
    Prediction,
    ScoreRule,
    Thresholds,
)
from invad_fast.seen_parts import SeenParts
from invad_fast.training.options import TrainingOptions
from invad_fast.training.result import TrainingResult
from invad_fast.training.train import train
from invad_fast.training.trainable import Learner, Trainable
from invad_fast.unfilled_weights import check_size, fill

if TYPE_CHECKING:
    from typing_extensions import Self


# A model in training mode leaves it for predictions, of several threads perhaps: the first of them
# takes it out, and the last puts it back. model → how many there are.
_PREDICTING: WeakKeyDictionary[Method, int] = WeakKeyDictionary()
_CHANGING_MODE = threading.Lock()


class Method(Learner):
    """A model that learns from good parts, is saved and loaded."""

    method: ClassVar[str]  # its name in model files and on the command line
    map_mode: ClassVar[MapMode]  # the anomaly map it was published with
    config_type: ClassVar[type[FeatureConfig]]
    teach: ClassVar[Callable[..., TrainingResult]]  # how it learns: takes what learn takes

    def __init__(self, config: FeatureConfig, encoder_weights: str | Path | None) -> None:
        if not isinstance(config, self.config_type):
            wanted = self.config_type.__name__
            raise InputError(f"{type(self).__name__} takes an {wanted}, not {config!r:.60}")
        if config.encoder is not None and encoder_weights is None:
            warn_random(config.encoder)
        check_size(lambda: self._build(config, None), self)
        self._build(config, encoder_weights)

    def _build(self, config: Any, encoder_weights: str | Path | None) -> None:
        """Makes all layers; subclasses add their own after the encoder."""
        super().__init__()
        self.config = config
        self.classes = ()
        self.prototypes = None
        self.seen = SeenParts()
        self.frame_limits: dict[str, FrameLimits] = {}  # of pictures, whatever the weights
        self._thresholds = Thresholds()
        self.encoder = self.standardization = None
        settings = config.memory
        filled = settings is not None and settings.counts
        self.memory = MemoryBanks(settings, config.channels) if filled else None
        if config.encoder is not None:
            self.encoder = Encoder(
                config.encoder, config.out_indices, config.input_size, encoder_weights
            )
            given = self.encoder.channels, self.encoder.strides
            if given != (config.channels, config.strides):
                raise InputError(
                    f"the encoder {config.encoder} has channels {given[0]} and strides {given[1]}, "
                    f"not {config.channels} and {config.strides}: leave them out"
                )

    @property
    def score_rule(self) -> ScoreRule:
        """The map and score of the model's thresholds, else the method's own, as trained."""
        rule = self._thresholds.rule or ScoreRule(mode=self.map_mode)
        resize = f"{self.config.interpolation}, antialiased"
        return rule.but(form="plain", precision="fp32", resize=resize)

    @property
    def digest(self) -> str:
        return model_digest(self.config.to_dict(), self.state_dict())

    def predict(
        self, images: Array, class_name: str | Sequence[str | None] | None = AUTO, **changes: Any
    ) -> Prediction:
        """See :class:`invad_fast.prediction.Predictor`; in eval mode whatever mode it is in."""
        with _CHANGING_MODE:
            # In eval mode already, unless another thread's prediction has put it there.
            leaves = self.training or self in _PREDICTING
            if leaves:
                _PREDICTING[self] = _PREDICTING.get(self, 0) + 1
                self.eval()
        try:
            return super().predict(images, class_name, **changes)
        finally:
            if leaves:
                with _CHANGING_MODE:
                    _PREDICTING[self] -= 1
                    if not _PREDICTING[self]:
                        del _PREDICTING[self]
                        self.train()

    def for_inference(self, precision: str = AUTO, device: str = "auto") -> InferenceForm:
        """The fastest form for predictions.

        Args:
            precision: "fp32", "bf16" or "fp16"; "auto" for the one that the thresholds were set in.
            device: "auto", "cpu" or "cuda".

        Raises:
            InputError: where the method has no form of that precision.
        """
        if precision not in (AUTO, "fp32"):
            raise InputError(f"the method {self.method!r} runs in fp32 only, not in {precision!r}")
        return PlainForm(self, device)

    def fit(
        self,
        root: str | Path | Dataset,
        *,
        run: str | Path | None = None,
        resume: bool = False,
        classes: Sequence[str] | None = None,
        show_progress: bool = True,
        **options: Any,
    ) -> TrainingResult:
        """Learns from the good parts below ``root``; see :func:`invad_fast.training.train.train`.

        Args:
            **options: fields of :class:`invad_fast.training.options.TrainingOptions`.
        """
        return self.learn(root, TrainingOptions(**options), run, resume, classes, show_progress)

    def learn(
        self,
        root: str | Path | Dataset,
        options: TrainingOptions,
        run: str | Path | None = None,
        resume: bool = False,
        classes: Sequence[str] | None = None,
        show_progress: bool = True,
    ) -> TrainingResult:
        """What :meth:`fit` does, with the options in one."""
        return self.teach(self, root, options, run, resume, classes, show_progress)

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file, configuration, classes and thresholds in its header."""
        held = self._thresholds
        header = new_header(
            method=self.method,
            config=self.config.to_dict(),
            classes=self.classes,
            thresholds=dict(held),
            score_rule=held.rule,
            origins=held.origins,
            digest=self.digest,
            frame_limits=self.frame_limits,
        )
        write_model(Path(path), header, self.state_dict(), self.prototypes, self.seen)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads what :meth:`save` wrote, in eval mode; InputError names a damaged file.

        A file of another method is refused: :func:`invad_fast.load_model` takes any.
        """
        path = Path(path)
        header = read_header(path)
        if header.method != cls.method:
            raise InputError(
                f"{path} holds a model of the method {header.method!r}, not {cls.method!r}: "
                "invad_fast.load_model takes either"
            )
        config = checked_config(path, header, cls.config_type)
        tensors, prototypes, seen = read_tensors(path, header, config)
        model = cls.__new__(cls)
        try:
            check_size(lambda: model._build(config, None), model)
        except InputError as error:
            raise InputError(f"{path}: its header is damaged: {error}") from None
        check_tensors(path, model, tensors)
        fill(lambda: model._build(config, None), model, tensors)
        model.classes, model.prototypes, model.seen = header.classes, prototypes, seen
        model._thresholds = Thresholds(header.thresholds, header.score_rule, header.origins)
        model.frame_limits = dict(header.frame_limits)
        if header.version == 1:  # thresholds were of the method's own score, in any form
            rule = ScoreRule(mode=cls.map_mode, form=None, precision=None)
            origin = Origin(source="an earlier version")
            origins = dict.fromkeys(header.thresholds, origin)
            model._thresholds = Thresholds(header.thresholds, rule, origins)
        return model.eval()


class TrainedMethod(Method, Trainable):
    """A method that is trained by gradient; subclasses reconstruct the features."""

    teach = staticmethod(train)
