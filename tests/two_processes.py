"""What each of the two processes of test_distributed.py does; it writes OUT/<rank>.pt.

Run as: two_processes.py ROOT MODEL OUT, with torchrun's variables in the environment.
"""

import copy
import sys
from pathlib import Path

import torch
from torch import nn

from invad_fast import InvAD, InvADConfig
from invad_fast.distributed import World, join
from invad_fast.evaluation.evaluate import evaluate_model
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.model import reconstruction_loss
from invad_fast.training.data_parallel import training_forward
from invad_fast.training.synced_batch_norm import SyncedBatchNorm2d


def batch_norm(world: World) -> dict[str, list[torch.Tensor]]:
    """Half a batch in each process, and beside it the whole batch in one."""
    torch.manual_seed(3)
    x, weight = 100 + torch.randn(6, 5, 3, 4, dtype=torch.float64), torch.randn(6, 5, 3, 4)
    results = {}
    for name, norm in (("two", SyncedBatchNorm2d(5)), ("one", nn.BatchNorm2d(5))):
        norm.double()
        nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
        for _ in range(2):  # with statistics that run from zero, and with some that are near
            own = x.clone().requires_grad_()
            half = slice(3 * world.rank, 3 * world.rank + 3) if name == "two" else slice(None)
            y = norm(own[half])
            norm.zero_grad()
            (y**2 * weight[half]).sum().backward()
        rows, sums = [y.detach(), own.grad[half]], [norm.weight.grad, norm.bias.grad]
        if name == "two":
            rows = [torch.cat(world.gather(t)) for t in rows]
            sums = [sum(world.gather(t)) for t in sums]
        running = [norm.running_mean, norm.running_var, norm.num_batches_tracked]
        results[name] = [*rows, *sums, *running]
    return results


def gradients(world: World, device: torch.device) -> dict[str, dict[str, torch.Tensor]]:
    """One step's gradients of half a batch in each process, and of the whole batch in one."""
    config = InvADConfig(
        encoder=None, channels=(8, 16, 32), style_channels=8, latent_channels=4, grid=(4, 4),
        blocks=(1, 1, 1), loss_weight=2.0,
    )  # fmt: skip
    torch.manual_seed(world.rank)  # DistributedDataParallel gives all the main one's weights
    model = InvAD(config)
    single = copy.deepcopy(model)
    forward = training_forward(model.train(), world, device)
    torch.manual_seed(9)
    features = [torch.randn(4, c, s, s) for c, s in ((8, 16), (16, 8), (32, 4))]
    own = [f[2 * world.rank : 2 * world.rank + 2] for f in features]
    reconstruction_loss(own, forward(own), 2.0).backward()
    single.train()
    reconstruction_loss(features, single.reconstruct(features), 2.0).backward()
    return {
        name: {n: p.grad.clone() for n, p in m.named_parameters()}
        | {n: b.clone() for n, b in m.named_buffers() if "running" in n}
        for name, m in (("two", model), ("one", single))
    }


def main(root: Path, model_file: Path, out: Path) -> None:
    torch.set_num_threads(1)
    world, device = join("cpu")
    results = {"norm": batch_norm(world), "step": gradients(world, device)}
    evaluated = evaluate_model(
        InvAD.load(model_file), root, output=out / "evaluation", show_progress=False,
        options=ScoringOptions(cache=out / "images", batch_size=1, workers=0),
    )  # fmt: skip
    results["figures"] = {n: r.figures for n, r in evaluated.classes.items()}
    results["scores"] = {n: r.scores.tolist() for n, r in evaluated.classes.items()}
    trained = InvAD.load(model_file).fit(
        root, run=out / "run", cache=out / "features", epochs=2, batch_size=4, workers=0,
        learning_rate=1e-5, show_progress=False,
    )  # fmt: skip
    results["losses"] = trained.losses
    torch.save(results, out / f"{world.rank}.pt")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
