"""A grader that contradicts itself: the same answer to the same prompt, another reward."""

import numpy as np
from jaxtyping import Bool, Int

from tod.base import Unknown
from tod.findings.codes import bounded, distinct
from tod.findings.dating import share_onset
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy
from tod.findings.run import RolloutTable, TrainingRun
from tod.findings.words import cost_since, per_cent, thousands

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
        onset = _onset(rollouts)
        return (
            Finding(
                self.kind,
                "critical",
                f"The reward is not a function of the answer: {thousands(unequal)} of "
                f"{thousands(pairs)} pairs of equal answers to one prompt got different rewards.",
                onset,
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
                best_step=onset.before,
                cost=cost_since(run, onset),
            ),
        )


def contradictions(rollouts: RolloutTable) -> tuple[int, int, float]:
    """Pairs of equal answers to one prompt, how many have unequal rewards, and the pass share.

    Rewards are the two sides of the middle of their range; pairs are counted within all steps. What
    failed in the environment was not graded, and neither was an empty answer.
    """
    right = _right(rollouts)
    _, pairs, unequal = _pairs(rollouts, right)
    return int(pairs.sum()), int(unequal.sum()), float(right.mean())


def _onset(rollouts: RolloutTable) -> Onset:
    """Since when equal answers of one step contradict each other, by their share of its pairs."""
    steps, step = np.unique(rollouts.step_of_row, return_inverse=True)
    of_text, pairs, unequal = _pairs(rollouts, _right(rollouts), step)
    at = np.zeros(len(pairs), np.int64)
    at[of_text] = step
    total = np.bincount(at, weights=pairs, minlength=len(steps)).astype(np.int64)
    count = np.bincount(at, weights=unequal, minlength=len(steps)).astype(np.int64)
    there = total > 0
    if not there.any():
        return Onset(None, int(steps[0]), int(steps[0]))
    return share_onset(steps[there], count[there], total[there])


def _right(rollouts: RolloutTable) -> Bool[np.ndarray, " N"]:
    low, high = rollouts.range
    right: np.ndarray = rollouts.reward > (low + high) / 2
    return right


def _pairs(
    rollouts: RolloutTable,
    right: Bool[np.ndarray, " N"],
    apart: Int[np.ndarray, " N"] | None = None,
) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Of every answer which text it is; of every text its pairs, and those with unequal rewards.

    Args:
        rollouts: With texts.
        right: Which of them passed.
        apart: Answers of other numbers are no pair; None: all may be.
    """
    assert rollouts.text is not None and rollouts.input is not None  # noqa: S101, PT018
    prompt, text = bounded(rollouts.input), bounded(rollouts.text)
    key = prompt * (int(text.max(initial=0)) + 1) + text
    if apart is not None:
        key = bounded(key)
        key += apart * (int(key.max(initial=0)) + 1)
    if len(distinct(key)) == len(key):  # no text comes again: no pairs
        return np.arange(len(key)), np.zeros_like(key), np.zeros_like(key)
    _, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    graded = np.ones(len(text), dtype=bool) if rollouts.error is None else ~rollouts.error
    if rollouts.length is not None:
        graded = graded & (rollouts.length > 0)
    size = len(count)
    count = np.bincount(inverse[graded], minlength=size)
    good = np.bincount(inverse[graded], weights=right[graded], minlength=size).astype(np.int64)
    return inverse, count * (count - 1) // 2, good * np.maximum(count - good, 0)
