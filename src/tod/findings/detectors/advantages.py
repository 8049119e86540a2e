"""Advantages as logged against advantages recomputed from the rewards: which rule made them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy
from tod.findings.run import RolloutTable, TrainingRun
from tod.findings.words import number, per_cent, thousands
from tod.operators import GroupMean, GroupZScore, LeaveOneOut, LeaveOneOutZScore

FIT = 0.01
"""Root mean square difference, as a share of the advantages', below which a rule fits."""
LEAST = 30
"""Rollouts with an advantage below which nothing is said."""
AGAINST = -0.5
"""Correlation with reward less the prompt's mean below which advantages point the wrong way."""
EPSILON = 1e-6
"""Added to a standard deviation where no configuration says what is."""
OF_TOKENS = ("whitened_tokens", "centred_whitened_tokens")
"""Rules in which an answer counts as often as it has tokens."""

WORDS = {
    "group_mean": "reward less the prompt's mean",
    "leave_one_out": "reward less the mean of the prompt's other answers",
    "group_zscore": "z-scored within the prompt",
    "leave_one_out_zscore": "less the mean, over the spread, of the prompt's other answers",
    "batch_zscore": "reward less the prompt's mean, over the spread of the step",
    "whitened": "z-scored over the whole step",
    "whitened_tokens": "z-scored over the tokens of the step",
    "centred_whitened_tokens": "reward less the prompt's mean, z-scored over the step's tokens",
    "raw": "the reward itself",
    "length_scaled": "reward less the prompt's mean, divided by the answer's length",
}
"""Rules by what they do."""


@dataclass(frozen=True)
class Rule:
    """A rule and how well it explains the logged advantages.

    Attributes:
        name: Key of ``WORDS``.
        scale: What its advantages are multiplied by; 1 where they fit as they are.
        rest: Root mean square of what it leaves, as a share of the advantages'.
    """

    name: str
    scale: float
    rest: float


def recomputed(
    rollouts: RolloutTable, epsilon: float = EPSILON
) -> Iterator[tuple[str, Float[np.ndarray, " N"]]]:
    """Advantages of every rollout by rule, both divisors of the variance for z-scores.

    Args:
        rollouts: The rollouts.
        epsilon: Added to the standard deviation of a z-score.
    """
    reward, groups = rollouts.reward, rollouts.groups
    centred = np.asarray(GroupMean()(reward, groups))
    yield "group_mean", centred
    yield "leave_one_out", np.asarray(LeaveOneOut()(reward, groups))
    for ddof in (1, 0):
        rule = GroupZScore(ddof=1 if ddof else 0, epsilon=epsilon)
        yield "group_zscore", np.asarray(rule(reward, groups))
    yield "leave_one_out_zscore", np.asarray(LeaveOneOutZScore(epsilon=epsilon)(reward, groups))
    rows = rollouts.rows_of_step
    spread = rows.spread(np.sqrt(np.asarray(rows.variance(reward, 0))))
    safe = np.where(spread > 0, spread, 1.0)
    yield "batch_zscore", centred / (safe + epsilon)
    yield "whitened", (reward - rows.spread(np.asarray(rows.mean(reward)))) / safe
    yield "raw", reward
    if rollouts.length is not None:
        yield "length_scaled", centred / np.maximum(rollouts.length, 1)
        if rollouts.length_unit == "tokens":
            yield "whitened_tokens", _by_tokens(rollouts, reward)
            yield "centred_whitened_tokens", _by_tokens(rollouts, centred)


def _by_tokens(rollouts: RolloutTable, values: Any) -> Float[np.ndarray, " N"]:
    """Values z-scored over the tokens of their step: each counts as often as it has tokens."""
    rows, count = rollouts.rows_of_step, np.asarray(rollouts.length, float)
    total = np.maximum(np.asarray(rows.sum(count)), 1.0)
    centred = values - rows.spread(np.asarray(rows.sum(count * values)) / total)
    spread = rows.spread(np.sqrt(np.asarray(rows.sum(count * centred**2)) / total))
    scores: Float[np.ndarray, " N"] = centred / np.where(spread > 0, spread, 1.0)
    return scores


def rules(rollouts: RolloutTable, used: np.ndarray, epsilon: float = EPSILON) -> list[Rule]:
    """Rules that fit the logged advantages of some rows, best first; with a scale if none does."""
    assert rollouts.advantage is not None  # noqa: S101 - the caller looked
    logged = rollouts.advantage[used]
    size = float(np.sqrt((logged**2).mean()))
    exact: list[Rule] = []
    scaled: list[Rule] = []
    for name, values in recomputed(rollouts, epsilon):
        theirs = values[used]
        exact.append(Rule(name, 1.0, float(np.sqrt(((logged - theirs) ** 2).mean())) / size))
        square = float(theirs @ theirs)
        if square > 0 and name != "raw":
            scale = float(logged @ theirs) / square
            rest = float(np.sqrt(((logged - scale * theirs) ** 2).mean())) / size
            scaled.append(Rule(name, scale, rest))
    fitting = [rule for rule in exact if rule.rest <= FIT]
    fitting = fitting or [rule for rule in scaled if rule.rest <= FIT and rule.scale > 0]
    best: dict[str, Rule] = {}
    for rule in sorted(fitting, key=lambda r: r.rest):
        best.setdefault(rule.name, rule)
    return list(best.values())


