"""Entropy that is lost, or that explodes: exploration ends, or the policy comes apart."""

import numpy as np
from jaxtyping import Float

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.change import change, end_level, start_level, window, window_error
from tod.findings.dating import ramp_onset
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy
from tod.findings.run import TrainingRun
from tod.findings.settings import setting
from tod.findings.words import cost_since, number, per_cent, resume_before, times

LEAST = 12
"""Steps below which a change of entropy cannot be told from noise."""
FIRST = 3
"""Steps whose level is the first one, where a change follows at once."""
LEFT = 0.2
"""Share of the first entropy below which it has collapsed."""
LEFT_LIMIT = 0.5
"""The upper confidence limit of what is left must be below this."""
GROWTH = 3.0
"""Growth that is an explosion."""
GROWTH_LIMIT = 2.0
"""Its lower confidence limit must exceed this."""
RISE = 0.05
"""Rise of the reward with which growing entropy is no fault."""
LEARNED = 0.9
"""Mean reward (of its range) from which a sure policy is what was wanted."""


class EntropyDetector(Detector):
    """End over start of the policy's entropy, in logarithms."""

    kind = "entropy"
    kinds = ("entropy_collapse", "entropy_explosion")
    checks = "entropy"
    order = 35

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        entropy = run.get("entropy")
        if entropy is None:
            return unreadable(self.kind, "no entropy is recorded", "a log of the entropy by step")
        if len(entropy) < LEAST:
            return unreadable(self.kind, counted(len(entropy), "step"), f"{LEAST} steps", few=True)
        level = start_level(entropy.values)
        if level <= 0:  # an entropy with a bonus or a sign in it tells nothing by its ratio
            return ()
        logs = np.log(np.maximum(entropy.values, 1e-3 * level))
        start, error = _start(logs)
        level = float(np.exp(start))
        moved = end_level(logs) - start
        sure = change(abs(moved), error)
        end = end_level(entropy.values)
        if moved < 0 and sure.passes(-float(np.log(LEFT)), -float(np.log(LEFT_LIMIT))):
            return (_collapse(run, level, end, ramp_onset(entropy.steps, logs)),)
        if moved > 0 and sure.passes(float(np.log(GROWTH)), float(np.log(GROWTH_LIMIT))):
            return (_explosion(run, level, end, ramp_onset(entropy.steps, logs)),)
        return ()


def _start(logs: Float[np.ndarray, " T"]) -> tuple[float, float]:
    """Level at the start, and the standard error of a level of as many steps.

    That of the first three steps where they lie evidently apart from the first fifth, so that a
    change within that fifth does not hide itself; else that of the fifth.
    """
    whole, first = start_level(logs), float(np.median(logs[:FIRST]))
    error = window_error(logs)
    of_first = error * float(np.sqrt(np.pi / 2 * window(len(logs)) / FIRST))
    if change(abs(first - whole), of_first).least > 0:
        return first, of_first
    return whole, error


def _reward(run: TrainingRun) -> tuple[float | None, float | None]:
    """Rise of the reward and its last level, as shares of its range; None without rewards."""
    reward = run.get("reward", 3)
    if reward is None:
        return None, None
    if run.rollouts is not None:
        low, high = run.rollouts.range
    else:
        low, high = min(0.0, float(reward.values.min())), max(1.0, float(reward.values.max()))
    unit = max(high - low, 1e-9)
    end = end_level(reward.values)
    return (end - start_level(reward.values)) / unit, (end - low) / unit


def _collapse(run: TrainingRun, start: float, end: float, onset: Onset) -> Finding:
    _, level = _reward(run)
    decide = "distinct answers to one prompt at K = 64, early and late"
    return _finding(
        run,
        "entropy_collapse",
        f"Entropy collapses {onset.words}: {number(start)} to {number(end)} nats.",
        onset,
        wanted=level is not None and level >= LEARNED,
        evidence=(
            ("entropy", f"{number(start)} to {number(end)}, {per_cent(end / start)} is left"),
            ("reward", "unknown" if level is None else f"{level:.2f} of its range at the end"),
        ),
        numbers={"start": start, "end": end, "reward": level},
        causes=(
            Cause(
                "sharpening",
                "each update makes likely answers likelier, and nothing holds against it",
                "possible",
                decide,
            ),
            Cause(
                "clip_high",
                "the upper clip bound stops unlikely tokens from growing",
                "possible",
                "share of clipped tokens with a positive advantage",
            ),
        ),
        remedies=(
            Remedy("entropy_bonus", f"raise {setting('entropy_coefficient', run.framework)}"),
            Remedy("kl", f"or hold to the reference: {setting('kl_coefficient', run.framework)}"),
        ),
    )


def _explosion(run: TrainingRun, start: float, end: float, onset: Onset) -> Finding:
    rise, _ = _reward(run)
    decide = "read three answers of before and of now"
    return _finding(
        run,
        "entropy_explosion",
        f"Entropy grows {times(end / start)} {onset.words}: {number(start)} to {number(end)} nats.",
        onset,
        wanted=rise is not None and rise > RISE,
        evidence=(
            ("entropy", f"{number(start)} to {number(end)}"),
            ("reward", "unknown" if rise is None else f"{rise:+.2f} of its range meanwhile"),
        ),
        numbers={"start": start, "end": end, "reward_rise": rise},
        causes=(
            Cause("bonus", "the entropy bonus outweighs the reward", "possible", decide),
            Cause("damaged", "updates damage the policy: its text comes apart", "possible", decide),
        ),
        remedies=(
            Remedy("entropy_bonus", f"lower {setting('entropy_coefficient', run.framework)}"),
            Remedy("learning_rate", f"or lower {setting('learning_rate', run.framework)}"),
        ),
    )


def _finding(
    run: TrainingRun,
    kind: str,
    headline: str,
    onset: Onset,
    *,
    wanted: bool,
    evidence: tuple[tuple[str, str], ...],
    numbers: dict[str, float | None],
    causes: tuple[Cause, ...],
    remedies: tuple[Remedy, ...],
) -> Finding:
    """A change of entropy: a note where the reward says that it was wanted, else a warning."""
    return Finding(
        kind,
        "note" if wanted else "warning",
        headline,
        onset,
        evidence,
        numbers,
        causes=causes,
        remedies=(*remedies, *resume_before(run, onset)),
        best_step=onset.before,
        cost=cost_since(run, onset),
        series=("entropy", "reward"),
    )
