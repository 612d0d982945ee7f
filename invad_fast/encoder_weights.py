"""Where an encoder's weights come from: timm's hub, a file, or a folder of files.

Only what the encoder has is read: a file of the whole network, classifier and later stages
included, will do. A vision transformer's position embedding is resampled to the input size, as
timm does it. Names are timm's; a downloaded checkpoint of other names (a DINO repository's own
``.pth``, say) must first be converted, or taken from timm's hub.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from invad_fast.config import Size
from invad_fast.errors import InputError

PRETRAINED = "pretrained"


def read_encoder_weights(
    net: Any, encoder: str, input_size: Size, weights: str | Path
) -> dict[str, Tensor]:
    """The state dict of ``net``; what else the source holds is ignored.

    Args:
        net: the encoder as timm makes it with ``features_only``.
        encoder: its timm name.
        input_size: (height, width) of the images, for position embeddings.
        weights: "pretrained", a .safetensors or torch file, or a folder that holds one named
            after the encoder, or model.safetensors.

    Raises:
        InputError: where weights cannot be had, and how to get them; where they do not fit.
    """
    if weights == PRETRAINED:
        state, source = _download(encoder), "timm's hub"
    else:
        path = locate_weights(Path(weights), encoder)
        state, source = read_state_dict(path), str(path)
    expected = net.state_dict()
    stride = min(net.feature_info.reduction())
    grid = (input_size[0] // stride, input_size[1] // stride)
    found = {}
    for key, value in expected.items():
        name = key if key in state else _name_in_network(key)
        if name in state:
            found[key] = state[name]
            if name == "pos_embed":
                found[key] = _resampled(state[name], value, grid)
        elif key.endswith("num_batches_tracked"):
            found[key] = value  # counts training steps; unused in eval mode
    missing = [key for key in expected if key not in found]
    wrong = [key for key in found if found[key].shape != expected[key].shape]
    if missing or wrong:
        problem = f"lacks {_first(missing)}" if missing else f"has other shapes at {_first(wrong)}"
        raise InputError(f"{source} does not fit the encoder {encoder}: it {problem}")
    return found


def _name_in_network(key: str) -> str:
    """A parameter's name in the whole network: timm renames some where features are wanted.

    It puts a transformer under ``model.``, and flattens a convolutional network's stages:
    ``stages.0.`` is then ``stages_0.``.
    """
    return re.sub(r"^(\w+?)_(\d+)\.", r"\1.\2.", key.removeprefix("model."))


def _resampled(given: Tensor, expected: Tensor, grid: tuple[int, int]) -> Tensor:
    """A position embedding 1×tokens×C, of another image size, for a grid of tokens.

    What the expected one has beyond the grid is for class and register tokens, which are few; an
    embedding of another kind is returned as it is.
    """
    prefix = expected.shape[1] - grid[0] * grid[1] if expected.dim() == 3 else -1
    if given.shape == expected.shape or given.dim() != 3 or not 0 <= prefix <= 16:
        return given
    return resample_abs_pos_embed(given, list(grid), num_prefix_tokens=prefix)


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
        raise InputError(f"cannot read weights from {path}: {one_line(error)}") from None
    for wrapper in ("net", "state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path} holds no state dict (a mapping of names to tensors)")
    return {key.removeprefix("module."): value for key, value in state.items()}


def locate_weights(path: Path, encoder: str) -> Path:
    """The weight file itself, or the one in a folder that belongs to the encoder."""
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


def _download(encoder: str) -> dict[str, Tensor]:
    # Its lines about every retry would bury the one that says what to do.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return timm.create_model(encoder, pretrained=True).state_dict()
    except Exception as error:  # whatever the hub client raises when it cannot be reached
        cfg = timm.get_pretrained_cfg(encoder)
        if cfg is None or not cfg.has_weights:
            raise InputError(
                f"timm has no pretrained weights of {encoder}: give encoder_weights a file"
            ) from None
        repository = cfg.hf_hub_id or f"timm/{cfg.architecture}.{cfg.tag}"
        raise InputError(
            f"cannot download the weights of {encoder} ({one_line(error)}): fetch "
            f"model.safetensors of the model {repository} from the Hugging Face hub, save it as "
            f"{encoder}.safetensors, and give its path as encoder_weights "
            "(--encoder-weights); None (--encoder-weights none) takes random weights"
        ) from None


def _first(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more


def one_line(error: BaseException) -> str:
    """The first line of an error's message."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).strip().rstrip(".")[:200]
