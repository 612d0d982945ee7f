"""descriptors ─> the class of each: what classes are told apart by."""

import numpy as np

from invad_fast.class_prototypes import class_prototypes

NAMES = ("bolt", "nut")


def descriptors(random: np.random.Generator, owners: list[str]) -> np.ndarray:
    """Eight channels about 0 for a bolt, 10 for a nut; the ninth is silent in every good part."""
    levels = np.array([10.0 * NAMES.index(name) for name in owners])[:, None]
    found = levels + random.normal(size=(len(owners), 9))
    found[:, 8] = 0
    return found


def test_a_channel_that_was_silent_in_training_does_not_drown_the_others() -> None:
    random, owners = np.random.default_rng(0), list(NAMES) * 10
    prototypes = class_prototypes(descriptors(random, owners), owners)
    fresh = descriptors(random, owners)
    assert prototypes.name(fresh) == tuple(owners)
    fresh[:, 8] = 20.0  # a defect wakes it
    assert prototypes.name(fresh) == tuple(owners)
    assert prototypes.distances(fresh).max() < 100


def test_parts_without_any_spread_are_told_apart() -> None:
    means = np.array([[0.0, 1.0], [1.0, 0.0]])
    prototypes = class_prototypes(means, NAMES)
    assert prototypes.name(means + 0.2) == NAMES
    same = class_prototypes(np.zeros((2, 3)), NAMES)
    assert (same.deviation == 1).all() and set(same.name(np.ones((1, 3)))) == {"bolt"}
