"""Threads that wait for each other leave the core soon to whoever has work.

GNU's OpenMP, which torch's layers run on, lets a thread at a barrier look for its next work 300,000
times before it sleeps. On a machine with other work it burns the core that the thread it waits for
needs: a training made 1.1 images a second that made 3.7 with 10,000 looks, which cost nothing on
a quiet one (docs/measured.md).
"""

from __future__ import annotations

from collections.abc import MutableMapping

_SPINS, _POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"


def spin_briefly(environment: MutableMapping[str, str]) -> None:
    """For processes that load torch with this environment; what a user has set there stays."""
    if _POLICY not in environment:
        environment.setdefault(_SPINS, "10000")
