"""A gradient of exactly 0 to the end of a run: nothing is trained."""

import numpy as np

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy
from tod.findings.run import TrainingRun
from tod.findings.words import cost_since, number

LEAST = 10
"""Steps without a gradient at the end of a run from which something is said."""
TIES = 0.9
"""Share of zero-variance groups from which they are why there is none: others say so."""
SOLVED = 0.9
"""Mean reward, of rewards in [0, 1], from which no gradient is left to be had."""


class NoGradientDetector(Detector):
    """Gradient norms that are exactly 0 from some step to the end, ten steps and more.

    Silent where most groups are known to have rewards that are all equal, or nothing is left to
    gain: the end of learning is a finding of its own.
    """

    kind = "no_gradient"
    checks = "a gradient at all"
    order = 29

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        norm = run.get("grad_norm")
        if norm is None:
            return unreadable(self.kind, "no gradient norm is recorded", "a log of it by step")
        if len(norm) < LEAST:
            return unreadable(self.kind, counted(len(norm), "step"), f"{LEAST} steps", few=True)
        moved = np.flatnonzero(norm.values)
        first = int(moved[-1]) + 1 if len(moved) else 0
        if len(norm) - first < LEAST:
            return ()
        step = int(norm.steps[first])
        ties = _since(run, "zero_variance", step)
        spread, reward = _since(run, "reward_std", step), _since(run, "reward", step)
        solved = reward is not None and bool(reward.mean() >= SOLVED and reward.max() <= 1)
        if solved or (ties is not None and ties.mean() >= TIES):
            return ()
        onset = Onset(None if first == 0 else step, step, step)
        alike = spread is not None and not spread.any()
        kl = _since(run, "kl", step)
        still = kl is not None and not kl.any()
        evidence = [("gradient norm", f"0 at {len(norm) - first} of {counted(len(norm), 'step')}")]
        if reward is not None:
            evidence.append(("mean reward since", number(float(reward.mean()))))
        if spread is not None:
            evidence.append(("spread of rewards", number(float(spread.mean()))))
        if kl is not None:
            evidence.append(("KL to the reference", number(float(np.abs(kl).max()))))
        why = ": the rewards of a prompt are all equal" if alike else ""
        return (
            Finding(
                self.kind,
                "critical" if alike or still else "warning",
                f"Nothing is trained {onset.words} on: the gradient is exactly 0{why}.",
                onset,
                tuple(evidence),
                {"steps": float(len(norm) - first)},
                causes=() if alike else _causes(still),
                remedies=(
                    Remedy("score_by_hand", "score one answer by hand: does a right one get more?")
                    if alike
                    else Remedy("look", "compare one trained parameter before and after a step"),
                ),
                cost=cost_since(run, onset),
                series=("grad_norm", "reward"),
            ),
        )


def _since(run: TrainingRun, name: str, step: int) -> np.ndarray | None:
    """Values of a series from a step on; None where there are none."""
    series = run.get(name)
    values = None if series is None else series.values[series.steps >= step]
    return None if values is None or not len(values) else values


def _causes(still: bool) -> tuple[Cause, ...]:
    """Why there is none although answers differ in reward."""
    decide = "whether a trained parameter differs after a step"
    frozen = Cause(
        "frozen",
        "no trained parameter is in the graph (adapters, frozen weights, a detached loss)",
        "likely" if still else "possible",
        decide,
    )
    unreported = Cause("unreported", "the engine does not report its norm", "possible", decide)
    return (frozen,) if still else (frozen, unreported)
