"""Where an encoder's weights come from: timm's hub, a package, a file, or a folder of files.

Only what the encoder has is read: a file of the whole network, classifier and later stages
included, will do. A vision transformer's position embedding is resampled to the input size, as
timm does it. Names are timm's; a downloaded checkpoint of other names (a DINO repository's own
``.pth``, say) must first be converted, or taken from timm's hub.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from invad_fast.data.size import Size
from invad_fast.encoder_packages import ADVICE, PACKAGE, in_timms_names, package_file
from invad_fast.errors import InputError, first_line
from invad_fast.files import check_file

PRETRAINED = "pretrained"


def read_encoder_weights(
    net: Any, encoder: str, input_size: Size, weights: str | Path
) -> dict[str, Tensor]:
    """The state dict of ``net``; what else the source holds is ignored.

    Args:
        net: the encoder as timm makes it with ``features_only``.
        encoder: its timm name.
        input_size: (height, width) of the images, for position embeddings.
        weights: "pretrained", "package" (see :mod:`invad_fast.encoder_packages`), a .safetensors
            or torch file, or a folder that holds one named after the encoder, or
            model.safetensors.

    Raises:
        InputError: where weights cannot be had, and how to get them; where they do not fit.
    """
    if not isinstance(weights, (str, Path)):
        raise InputError(
            f"encoder_weights is 'pretrained', 'package', a path or None, not {weights!r:.60}"
        )
    path = find_weights(weights, encoder)
    if path is None:
        state, source = _download(encoder), "timm's hub"
    else:
        state, source = read_state_dict(path), str(path)
        if weights == PACKAGE:
            state = in_timms_names(encoder, state)
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
    wrong = [key for key in found if not fits(found[key], expected[key])]
    if missing and any(name.startswith("encoder.net.") for name in state):
        raise InputError(
            f"{source} is a model of invad_fast, not an encoder's weights: `invad-fast predict` "
            "and the like take it as --model"
        )
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
    """Tensors of a safetensors file, or of a torch file read with ``weights_only=True``.

    The kind is known by the content, not by the suffix. A state dict may stand under ``net``,
    ``state_dict`` or ``model``, and its names may begin with ``module.``.

    Raises:
        InputError: for a file of another kind, one that holds code, and damaged weights.
    """
    check_file(path, "no file {}")
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of what is refused below
            if file.read(9)[8:] == b"{":
                content: Any = load_file(path)
            else:
                file.seek(0)
                content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "WeightsUnpickler" not in str(error) and "GLOBAL" not in str(error):
            raise InputError(f"{path} is neither a safetensors nor a torch file") from None
        raise InputError(
            f"{path} holds other Python objects than tensors, which may run code and are not "
            "loaded: save the network's state_dict() alone"
        ) from None
    except Exception as error:  # torch and safetensors raise many kinds for a damaged file
        raise InputError(f"cannot read weights from {path}: {first_line(error)}") from None
    return state_dict_of(content, str(path))


def state_dict_of(content: Any, where: str) -> dict[str, Tensor]:
    """The state dict that ``content`` is, or has under a usual name.

    Raises:
        InputError: where it is none, or a tensor of it is damaged; ``where`` goes in front.
    """
    for wrapper in ("net", "state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{where} holds no state dict (a mapping of names to tensors)")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            given = name if not isinstance(name, str) else value
            raise InputError(
                f"{where} holds no state dict (a mapping of names to tensors): at {name!r} there "
                f"is a {type(given).__name__}"
            )
    state = {name.removeprefix("module."): value for name, value in content.items()}
    check_finite(where, state)
    return state


def fits(given: Tensor, expected: Tensor) -> bool:
    """Whether one can stand for the other: its shape, and real numbers where they are wanted."""
    whole = not (given.is_floating_point() or given.is_complex())
    kind = given.is_floating_point() or (whole and not expected.is_floating_point())
    return given.shape == expected.shape and kind


def check_finite(where: str, tensors: Mapping[str, Tensor]) -> None:
    """InputError that names the first tensor which is not of finite numbers in plain memory."""
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise InputError(f"{where} is no ordinary weights: {name} is sparse or quantized")
        if tensor.is_meta or not tensor.is_floating_point():
            continue
        # The sum is one fast pass; it also overflows where all numbers are finite, but huge.
        if not math.isfinite(tensor.sum().item()) and not tensor.isfinite().all():
            raise InputError(f"{where} is damaged: {name} has numbers that are not finite")


def find_weights(weights: str | Path, encoder: str) -> Path | None:
    """The file that ``weights`` stands for; None for timm's hub. InputError where there is none."""
    if weights == PRETRAINED:
        return None
    if weights == PACKAGE:
        return package_file(encoder)
    return locate_weights(Path(weights), encoder)


def locate_weights(path: Path, encoder: str) -> Path:
    """The weight file itself, or the one in a folder that belongs to the encoder."""
    names = [f"{stem}{end}" for stem in (encoder, encoder.split(".")[0], "model")
             for end in (".safetensors", ".pth", ".bin")]  # fmt: skip
    if os.path.isdir(path):  # False also for a name that can be none
        for name in names:
            if os.path.isfile(path / name):
                return path / name
        raise InputError(f"no weights of {encoder} in {path}: expected {names[0]} there")
    check_file(path, f"no encoder weights at {{}}: give a file, or a folder with {names[0]}")
    return path


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
            f"cannot download the weights of {encoder} ({first_line(error)}): fetch "
            f"model.safetensors of the model {repository} from the Hugging Face hub, save it as "
            f"{encoder}.safetensors, and give its path as encoder_weights "
            f"(--encoder-weights); {ADVICE}; None (--encoder-weights none) takes random weights"
        ) from None


def _first(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more
