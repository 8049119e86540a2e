"""Sampler and trainer that give other probabilities to the same tokens."""

import numpy as np

from tod.base import Unknown
from tod.base.text import counted
from tod.diagnostics import GapKind, GapProfile
from tod.findings.change import MAD, change, end_level, start_level, window_error
from tod.findings.dating import ramp_onset
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy, Severity
from tod.findings.rollout_series import of_gaps
from tod.findings.run import Series, TrainingRun
from tod.findings.settings import setting
from tod.findings.words import cost_since, number, resume_before, times

JUMP = 2.0
"""Growth of the RMS gap whose lower confidence limit must be exceeded."""
LEAP = 3.0
"""Growth of single steps above all others that is a break."""
SIGMAS = 6.0
"""Robust standard deviations (of logarithms) that such steps must exceed as well."""
LARGE = 0.1
"""RMS gap in nats a token that is critical where it came about."""
MATTERS = 0.05
"""RMS gap below which a growth is a note."""
ALWAYS = 0.3
"""RMS gap of a whole run that is a warning though nothing tells what it is."""
FEW = 4
"""Steps below which a break cannot be told from a level."""


class MismatchDetector(Detector):
    """Log of the root mean square of log π_old − log μ over the tokens of a step.

    It jumps for good, or leaves its level for some steps, or is large from the first step on. What
    the tokens of such a step look like tells what it is, as far as one step can.
    """

    kind = "mismatch"
    checks = "sampler against trainer"
    order = 10

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        gap = gap_series(run)
        if gap is None:
            return unreadable(
                self.kind,
                "no log-probs of sampler and trainer for the same tokens",
                setting("sampler_log_probs", run.framework),
            )
        if len(gap) < FEW:
            lone = self._always(run, gap)
            few = unreadable(self.kind, counted(len(gap), "step"), f"{FEW} steps", few=True)
            return few if lone is None else (lone,)
        logs = np.log(np.maximum(gap.values, 1e-6))
        seen = self._for_good(run, gap, logs) or self._for_some_steps(run, gap, logs)
        seen = seen or self._always(run, gap)
        return () if seen is None else (seen,)

    def _for_good(self, run: TrainingRun, gap: Series, logs: np.ndarray) -> Finding | None:
        if len(gap) < 6:
            return None
        grown = change(end_level(logs) - start_level(logs), window_error(logs))
        if not grown.passes(float(np.log(JUMP)), float(np.log(JUMP))):
            return None
        onset = ramp_onset(gap.steps, logs)
        first = onset.first
        return self._finding(run, gap, onset, gap.steps[gap.steps >= first], healed=None)

    def _for_some_steps(self, run: TrainingRun, gap: Series, logs: np.ndarray) -> Finding | None:
        usual = float(np.median(logs))
        spread = MAD * float(np.median(np.abs(logs - usual)))
        out = (logs - usual > max(float(np.log(LEAP)), SIGMAS * spread)) & (gap.values >= LARGE)
        if not out.any():
            return None
        steps = gap.steps[out]
        first = int(np.flatnonzero(out)[0])
        after = np.flatnonzero(~out[first:])
        healed = int(gap.steps[first + after[0]]) if len(after) else None
        at = int(gap.steps[first])
        return self._finding(run, gap, Onset(at, at, at), steps, healed)

    def _always(self, run: TrainingRun, gap: Series) -> Finding | None:
        level = float(np.median(gap.values))
        kind = _kind(run, gap.steps)
        told = kind in ("truncated", "temperature", "other_text", "reference") and level >= MATTERS
        # answers that end in certain tokens have small gaps there: no prefix is told by that alone
        told = told or (kind == "prefix" and level >= LARGE)
        if not told and level < LARGE:
            return None
        first = int(gap.steps[0])
        severity: Severity = "warning" if told or level >= ALWAYS else "note"
        onset = Onset(None, first, first)
        return self._finding(run, gap, onset, gap.steps, healed=None, severity=severity)

    def _finding(
        self,
        run: TrainingRun,
        gap: Series,
        onset: Onset,
        steps: np.ndarray,
        healed: int | None,
        severity: Severity | None = None,
    ) -> Finding:
        here = np.isin(gap.steps, steps)
        level = float(np.median(gap.values[here]))
        usual = float(np.median(gap.values[~here])) if not here.all() else None
        kind = _kind(run, steps)
        if severity is None:
            severity = "critical" if level >= LARGE else "warning" if level >= MATTERS else "note"
        what = "root mean square" if run.gaps else "as logged"
        evidence = [("gap", f"{number(level)} nats a token ({what})")]
        if usual is not None:
            evidence.append(("other steps", number(usual) + _so(level, usual)))
        profile = _profile(run, steps)
        if profile is not None:
            evidence.append(("of an answer", _of_an_answer(profile, kind)))
        reward = run.get("reward", 3)
        if reward is not None and onset.step is not None:
            evidence += _reward(reward, steps)
        return Finding(
            self.kind,
            severity,
            _headline(onset, level, healed, steps),
            onset,
            tuple(evidence),
            {
                "rms": level,
                "usual": usual,
                "mean": None if profile is None else profile.mean,
                "mean_ratio": None if profile is None else profile.mean_ratio,
            },
            causes=_causes(kind, onset, level, healed),
            remedies=_remedies(run, kind, onset),
            best_step=onset.before,
            cost=f"{len(steps)} of {counted(len(run.steps), 'step')}"
            if healed
            else cost_since(run, onset),
            series=("mismatch", "reward"),
        )


