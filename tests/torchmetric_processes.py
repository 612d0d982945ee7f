"""What each of the two processes of test_torchmetric.py does; it writes OUT/<rank>.pt.

Run as: torchmetric_processes.py OUT CELLS…, with torchrun's variables in the environment.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import MetricCollection

from invad_fast.integrations import torchmetrics
from invad_fast.integrations.torchmetrics import AnomalyTorchMetric
from invad_fast.metrics import anomaly_metrics


def images() -> tuple[Tensor, Tensor]:
    """11 maps with some 5,000 distinct scores, and masks of every other one."""
    random = torch.Generator().manual_seed(0)
    masks = torch.zeros(11, 30, 40, dtype=torch.bool)
    masks[::2, 4:9, 10:30] = masks[4:8, 20:22, :5] = True
    return torch.randint(5000, masks.shape, generator=random) / 5000 + 0.3 * masks, masks


def figures_of(rank: int) -> dict[str, dict[str, Tensor]]:
    """What a process sees of both processes' pixels, in several ways."""
    maps, masks = images()
    found = {}
    # An uneven share each, and the last batch by forward().
    shares = [torch.tensor([8, 0]), torch.tensor([3, 10, 4])], [torch.tensor([9, 2, 1, 7, 6, 5])]
    metric = AnomalyTorchMetric()
    both = MetricCollection({"paper": AnomalyTorchMetric(), "exact": AnomalyTorchMetric("exact")})
    for batch in shares[rank]:
        found["batch"] = metric(maps[batch], masks[batch])
        both.update(maps[batch], masks[batch])
    found["all"] = metric.compute()
    found["collection"] = both.compute()
    # What was gathered was given back: another update counts once.
    metric.update(maps[:1], masks[:1])
    found["more"] = metric.compute()
    metric.reset()
    metric.update(maps[rank::2], masks[rank::2])
    found["reset"] = metric.compute()
    return found


def main(out: Path, *all_cells: str) -> None:
    dist.init_process_group("gloo")
    results = {}
    for cells in map(int, all_cells):
        for module in (anomaly_metrics, torchmetrics):
            module.CELLS = cells
        results[cells] = figures_of(dist.get_rank())
    torch.save(results, out / f"{dist.get_rank()}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
