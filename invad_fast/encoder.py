"""image ─ encoder ─> features: the frozen timm network φI and where its weights come from."""

from __future__ import annotations

import functools
import logging
import warnings
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from invad_fast.config import FeatureConfig, Size
from invad_fast.errors import InputError

PRETRAINED = "pretrained"


class Encoder(nn.Module):
    """timm features at the configured scales; always in eval mode, never trained (SPEC §1).

    Args:
        config: gives the timm name, the feature levels and the input size.
        weights: "pretrained" for timm's hub, a file or a directory, or None for random weights.
    """

    def __init__(self, config: FeatureConfig, weights: str | Path | None = None) -> None:
        super().__init__()
        assert config.encoder is not None, "a model that is given features has no Encoder"
        self.net = _create(config.encoder, config.out_indices, config.input_size)
        if weights is not None:
            self.net.load_state_dict(
                _read_weights(self.net, config.encoder, config.out_indices, weights)
            )
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Encoder:
        """Stays in eval mode: its batch statistics are part of the frozen features."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """N×3×H×W, ImageNet-normalised → features N×C×h×w, finest first."""
        return list(self.net(images))


@functools.lru_cache
def feature_layout(
    encoder: str, out_indices: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels and strides of a timm encoder's features, finest first, without its weights."""
    with torch.device("meta"):
        info: Any = _create(encoder, out_indices, None).feature_info
    return tuple(info.channels()), tuple(info.reduction())


def warn_random(encoder: str) -> None:
    """Says that an encoder's weights are random."""
    warnings.warn(
        f"the encoder {encoder} has random weights: fine for trying things out, poor for finding "
        "defects; give encoder_weights a file, or 'pretrained' for timm's hub",
        stacklevel=4,
    )


def _create(encoder: str, out_indices: tuple[int, ...], input_size: Size | None) -> nn.Module:
    if not timm.is_model(encoder):
        close = ", ".join(timm.list_models(f"*{encoder.split('.')[0][:6]}*")[:5])
        raise InputError(
            f"timm has no model named {encoder!r}; "
            + (f"close to it: {close}" if close else "timm.list_models() lists them all")
        )
    options: dict = {"features_only": True, "out_indices": out_indices, "pretrained": False}
    try:
        return timm.create_model(encoder, **options)
    except (RuntimeError, IndexError, AssertionError, TypeError, AttributeError) as error:
        raise InputError(
            f"timm's {encoder} offers no features at out_indices {out_indices}: {_line(error)}"
        ) from None


def _read_weights(
    net: nn.Module, encoder: str, out_indices: tuple[int, ...], weights: str | Path
) -> dict[str, Tensor]:
    """The encoder's state dict: every parameter found, whatever else the source holds ignored."""
    if weights == PRETRAINED:
        state = _download(encoder, out_indices)
        source = "timm's hub"
    else:
        path = _locate(Path(weights), encoder)
        state = read_state_dict(path)
        source = str(path)
    expected = net.state_dict()
    found = {}
    for key, value in expected.items():
        if key in state:
            found[key] = state[key]
        elif key.endswith("num_batches_tracked"):
            found[key] = value  # counts training steps; unused in eval mode
    missing = [key for key in expected if key not in found]
    wrong = [key for key in found if found[key].shape != expected[key].shape]
    if missing or wrong:
        problem = f"lacks {_first(missing)}" if missing else f"has other shapes at {_first(wrong)}"
        raise InputError(f"{source} does not fit the encoder {encoder}: it {problem}")
    return found


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors, or of a torch file read with ``weights_only=True``."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except Exception as error:  # torch and safetensors raise many kinds for a damaged file
        raise InputError(f"cannot read weights from {path}: {_line(error)}") from None
    for wrapper in ("net", "state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path} holds no state dict (a mapping of names to tensors)")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _locate(path: Path, encoder: str) -> Path:
    """The weight file itself, or the one in a directory that belongs to the encoder."""
    if path.is_file():
        return path
    names = [f"{stem}{end}" for stem in (encoder, encoder.split(".")[0], "model")
             for end in (".safetensors", ".pth", ".bin")]  # fmt: skip
    if path.is_dir():
        for name in names:
            if (path / name).is_file():
                return path / name
        raise InputError(f"no weights of {encoder} in {path}: expected {names[0]} there")
    raise InputError(f"no encoder weights at {path}: give a file, or a folder with {names[0]}")


def _download(encoder: str, out_indices: tuple[int, ...]) -> dict[str, Tensor]:
    options: dict = {"features_only": True, "out_indices": out_indices, "pretrained": True}
    # Its lines about every retry would bury the one that says what to do.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return timm.create_model(encoder, **options).state_dict()
    except Exception as error:  # whatever the hub client raises when it cannot be reached
        cfg = timm.get_pretrained_cfg(encoder)
        if cfg is None or not cfg.has_weights:
            raise InputError(
                f"timm has no pretrained weights of {encoder}: give encoder_weights a file"
            ) from None
        repository = cfg.hf_hub_id or f"timm/{cfg.architecture}.{cfg.tag}"
        raise InputError(
            f"cannot download the weights of {encoder} ({_line(error)}): fetch "
            f"model.safetensors of the model {repository} from the Hugging Face hub, save it as "
            f"{encoder}.safetensors, and give its path as encoder_weights "
            "(--encoder-weights); None (--encoder-weights none) takes random weights"
        ) from None


def _first(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).strip().rstrip(".")[:200]
