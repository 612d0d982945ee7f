"""The authors' released checkpoints: their parameter names mapped onto ours (method.md §1)."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor, nn

from invad_fast.encoder_weights import fits, read_state_dict, state_dict_of
from invad_fast.errors import InputError

# Their names on the left. A ConvLayer there is a Sequential: convolution, (blur,) activation.
_BLOCK = r"net_decoder\.convs\.(\d)\.(\d)\."
_RENAMES = (
    (r"net_encoder\.(.+)", r"encoder.net.\1"),
    (r"net_fuser\.downsamples\.(.+)", r"fuser.aggregate.\1"),
    (r"net_fuser\.conv_cat\.(.+)", r"fuser.merge.\1"),
    (r"net_fuser\.conv_bottle\.0\.(.+)", r"fuser.bottleneck.\1"),
    (r"net_fuser\.convs\.(\d)\.(\d)\.0\.weight", r"fuser.rescale.\1.\2.conv.weight"),
    (r"net_fuser\.convs\.(\d)\.(\d)\.[12]\.bias", r"fuser.rescale.\1.\2.bias"),
    (r"net_decoder\.input\.input", r"decoder.constant"),
    (r"net_decoder\.conv1\.0\.0\.weight", r"decoder.stem.conv.weight"),
    (r"net_decoder\.conv1\.0\.1\.bias", r"decoder.stem.bias"),
    (r"net_decoder\.convs_latent\.(\d)\.(\d)\.0\.weight", r"decoder.translators.\1.\2.conv.weight"),
    (r"net_decoder\.convs_latent\.(\d)\.(\d)\.1\.bias", r"decoder.translators.\1.\2.bias"),
    (_BLOCK + r"skip\.0\.weight", r"decoder.scales.\1.\2.skip.conv.weight"),
    (_BLOCK + r"conv([12])\.conv\.weight", r"decoder.scales.\1.\2.styled\3.conv.weight"),
    (_BLOCK + r"conv([12])\.conv\.(gamma|beta)\.(.+)", r"decoder.scales.\1.\2.styled\3.\4.\5"),
    (_BLOCK + r"conv([12])\.activate\.bias", r"decoder.scales.\1.\2.styled\3.bias"),
)  # fmt: skip


def our_name(theirs: str, ours: set[str]) -> str | None:
    """Our name of a parameter of theirs; None for a blur constant, which we do not store."""
    if theirs.endswith(".kernel"):
        return None
    for pattern, replacement in _RENAMES:
        name, matched = re.subn(rf"^{pattern}$", replacement, theirs)
        if matched:
            # Their upsampling convolution has the modulated one's name, ours says what it is.
            resample = name.replace(".styled1.", ".resample.")
            return resample if name not in ours and resample in ours else name
    return None


def load_reference(model: nn.Module, source: dict[str, Tensor] | str | Path) -> None:
    """Loads a released ``net.pth``, or its state dict, into ``model``.

    The file may hold the state dict itself or have it under ``net``; keys may be prefixed
    ``module.``. It is read with ``weights_only=True``.

    Raises:
        InputError: where the source holds no state dict; naming the keys, where one of theirs fits
            nowhere, one of ours is missing, or shapes differ.
    """
    if isinstance(source, (str, Path)):
        where, state = str(source), read_state_dict(Path(source))
    else:
        where = "what load_reference was given"
        state = state_dict_of(source, where)
    expected = model.state_dict()
    found: dict[str, Tensor] = {}
    unknown, shapes = [], []
    for theirs, value in state.items():
        if theirs.endswith(".kernel"):
            continue
        name = our_name(theirs, set(expected))
        if name not in expected:
            unknown.append(theirs)
            continue
        # A modulated weight has a first dimension of 1, for broadcasting.
        if value.dim() == 5 and value.shape[0] == 1:
            value = value[0]
        if not fits(value, expected[name]):
            wanted = expected[name]
            shapes.append(
                f"{theirs} {tuple(value.shape)} {value.dtype} for {tuple(wanted.shape)} "
                f"{wanted.dtype}"
            )
        found[name] = value
    missing = [name for name in expected if name not in found]
    problems = [
        f"{title}: {', '.join(keys[:4])}" + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
        for title, keys in (
            ("keys that this model lacks", unknown),
            ("keys that it lacks", missing),
            ("other shapes", shapes),
        )
        if keys
    ]
    if problems:
        raise InputError(f"{where} does not fit this model; " + "; ".join(problems))
    model.load_state_dict(found)
