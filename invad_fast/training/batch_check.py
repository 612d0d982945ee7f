"""Whether a step of so many images can be made, asked of the model itself before any work."""

from __future__ import annotations

import torch
from torch.func import functional_call

from invad_fast.errors import InputError
from invad_fast.training.data_parallel import Reconstruction
from invad_fast.training.trainable import Trainable


def check_batch(model: Trainable, batch_size: int) -> None:
    """Refuses a batch that the model cannot be trained on.

    Batch norm has no statistics of a single value: one image whose features shrink to one
    position. A pass over tensors without memory finds that out, whatever the method and the size.

    Raises:
        InputError: naming the smallest batch that works.
    """
    fault = _fault(model, batch_size)
    if fault is None:
        return
    height, width = model.config.input_size
    if _fault(model, 2 * batch_size) is None:
        raise InputError(
            f"batches of {batch_size} are too small for batch norm in this model at "
            f"{height}x{width} pixels ({fault}): choose --batch-size {batch_size + 1} or more, or "
            "a larger --size"
        )
    raise InputError(f"this model cannot be trained at {height}x{width} pixels: {fault}")


def _fault(model: Trainable, batch_size: int) -> str | None:
    """What a step of ``batch_size`` images fails with; None where it does not."""
    net, mode = Reconstruction(model), model.training
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    absent = {name: torch.empty_like(value, device="meta") for name, value in tensors.items()}
    features = [
        torch.empty(batch_size, *shape, device="meta") for shape in model.config.feature_shapes
    ]
    try:
        with torch.no_grad():
            functional_call(net.train(), absent, (features,))
    except ValueError as error:
        return str(error).splitlines()[0]
    finally:
        model.train(mode)
    return None
