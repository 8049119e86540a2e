"""Proposals of exact worlds: from what a study draws its candidates. All [C, Y], nats."""

from typing import Literal

import numpy as np

from tod.base import SpecError
from tod.study.world import Law, World, normalised, perturbed

Kind = Literal["base", "tilt", "perturbed", "hole"]


def proposal(world: World, kind: Kind, strength: float, eta: float) -> Law:
    """One of the fixed proposals.

    * ``base``: b itself (``strength`` is not read).
    * ``tilt``: b·exp(ληU), λ the strength: 1 is the target, below 0 away from it.
    * ``perturbed``: b with Gaussian noise of that size on its logits.
    * ``hole``: b without the sequences that hold the first ``strength`` of the target's mass;
      what is missing is invisible to every weight statistic.

    Raises:
        SpecError: A hole's mass is not inside (0, 1), or would take everything.
    """
    if kind == "base":
        return world.base
    if kind == "tilt":
        return world.target(strength * eta)
    if kind == "perturbed":
        return perturbed(world, strength, 11)
    return _with_hole(world, strength, eta)


def _with_hole(world: World, mass: float, eta: float) -> Law:
    if not 0.0 < mass < 1.0:
        raise SpecError(f"a hole of mass {mass}: it lies between 0 and 1.")
    q = np.exp(world.target(eta))
    order = np.argsort(-q, axis=1)
    before = np.cumsum(np.take_along_axis(q, order, axis=1), axis=1)
    before = before - np.take_along_axis(q, order, axis=1)
    missing = np.take_along_axis(before, np.argsort(order, axis=1), axis=1) < mass
    if bool(missing.all(axis=1).any()):
        raise SpecError(f"a hole of mass {mass} takes every sequence of a context: make it less.")
    return normalised(np.where(missing, -np.inf, world.base))
