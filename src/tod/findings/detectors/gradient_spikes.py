"""Gradient norms that leap: single steps whose gradient is many times that of their neighbours."""

import numpy as np
from jaxtyping import Bool, Float

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.change import MAD
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy
from tod.findings.run import TrainingRun
from tod.findings.settings import setting
from tod.findings.words import number

FACTOR = 6.0
"""Times the running median that is a spike."""
SIGMAS = 6.0
"""Standard deviations (robust, of logarithms) that it must exceed as well."""
NEIGHBOURS = 15
"""Steps of the running median."""
TIMES = 3
"""Spikes from which something is said."""


class GradientSpikesDetector(Detector):
    """Steps whose log gradient norm exceeds its running median by log 6 and 6 deviations."""

    kind = "gradient_spikes"
    checks = "gradient spikes"
    order = 30

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        norm = run.get("grad_norm")
        if norm is None:
            return unreadable(self.kind, "no gradient norm is recorded", "a log of it by step")
        if len(norm) < NEIGHBOURS:
            return unreadable(
                self.kind, counted(len(norm), "step"), f"{NEIGHBOURS} steps", few=True
            )
        moved = int((norm.values > 0).sum())
        if moved < NEIGHBOURS:
            needs = f"{NEIGHBOURS} steps with a gradient"
            return unreadable(self.kind, f"{moved} steps with a gradient", needs, few=True)
        hit = spikes(norm.values)
        if int(hit.sum()) < TIMES:
            return ()
        steps = norm.steps[hit]
        worst = int(np.argmax(np.where(hit, norm.values, -np.inf)))
        usual = float(np.median(norm.values[~hit & (norm.values > 0)]))
        first = int(steps[0])
        shown = ", ".join(map(str, steps[:6].tolist())) + (" …" if len(steps) > 6 else "")
        limit = setting("gradient_norm", run.framework)
        decide = f"whether {limit} was below the usual norm of {number(usual)}"
        return (
            Finding(
                self.kind,
                "warning",
                f"The gradient leaps {len(steps)} times from step {first} on, to "
                f"{number(norm.values[worst] / usual)} times its usual norm.",
                Onset(first, first, first),
                (
                    ("steps", shown),
                    ("usual norm", number(usual)),
                    ("largest", f"{number(norm.values[worst])} at step {norm.steps[worst]}"),
                ),
                {"spikes": float(len(steps)), "usual": usual, "worst": float(norm.values[worst])},
                causes=(
                    Cause(
                        "outlier_batch",
                        "single batches with extreme advantages, lengths or ratios",
                        "possible",
                        f"the rollouts of step {int(norm.steps[worst])}",
                    ),
                    Cause("learning_rate", "the learning rate is too high", "possible", decide),
                ),
                remedies=(
                    Remedy("gradient_norm", f"set {limit} to {number(2 * usual)}"),
                    Remedy("look", f"look at the rollouts of step {int(norm.steps[worst])}"),
                ),
                cost=f"{len(steps)} of {counted(len(norm), 'step')}",
                series=("grad_norm", "loss"),
            ),
        )


def spikes(norm: Float[np.ndarray, " T"]) -> Bool[np.ndarray, " T"]:
    """Steps that leap above the running median of 15 steps by a factor of 6 and 6 deviations.

    A step of 0 has no gradient, as where every group of it is a tie: it is none, and no neighbour.

    Args:
        norm: Gradient norms, [T].
    """
    leaps = np.zeros(len(norm), dtype=bool)
    moved = norm > 0
    if not moved.any():
        return leaps
    logs = np.log(norm[moved])
    half = NEIGHBOURS // 2
    padded = np.pad(logs, half, mode="reflect")
    view = np.lib.stride_tricks.sliding_window_view(padded, NEIGHBOURS)
    above: np.ndarray = logs - np.median(view, axis=1)
    spread = MAD * float(np.median(np.abs(above)))
    leaps[moved] = above > max(float(np.log(FACTOR)), SIGMAS * spread)
    return leaps