class AdvantagesDetector(Detector):
    """Which rule explains the logged advantages, and whether it is the configured one."""

    kind = "advantages"
    kinds = ("advantage_rule", "advantage_contradiction", "advantage_sign")
    checks = "advantages"
    order = 8

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        rollouts = run.rollouts
        if rollouts is None or rollouts.advantage is None:
            return unreadable(
                self.kind, "no advantages are logged", "rollouts with the trainer's advantages"
            )
        known = np.isfinite(rollouts.advantage)
        if int(known.sum()) < LEAST:
            return unreadable(
                self.kind, f"{int(known.sum())} advantages", f"{LEAST} advantages", few=True
            )
        if not rollouts.advantage[known].any():
            return ()  # nothing to explain; zero-variance groups are told elsewhere
        alone = rollouts.groups.spread(rollouts.groups.sizes == 1)
        used = known & ~alone
        if int(used.sum()) < LEAST:
            return _of_singletons(run, rollouts, known)
        if not rollouts.advantage[used].any():
            return ()
        centred = np.asarray(GroupMean()(rollouts.reward, rollouts.groups))[used]
        logged = rollouts.advantage[used]
        if float(np.ptp(centred)) > 0 and float(np.ptp(logged)) > 0:
            along = float(np.corrcoef(centred, logged)[0, 1])
            if along < AGAINST:
                return (_wrong_way(run, along),)
        added = run.expected.get("advantage_epsilon")
        fitting = rules(rollouts, used)
        if isinstance(added, float) and not any(
            r.name == run.expected["advantage"] for r in fitting
        ):
            fitting += rules(rollouts, used, added)
        return _rule(run, fitting)


def _rule(run: TrainingRun, fitting: list[Rule]) -> tuple[Finding, ...]:
    wanted = run.expected.get("advantage")
    if wanted in OF_TOKENS and (run.rollouts is None or not _in_tokens(run.rollouts)):
        wanted = None  # its weights are lengths in tokens, which the files do not hold
    names = [rule.name for rule in fitting]
    fits = " or ".join(_in_words(rule) for rule in fitting[:2])
    if isinstance(wanted, str) and wanted in WORDS and wanted not in names:
        first = int(run.steps[0])
        return (
            Finding(
                "advantage_contradiction",
                "warning",
                f"Advantages are not as configured: {fits or 'no usual rule gives them'}.",
                Onset(None, first, first),
                (("configured", WORDS[wanted]), ("fits the rows", fits or "no usual rule")),
                {"rest": fitting[0].rest if fitting else None},
                causes=(
                    Cause(
                        "setting_unused",
                        "the setting does not reach the trainer, or another one overrules it",
                        "possible",
                        "the configuration that the trainer prints at its start",
                    ),
                    Cause(
                        "other_reward",
                        "the trainer's reward is another than the one logged (KL, weights)",
                        "possible",
                        "log the reward that the advantages are made of",
                    ),
                ),
                remedies=(Remedy("print_settings", "compare with what the trainer prints"),),
                cost=f"all {counted(len(run.steps), 'step')}",
            ),
        )
    if not fitting:
        return ()
    return (
        Finding(
            "advantage_rule",
            "note",
            f"The advantages are: {_in_words(fitting[0])}.",
            None,
            (("left unexplained", f"{per_cent(fitting[0].rest)} of their size"),),
            {"rest": fitting[0].rest, "scale": fitting[0].scale},
        ),
    )


def _in_tokens(rollouts: RolloutTable) -> bool:
    return rollouts.length is not None and rollouts.length_unit == "tokens"


def _in_words(rule: Rule) -> str:
    return WORDS[rule.name] + ("" if rule.scale == 1 else f", times {number(rule.scale)}")


def _wrong_way(run: TrainingRun, along: float) -> Finding:
    first = int(run.steps[0])
    return Finding(
        "advantage_sign",
        "critical",
        "Advantages point the wrong way: better answers are made less likely.",
        Onset(None, first, first),
        (("correlation with the reward", f"{along:.2f} within prompts"),),
        {"correlation": along},
        causes=(
            Cause(
                "sign",
                "the reward is negated or is a cost",
                "possible",
                "the advantage of one answer known to be right",
            ),
            Cause(
                "order",
                "advantages and rollouts are in different orders",
                "possible",
                "the advantage of one answer known to be right",
            ),
        ),
        remedies=(
            Remedy("check_sign", "follow one right answer from its reward to its advantage"),
        ),
        cost=f"all {counted(len(run.steps), 'step')}",
        series=("reward",),
    )


def _of_singletons(
    run: TrainingRun, rollouts: RolloutTable, known: np.ndarray
) -> tuple[Finding, ...] | Unknown:
    """Groups of one rollout: only a baseline of the whole step explains advantages there."""
    fitting = [r for r in rules(rollouts, known) if r.name in ("whitened", "raw")]
    if fitting:
        return _rule(run, fitting)
    assert rollouts.advantage is not None  # noqa: S101 - the caller looked
    count = int((rollouts.advantage[known] != 0).sum())
    first = int(rollouts.steps[0])
    return (
        Finding(
            "advantage_contradiction",
            "warning",
            f"{thousands(count)} rollouts that are alone in their group have an advantage.",
            Onset(None, first, first),
            (("advantages not 0", thousands(count)), ("groups of one rollout", "all")),
            {"count": float(count)},
            causes=(
                Cause(
                    "ids_by_rollout",
                    "the file's ids are not the trainer's groups",
                    "likely",
                    "how often one prompt stands in a step",
                ),
                Cause(
                    "critic",
                    "a critic gives the baseline",
                    "possible",
                    "the advantage estimator of the configuration",
                ),
            ),
            remedies=(Remedy("ids", "write the prompt's own id with every rollout"),),
            cost="no group statistic of these files is readable",
        ),
    )
