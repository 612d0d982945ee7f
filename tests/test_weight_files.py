"""Encoder weights and authors' checkpoints: files of other kinds are one line each."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from invad_fast import InputError, InvAD, InvADConfig
from invad_fast.encoder import Encoder
from invad_fast.encoder_weights import read_state_dict

RAN: list[str] = []


class Code:
    """What a pickle may hold: calling it is running it."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return RAN.append, ("code ran",)


def as_torch(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def as_numpy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def as_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "no weights")
    return buffer.getvalue()


def damaged() -> dict[str, torch.Tensor]:
    state = {"a": torch.ones(3), "b": torch.ones(3)}
    state["b"][1] = torch.nan
    return state


CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "three bytes": b"abc",
    "text": b"these are no weights\n" * 100,
    "json": b'{"a": [1, 2, 3]}',
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a numpy array": as_numpy(np.zeros(3)),
    "a numpy pickle": as_numpy(np.array([Code()], object)),
    "a zip file": as_zip(),
    "a pickle with code": pickle.dumps({"a": Code()}),
    "a torch file with code": as_torch({"a": Code()}),
    "half a torch file": as_torch({"a": torch.zeros(1000)})[:1500],
    "a list": as_torch([torch.zeros(2)]),
    "a tensor": as_torch(torch.zeros(2)),
    "a number": as_torch(5),
    "nothing": as_torch(None),
    "no tensors": as_torch({}),
    "an empty state dict": as_torch({"state_dict": {}}),
    "numbers by name": as_torch({"a": 1, "b": [2]}),
    "tensors by number": as_torch({0: torch.zeros(2)}),
    "nested garbage": as_torch({"net": {"model": {"state_dict": [{"a": {}}]}}}),
    "sparse tensors": as_torch({"a": torch.eye(3).to_sparse()}),
    "not a number": as_torch(damaged()),
}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_of_another_kind_is_one_line(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(CONTENTS[name])
    with pytest.raises(InputError) as caught:
        read_state_dict(path)
    line = str(caught.value)
    assert path.name in line and "\n" not in line and len(line) < 400
    assert not RAN
    if "code" in name:
        assert "may run code" in line


def test_the_content_tells_the_kind_not_the_suffix(tmp_path: Path) -> None:
    state = {"module.a": torch.arange(3.0)}
    save_file(state, tmp_path / "weights.pth")
    (tmp_path / "weights.safetensors").write_bytes(as_torch({"state_dict": state}))
    for name in ("weights.pth", "weights.safetensors"):
        assert torch.equal(read_state_dict(tmp_path / name)["a"], state["module.a"])


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    def fails(match: str, weights: Any) -> None:
        with pytest.raises(InputError, match=match) as caught:
            Encoder("resnet10t", (0, 1), (32, 32), weights)
        assert "\n" not in str(caught.value)

    fails("no encoder weights at .*none.pth: give a file", tmp_path / "none.pth")
    fails(r"no weights of resnet10t in .*: expected resnet10t\.safetensors", tmp_path)
    fails("cannot read", tmp_path / ("long" * 100))
    fails("'pretrained', 'package', a path or None, not 5", 5)
    fails(r"'pretrained', 'package', a path or None, not \[\]", [])
    (tmp_path / "resnet10t.safetensors").mkdir()
    fails("no weights of resnet10t in", tmp_path / "resnet10t.safetensors")
    with pytest.raises(InputError, match="is a folder"):
        read_state_dict(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        fails("a pipe", tmp_path / "pipe")


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"

    def fails(match: str, state: dict[str, torch.Tensor]) -> None:
        save_file(state, path)
        with pytest.raises(InputError, match=match) as caught:
            Encoder("resnet10t", (0, 1), (32, 32), path)
        assert "\n" not in str(caught.value) and path.name in str(caught.value)

    whole = timm.create_model("resnet10t").state_dict()
    fails("does not fit the encoder resnet10t: it lacks conv1", {"x": torch.zeros(1)})
    name = "layer1.0.conv1.weight"
    fails(f"other shapes at {name}", {**whole, name: torch.zeros(64, 64, 1, 1)})
    fails(f"other shapes at {name}", {**whole, name: whole[name].long()})
    broken = whole[name].clone()
    broken[0] = torch.inf
    fails(f"{name} has numbers that are not finite", {**whole, name: broken})
    config = InvADConfig(encoder="resnet10t", out_indices=(0, 1), blocks=(1, 1), input_size=32)
    with pytest.warns(UserWarning, match="random weights"):
        model = InvAD(config, None)
    model.save(path)
    with pytest.raises(InputError, match="is a model of invad_fast, not an encoder's weights"):
        Encoder("resnet10t", (0, 1), (32, 32), path)


REFERENCES: dict[str, Any] = {
    "a list": [1, 2],
    "a number": 5,
    "nothing": None,
    "a tensor": torch.zeros(2),
    "text by name": {"net": "x"},
    "numbers": {"net_decoder.input.input": 5},
    "number names": {5: torch.zeros(1)},
    "empty": {},
    "empty inside": {"net": {}},
    "nested": {"net": {"net": {"net": {}}}},
    "other tensors": {"a": torch.zeros(1)},
    "a name of ours in another shape": {"net_decoder.input.input": torch.zeros(0, 1, 1, 1, 1)},
    "complex": {"net_decoder.input.input": torch.zeros(1, 4, 2, 2, dtype=torch.complex64)},
    "arrays": {"net_decoder.input.input": np.zeros((1, 4, 2, 2))},
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_of_another_kind_is_one_line(name: str) -> None:
    config = InvADConfig(encoder=None, channels=(4, 4), grid=2, blocks=(1, 1), style_channels=4)
    with pytest.raises(InputError) as caught:
        InvAD(config, None).load_reference(REFERENCES[name])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 800
