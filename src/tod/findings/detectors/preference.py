"""Preference training whose chosen answers lose probability: as it does, or as a collapse."""

import numpy as np

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.change import (
    Change,
    change,
    end_level,
    moving_mean,
    start_level,
    window,
    window_error,
)
from tod.findings.dating import ramp_onset
from tod.findings.detector import Detector, of_other_runs, unreadable
from tod.findings.finding import Cause, Finding, Remedy
from tod.findings.run import Series, TrainingRun
from tod.findings.settings import setting
from tod.findings.words import cost_since, number, resume_before

LEAST = 12
"""Steps below which a fall cannot be told from noise."""
FALL = 0.2
"""Fall of a log-prob, as a share of its first level, that is worth saying."""
LIMIT = 0.1
"""Its lower confidence limit must exceed this."""
DEEP = 1.0
"""Fall of both, as a share of the first level, that is a collapse whatever else is known."""
DRIFT = (float(np.log(1.3)), float(np.log(1.1)))
"""Drift of the length (in logarithms), and its lower limit, that makes a collapse of a fall."""
WORSE = (0.05, 0.02)
"""Fall of the preference accuracy from its best, and its lower limit, that does the same."""


class PreferenceDetector(Detector):
    """Log-probs of chosen and rejected answers apart, with length and accuracy."""

    kind = "preference"
    kinds = ("preference_collapse", "chosen_falls")
    checks = "chosen and rejected answers"
    order = 84

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        chosen, rejected = run.get("chosen_logp"), run.get("rejected_logp")
        if chosen is None or rejected is None:
            return of_other_runs(
                self.kind,
                "no log-probs of chosen and rejected answers",
                "a log of both (preference training only)",
            )
        if min(len(chosen), len(rejected)) < LEAST:
            return unreadable(self.kind, counted(len(chosen), "step"), f"{LEAST} steps", few=True)
        fell = _fall(chosen)
        if fell is None:
            return ()
        also = _fall(rejected)
        why = [] if also is None else _collapsed(run, fell, also, chosen, rejected)
        if not why and not _margin_grows(run, chosen, rejected):
            why = ["the margin does not grow meanwhile"]
        return (_finding(run, chosen, rejected, why),)


def _fall(logp: Series) -> Change | None:
    """Fall of a log-prob; None where it is small or not sure."""
    start = start_level(logp.values)
    fell = change(start - end_level(logp.values), window_error(logp.values))
    return fell if fell.passes(FALL * abs(start), LIMIT * abs(start)) else None


def _collapsed(
    run: TrainingRun, fell: Change, also: Change, chosen: Series, rejected: Series
) -> list[str]:
    """What makes a collapse of a fall of both, in words; empty for a fall as it is usual."""
    why = []
    for name in ("length", "eval.length"):
        length = run.get(name, LEAST)
        if length is None:
            continue
        logs = np.log(np.maximum(length.values, 1e-9))
        moved = end_level(logs) - start_level(logs)
        if change(abs(moved), window_error(logs)).passes(*DRIFT):
            why.append(f"answers change to {np.exp(moved):.1f} of their length")
            break
    accuracy = run.get("accuracy", LEAST)
    if accuracy is not None:
        best = moving_mean(accuracy.values, window(len(accuracy))).max()
        fallen = float(best) - end_level(accuracy.values)
        if change(fallen, window_error(accuracy.values)).passes(*WORSE):
            why.append(f"accuracy falls to {number(end_level(accuracy.values))}")
    deep = [
        f.effect > DEEP * abs(start_level(s.values)) for f, s in ((fell, chosen), (also, rejected))
    ]
    if all(deep):
        why.append("both more than double their distance from certainty")
    return why


def _margin_grows(run: TrainingRun, chosen: Series, rejected: Series) -> bool:
    margin = run.get("margin", 3)
    if margin is not None:
        return end_level(margin.values) > start_level(margin.values)
    gap = [level(chosen.values) - level(rejected.values) for level in (start_level, end_level)]
    return gap[1] > gap[0]


def _finding(run: TrainingRun, chosen: Series, rejected: Series, why: list[str]) -> Finding:
    onset = ramp_onset(chosen.steps, chosen.values)
    ends = [
        (start_level(s.values), end_level(s.values)) for s in (chosen, rejected)
    ]  # log-probs of the answers of the data: no KL of the policy
    evidence = [
        (name, f"{number(a)} to {number(b)} nats")
        for name, (a, b) in zip(("chosen", "rejected"), ends, strict=True)
    ]
    if not any(run.get(name, LEAST) for name in ("length", "eval.length")):
        evidence.append(("length of sampled answers", "unknown: log it to tell a collapse"))
    evidence += [("and", text) for text in why]
    if not why:
        return Finding(
            "chosen_falls",
            "note",
            f"Chosen answers lose probability {onset.words} while the margin grows: usual for DPO.",
            onset,
            tuple(evidence),
            {"chosen": ends[0][1] - ends[0][0], "rejected": ends[1][1] - ends[1][0]},
            series=("chosen_logp", "rejected_logp", "margin"),
        )
    return Finding(
        "preference_collapse",
        "warning",
        f"Chosen and rejected answers both lose probability {onset.words}, and {why[0]}.",
        onset,
        tuple(evidence),
        {"chosen": ends[0][1] - ends[0][0], "rejected": ends[1][1] - ends[1][0]},
        causes=(
            Cause(
                "likelihood_displaced",
                "probability moves to answers that are in no pair",
                "possible",
                "sample ten answers of now: are they like any of the pairs?",
            ),
            Cause(
                "similar_pairs",
                "chosen and rejected share most of their text, and fall together",
                "possible",
                "the accuracy on pairs that differ early",
            ),
        ),
        remedies=(
            Remedy("anchor", "add the chosen answers' log-likelihood to the loss"),
            Remedy("learning_rate", f"or lower {setting('learning_rate', run.framework)}"),
            *resume_before(run, onset),
        ),
        best_step=onset.before,
        cost=cost_since(run, onset),
        series=("chosen_logp", "rejected_logp", "margin", "length"),
    )
