"""One model in eight threads at once gives the bits that it gives in one."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny_training import SIZE, tiny

from soak.rounds import Rounds

THREADS, CALLS = 8, 3


@pytest.mark.soak("a round of predictions in 8 threads at once, on one form of a model", weight=3)
def test_predictions_in_threads(rounds: Rounds) -> None:
    model = tiny().eval()
    # In training mode a prediction leaves it and comes back to it.
    forms = {"training mode": tiny().train(), "trained": model, "fp32": model.optimize("fp32"),
             "bf16": model.optimize("bf16")}  # fmt: skip
    for rng in rounds:
        name = rng.choice(list(forms))
        form, random = forms[name], torch.Generator().manual_seed(rng.randrange(2**32))
        batches = [torch.randint(0, 256, (n, SIZE, SIZE, 3), generator=random, dtype=torch.uint8)
                   for n in (1, 2, 3, 5)]  # fmt: skip
        rules = [{}, {"sigma": 2.0}, {"pooling": 3}]
        asked = [(rng.choice(batches), rng.choice(rules)) for _ in range(THREADS * CALLS)]
        expected = [form.predict(images.numpy(), None, **rule) for images, rule in asked]
        with ThreadPoolExecutor(THREADS) as pool:
            running = [pool.submit(form.predict, i.numpy(), None, **rule) for i, rule in asked]
            found = [one.result() for one in running]
            for ours, theirs in zip(found, expected, strict=True):
                assert (ours.map == theirs.map).all() and (ours.score == theirs.score).all(), name
        rounds.came("predictions with the same bits", len(asked))
