"""The inference form on a GPU, its captured graphs too, against the trainable form there."""

import pytest
import torch
from test_optimize import error, small

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
    pytest.mark.filterwarnings("ignore:the encoder .* has random weights"),
]


@pytest.mark.parametrize("cuda_graph", [True, False], ids=["graph", "no graph"])
@pytest.mark.parametrize("precision, tolerance", [("fp32", 1e-4), ("bf16", 5e-2), ("fp16", 1e-2)])
def test_predicts_what_the_trainable_form_predicts(
    precision: str, tolerance: float, cuda_graph: bool
) -> None:
    model = small().to("cuda")
    fast = model.optimize(precision, "cuda", cuda_graph=cuda_graph)
    torch.manual_seed(1)
    for batch in (1, 3, 1, 3):  # the third and fourth time a captured graph is replayed
        images = torch.randn(batch, 3, 64, 64, device="cuda")
        found, expected = fast.predict(images), model.predict(images)
        assert error(found.map, expected.map) < tolerance
        assert error(found.score, expected.score) < tolerance


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_training_step_has_the_gradients_of_the_cpu(layout: torch.memory_format) -> None:
    def gradient(device: str) -> torch.Tensor:
        model = small().to(device, memory_format=layout).train()
        torch.manual_seed(2)
        images = torch.randn(2, 3, 64, 64).to(device, memory_format=layout)
        model.loss(*model(images)).backward()
        parameters = [p for p in model.parameters() if p.grad is not None]
        return torch.cat([p.grad.flatten().cpu() for p in parameters])

    assert error(gradient("cuda"), gradient("cpu")) < 1e-3