def gap_series(run: TrainingRun) -> Series | None:
    """RMS gap by step, of the tokens where they were read, else as logged."""
    read = of_gaps(run.gaps)
    return run.get("mismatch") if read is None else read


def _so(level: float, usual: float) -> str:
    return f", so {times(level / usual)}" if usual > 0 else ""


def _profile(run: TrainingRun, steps: np.ndarray) -> GapProfile | None:
    """The tokens of some steps together; None where only a log was read."""
    read = [run.gaps[s] for s in steps.tolist() if s in run.gaps]
    if not read:
        return None
    whole = GapProfile()
    for profile in read:
        for name, value in vars(profile).items():
            setattr(whole, name, getattr(whole, name) + value)
    return whole


def _kind(run: TrainingRun, steps: np.ndarray) -> GapKind | None:
    profile = _profile(run, steps)
    return None if profile is None else profile.kind


def _of_an_answer(profile: GapProfile, kind: GapKind | None) -> str:
    """Sum of the gap over an answer, and what the mean ratio says of truncation."""
    text = f"{number(profile.by_sequence)} nats, mean ratio of a token {profile.mean_ratio:.2f}"
    if kind == "truncated":
        return text + ": probability that the sampler cuts off"
    return text + f", {profile.share_above:.0%} of the tokens above 0: no truncation"


def _reward(reward: Series, steps: np.ndarray) -> list[tuple[str, str]]:
    here = np.isin(reward.steps, steps)
    if not here.any() or here.all():
        return []
    now, earlier = float(reward.values[here].mean()), float(reward.values[~here].mean())
    return [("reward", f"{number(now)} in these steps, {number(earlier)} in the others")]


def _headline(onset: Onset, level: float, healed: int | None, steps: np.ndarray) -> str:
    where = onset.words
    if healed is not None:
        last = int(steps[steps < healed].max())
        where = (
            f"at step {onset.step}" if last == onset.step else f"at steps {onset.step} to {last}"
        )
    text = f"Sampler and trainer are {number(level)} nats a token apart {where}"
    return text + (f", in step again at {healed}." if healed is not None else ".")


_TEXTS: dict[str, tuple[str, str, str]] = {
    "reference": (
        "initial_weights",
        "the sampler still holds the reference's weights: no weight update reached it",
        "the sampler's log-probs against the reference's, in the next step",
    ),
    "truncated": (
        "truncated_sampling",
        "the sampler cuts off unlikely tokens and logs what is left (top-p, top-k)",
        "one step with top-p 1 and no top-k",
    ),
    "temperature": (
        "temperature",
        "sampler and trainer use different temperatures",
        "the slope of one log-prob on the other with both at temperature 1",
    ),
    "prefix": (
        "other_prompt",
        "the trainer scores another prompt or template: the gap fades along the answer",
        "the token ids of one prompt on both sides",
    ),
    "other_text": (
        "other_text",
        "the trainer scores another text than was sampled",
        "the token ids of one answer on both sides",
    ),
}


def _causes(
    kind: GapKind | None, onset: Onset, level: float, healed: int | None
) -> tuple[Cause, ...]:
    """What it can be: one step's tokens do not tell other weights from another precision."""
    decide = "score one batch with the sampler's own weights, loaded into the trainer"
    other_text = Cause("other_text", _TEXTS["other_text"][1], "possible", _TEXTS["other_text"][2])
    weights = Cause(
        "weights_out_of_sync",
        "the sampler holds other weights: a weight update did not reach it",
        "likely" if healed is not None else "possible",
        decide,
    )
    precision = Cause(
        "precision", "the sampler computes in another precision or kernel", "possible", decide
    )
    if kind in ("truncated", "temperature", "prefix", "reference"):
        return (Cause(*_TEXTS[kind][:2], "likely", _TEXTS[kind][2]),)
    if kind == "other_text":
        return (Cause(*_TEXTS[kind][:2], "likely", _TEXTS[kind][2]), weights)
    if onset.step is None and level < ALWAYS:
        return (precision, weights)
    if level >= ALWAYS:  # no precision is so far off
        return (weights, other_text)
    return (weights, precision, other_text)


def _remedies(run: TrainingRun, kind: GapKind | None, onset: Onset) -> tuple[Remedy, ...]:
    back = resume_before(run, onset)
    if kind == "truncated":
        first = Remedy("top_p", f"sample untruncated: {setting('top_p', run.framework)} = 1")
    elif kind == "temperature":
        first = Remedy(
            "temperature",
            f"give the trainer's log-probs the sampler's {setting('temperature', run.framework)}",
        )
    elif kind in ("prefix", "other_text"):
        first = Remedy("compare_tokens", "compare the token ids of one row on both sides")
    else:
        at = "" if onset.step is None else f" before step {onset.step}"
        first = Remedy("check_sync", f"find in the sampler's log whether the weights came{at}")
    return (first, *back)
