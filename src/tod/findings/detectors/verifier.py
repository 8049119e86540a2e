"""A grader that contradicts itself: the same answer to the same prompt, another reward."""

import numpy as np

from tod.base import Unknown
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Remedy
from tod.findings.run import RolloutTable, TrainingRun
from tod.findings.words import per_cent, thousands

LEAST = 5
"""Contradicting pairs below which nothing is said."""
SHARE = 0.1
"""Share of the contradictions of a coin that must be exceeded."""


class VerifierDetector(Detector):
    """Equal texts to equal prompts whose rewards differ."""

    kind = "verifier"
    checks = "same answer, other reward"
    order = 5

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        rollouts = run.rollouts
        if rollouts is None or rollouts.text is None or rollouts.input is None:
            return unreadable(self.kind, "no texts of answers", "rollouts with their texts")
        pairs, unequal, p = contradictions(rollouts)
        coin = 2 * p * (1 - p)
        if unequal < LEAST or unequal <= SHARE * pairs * coin:
            return ()
        decide = "score one of these answers ten times"
        return (
            Finding(
                self.kind,
                "critical",
                f"The reward is not a function of the answer: {thousands(unequal)} of "
                f"{thousands(pairs)} pairs of equal answers to one prompt got different rewards.",
                None,
                (
                    (
                        "contradictions",
                        f"{per_cent(unequal / pairs)} of the pairs of equal answers",
                    ),
                    ("a coin would give", per_cent(coin)),
                ),
                {"pairs": float(pairs), "unequal": float(unequal), "coin": coin},
                causes=(
                    Cause("random_grader", "the grader is not deterministic", "likely", decide),
                    Cause(
                        "hidden_input",
                        "the reward depends on more than the text (tools, turns)",
                        "possible",
                        decide,
                    ),
                ),
                remedies=(
                    Remedy("fix_grader", "make the grader deterministic (temperature 0, one seed)"),
                ),
            ),
        )


def contradictions(rollouts: RolloutTable) -> tuple[int, int, float]:
    """Pairs of equal answers to one prompt, how many have unequal rewards, and the pass share.

    Rewards are the two sides of the middle of their range; pairs are counted within all steps. What
    failed in the environment was not graded, and neither was an empty answer.
    """
    assert rollouts.text is not None and rollouts.input is not None  # noqa: S101, PT018
    low, high = rollouts.range
    right = rollouts.reward > (low + high) / 2
    _, prompt = np.unique(rollouts.input, return_inverse=True)
    _, text = np.unique(rollouts.text, return_inverse=True)
    key = prompt.astype(np.int64) * (int(text.max(initial=0)) + 1) + text
    _, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    graded = np.ones(len(text), dtype=bool) if rollouts.error is None else ~rollouts.error
    if rollouts.length is not None:
        graded = graded & (rollouts.length > 0)
    count = np.bincount(inverse[graded], minlength=len(count))
    good = np.bincount(inverse[graded], weights=right[graded], minlength=len(count))
    pairs = int((count * (count - 1) // 2).sum())
    unequal = int((good * np.maximum(count - good, 0)).sum())
    return pairs, unequal, float(right.mean())
