"""The whole network: every form's latency and throughput, and a training step.

The baseline is the grouped model of `grouped_invad.py`. A form whose outputs differ from it is not
timed.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable

import pytest
import torch
from grouped_invad import GroupedInvAD
from timing import DEVICE, Rounds, timed
from torch import Tensor

from invad_fast import InvAD
from invad_fast.device import autocast
from invad_fast.inference.convolution import Target
from invad_fast.training.train import clip_gradients, make_optimizer

MODELS = ("invad", "invad-lite")
ROUNDS = Rounds(seconds=3.0, least=2, most=50)
ON_GPU = DEVICE.type == "cuda"
# Of reconstructions, relative; on a GPU all of fp32 is TF32.
TOLERANCE = {"fp32": 1e-2 if ON_GPU else 1e-4, "bf16": 5e-2, "fp16": 2e-2}
TRAINING_BATCH = 8
if ON_GPU:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True


@functools.cache
def model(name: str) -> InvAD:
    """Of random weights: what is computed does not depend on them."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the encoder's weights are random
        return InvAD(name, encoder_weights=None).eval().to(DEVICE)


@functools.cache
def images(batch: int) -> Tensor:
    torch.manual_seed(batch)
    return torch.randn(batch, 3, 256, 256, device=DEVICE)


@functools.cache
def expected(name: str, batch: int) -> list[Tensor]:
    with torch.inference_mode():
        return model(name)(images(batch))[1]


def grouped(name: str, precision: str) -> Callable:
    return GroupedInvAD(model(name))


def eager(name: str, precision: str) -> Callable:
    """The trainable form, as `InvAD.predict` runs it."""
    return model(name)


def optimized(name: str, precision: str) -> Callable:
    return model(name).optimize(precision, DEVICE.type)


def compiled(name: str, precision: str) -> Callable:
    """The folded network with its convolutions and epilogues left to the compiler."""
    import torch._inductor.config

    torch._inductor.config.freezing = True  # weights are constants: packed once
    unfused = pytest.MonkeyPatch()
    unfused.setattr(Target, "fused", False)
    folded = model(name).optimize(precision, DEVICE.type, cuda_graph=False)
    unfused.undo()
    mode = "max-autotune" if ON_GPU else None
    return torch.compile(folded, dynamic=False, mode=mode)


# (form, precision, largest batch timed)
FORMS = (
    (grouped, "fp32", 8),
    (eager, "fp32", 8),
    (compiled, "fp32", 8),
    (optimized, "fp32", 32),
    (eager, "bf16", 8),
    (compiled, "bf16", 8),
    (optimized, "bf16", 32),
)
if ON_GPU:
    FORMS = (*((form, precision, 32) for form, precision, _ in FORMS), (optimized, "fp16", 32))
CASES = [
    pytest.param(
        name, batch, form, precision, id=f"{name} batch {batch} {form.__name__} {precision}"
    )
    for name in MODELS
    for batch in (1, 8, 32)
    for form, precision, largest in FORMS
    if batch <= largest
]


@pytest.mark.parametrize("name, batch, form, precision", CASES)
def test_forward(benchmark, name: str, batch: int, form: Callable, precision: str) -> None:
    function = form(name, precision)

    def run() -> list[Tensor]:
        cast = precision if form is eager else "fp32"
        with torch.inference_mode(), autocast(DEVICE, cast):
            return function(images(batch))[1]

    for actual, exact in zip(run(), expected(name, batch)):
        error = (actual.float() - exact).norm() / exact.norm()
        assert error < TOLERANCE[precision], f"off by {error:.1e}: not timed"
    timed(
        benchmark,
        f"{name} batch {batch}",
        f"{form.__name__} {precision}",
        "grouped fp32",
        run,
        ROUNDS,
    )


@pytest.mark.parametrize("form", [grouped, eager], ids=lambda form: form.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_training_step(benchmark, name: str, form: Callable) -> None:
    """Decoder and fuser, forward to optimiser, on features as training caches them; float32."""
    trained = copy.deepcopy(model(name)).train()
    if form is eager:
        trained.to(memory_format=torch.channels_last)
    with torch.no_grad():
        features = trained.encode(images(TRAINING_BATCH))
    schedule = trained.schedule("paper")
    optimizer = make_optimizer(trained, schedule, 1e-3)
    computed = GroupedInvAD(trained) if form is grouped else trained

    def step() -> float:
        outputs = computed.reconstruct(features)
        loss = trained.loss(features, outputs)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradients(trained, schedule.clip)
        optimizer.step()
        return loss.item()

    first = step()
    assert first == pytest.approx(first_loss(name), rel=1e-4), "another loss: not timed"
    group = f"{name} batch {TRAINING_BATCH} training step"
    timed(benchmark, group, f"{form.__name__} fp32", "grouped fp32", step, ROUNDS)


@functools.cache
def first_loss(name: str) -> float:
    untrained = copy.deepcopy(model(name)).train()  # with the batch's statistics, as a step has
    with torch.no_grad():
        features, outputs = untrained(images(TRAINING_BATCH))
        return untrained.loss(features, outputs).item()
