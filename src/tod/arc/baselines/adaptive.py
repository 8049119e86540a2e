"""Adaptive control of one number: of KL to the reference (Ziegler et al.), or of entropy."""

SPEED = 0.1
"""Share of the clipped error by which 1/η moves in a batch."""
CLIP = 0.2
"""Largest relative error that counts."""


def adaptive(
    current: float, goal: float, seen: float | None, wanted: float, *, more: bool
) -> float:
    """1/η ← (1/η)·(1 + .1·clip(±(seen/wanted − 1), ±.2)), η at most η*; it stays where unknown.

    Args:
        current: η in force.
        goal: η*.
        seen: The number of this batch.
        wanted: What it is steered to.
        more: Whether too much of it asks for less sharpness (KL), else too little (entropy).

    Source: docs/equations.md D.1; Ziegler et al. 2019, 1909.08593 (equation adaptive-kl)
    """
    if seen is None:
        return current
    error = seen / wanted - 1 if more else 1 - seen / wanted
    return min(goal, current / (1 + SPEED * max(-CLIP, min(CLIP, error))))
