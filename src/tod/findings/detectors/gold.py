"""Evaluation that falls while the training reward does not: the reward is over-optimised."""

import numpy as np

from tod.base import Unknown
from tod.findings.change import MAD, end_level, moving_mean, start_level, window_error
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy
from tod.findings.run import Series, TrainingRun
from tod.findings.settings import setting
from tod.findings.words import against_noise, cost_since, number, resume

LEAST = 8
"""Evaluations below which a fall cannot be told from noise."""
FALL = 0.1
"""Fall from the best three to the last three that matters, for figures in [0, 1]."""
PART = 0.2
"""The same for other figures, as a share of the best, and half of what was gained to it."""
NEAR = 0.15
"""Share of the fall that is still the level before it."""
SIGMAS = 4.0
"""Standard errors that it must exceed."""
NOT_GOOD = (
    "loss", "length", "time", "second", "kl", "entropy", "ppl", "perplexity", "std", "token",
    "runtime", "epoch", "step", "clip", "truncat", "error", "sample", "num", "memory", "lr",
    "fail", "false", "fpr", "halluc", "refus", "repeat", "repet", "toxic", "violat", "wrong",
)  # fmt: skip
"""Words in the name of a figure that is not better for being higher."""


class GoldDetector(Detector):
    """Best mean of three evaluations less the last, where the training reward is not down."""

    kind = "gold"
    kinds = ("over_optimised",)
    checks = "evaluation against the training reward"
    order = 82

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        judged = {name: s for name in run.series if _good(name) and (s := run.get(name))}
        if not judged:
            return unreadable(self.kind, "no evaluation is recorded", "a log of evaluations")
        reward = run.get("reward", 3)
        if reward is None:
            return unreadable(self.kind, "no training reward is recorded", "a reward by step")
        enough = {name: s for name, s in judged.items() if len(s) >= LEAST}
        if not enough:
            most = max(map(len, judged.values()))
            return unreadable(self.kind, f"{most} evaluations", f"{LEAST} evaluations", few=True)
        fallen = [f for name, s in enough.items() if (f := _fallen(run, name, s, reward))]
        worst = sorted(fallen, key=lambda f: -(f.numbers["sigmas"] or 0.0))
        return tuple(worst[:1])


def _good(name: str) -> bool:
    """Whether a figure is an evaluation that is better for being higher."""
    return name.startswith("eval.") and not any(word in name[5:].lower() for word in NOT_GOOD)


def _fallen(run: TrainingRun, name: str, judged: Series, reward: Series) -> Finding | None:
    values = judged.values
    means = moving_mean(values, 3)
    at = int(np.argmax(means))
    best, end = float(means[at]), float(means[-1])
    second = np.diff(values, 2)
    noise = MAD * float(np.median(np.abs(second))) / np.sqrt(6)
    sigmas = (best - end) / max(noise * np.sqrt(2 / 3), 1e-12)
    inside = float(values.min()) >= 0 and float(values.max()) <= 1
    bound = FALL if inside else max(PART * abs(best), 0.5 * (best - float(means[0])))
    if best - end <= bound or sigmas < SIGMAS or _down(reward, judged, at, best - end):
        return None
    onset = _turn(judged, means, at)
    best_step = int(judged.steps[at + 1])
    short = name.removeprefix("eval.")
    now, then = end_level(reward.values), float(np.interp(best_step, reward.steps, reward.values))
    gained = number(now - then)
    return Finding(
        "over_optimised",
        "warning",
        f"Evaluation falls while training does not: {short} {number(best)} to {number(end)} "
        f"{onset.words}.",
        onset,
        (
            (short, f"{number(best)} around step {best_step}, {number(end)} at the end"),
            ("against noise", against_noise(float(sigmas))),
            ("training reward", f"{number(then)} to {number(now)} meanwhile ({gained})"),
        ),
        {"best": best, "end": end, "sigmas": float(sigmas), "reward_gain": now - then},
        causes=(
            Cause(
                "proxy",
                "the reward is a proxy that is exploited",
                "possible",
                "score the training answers by the evaluation's grader, early and late",
            ),
            Cause(
                "memorised",
                "the training prompts are learned by heart",
                "possible",
                "reward on prompts of the same kind that were never trained on",
            ),
        ),
        remedies=(
            resume(run, best_step),
            Remedy("kl", f"then hold nearer: raise {setting('kl_coefficient', run.framework)}"),
        ),
        best_step=best_step,
        cost=cost_since(run, onset),
        series=(name, "reward"),
    )


def _turn(judged: Series, means: np.ndarray, at: int) -> Onset:
    """The bend of two joined lines, by least squares, up to where the fall is done.

    Its interval reaches from the best three to where half of the fall is done.
    """
    best, end = float(means[at]), float(means[-1])
    values = judged.values
    fallen = np.flatnonzero(values[at + 1 :] <= end + NEAR * (best - end))
    last = at + 1 + (int(fallen[0]) if len(fallen) else len(values) - at - 2)
    t = np.arange(last + 1, dtype=float)
    rss = np.full(last + 1, np.inf)
    for bend in range(max(at - 2, 1), last):
        design = np.stack([np.ones_like(t), t, np.maximum(t - bend, 0)], axis=1)
        rest = values[: last + 1] - design @ np.linalg.lstsq(design, values[: last + 1])[0]
        rss[bend] = float(rest @ rest)
    turn = int(np.argmin(rss))
    half = turn + int(np.argmax(values[turn:] < (best + end) / 2))
    low, high = min(at, turn), max(half, turn)
    return Onset(*(int(judged.steps[place]) for place in (turn, low, high)))


def _down(reward: Series, judged: Series, at: int, fall: float) -> bool:
    """Whether the training reward fell as well: then it is the policy, or harder prompts.

    Over the steps of the best three evaluations and of the last three; a fall counts that is
    beyond its noise, or a third of that of the evaluation.
    """
    spans = ((judged.steps[at], judged.steps[at + 2]), (judged.steps[-3], judged.steps[-1]))
    parts = [reward.part((reward.steps >= a) & (reward.steps <= b)).values for a, b in spans]
    if not all(map(len, parts)):
        return end_level(reward.values) < start_level(reward.values)
    fell = float(parts[0].mean() - parts[1].mean())
    noise = window_error(reward.values, reward.error)
    return bool(fell > max(fall / 3, 0.0) or fell > 2 * np.sqrt(2) * noise)
