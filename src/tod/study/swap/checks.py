"""What must hold of arms before anything is said of operators; what does not is told by name."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from tod.study.swap.condition import Condition

__all__ = ["ArmFacts", "Flag", "Kind", "check_arms", "check_equal"]

Kind = Literal[
    "other_target",
    "not_audited",
    "dead_arm",
    "other_prompts",
    "other_evaluation",
    "differs_on_repeat",
    "few_seeds",
    "missing_arm",
    "skipped_updates",
    "no_staleness",
    "idle_gate",
    "unequal_compute",
    "not_equal",
    "unknown",
]
COMPUTE = 0.02
"""Largest relative difference of an arm's FLOPs from the median of its condition and seed."""
STILL = 1e-6
"""Distance from the start up to which an arm has not moved."""


@dataclass(frozen=True)
class ArmFacts:
    """What is known of one arm: an operator in a condition at a seed. None is unknown.

    Attributes:
        cluster: World or task.
        condition: Name of the condition.
        operator: Name of the operator.
        seed: Its seed.
        travel: Distance of its final policy from the start.
        prompts: Hash of the training prompts in their order, at this seed.
        evaluation: Hash of the held-out prompts and of the uniforms they are answered with.
        end: Hash of what it ended with.
        repeated: The same hash of a second run; None where there was none.
        shares_target: Whether the audit found that the operator aims at the target.
        audit: What the audit said where it does not, such as ``z-scored advantage, KL apart``.
        rollouts: Rollouts that its updates were made of, each counted as often as it was used.
        updates: Updates that were to be made.
        skipped: Updates that were left out.
        flops: Floating-point operations of sampling and training by the ledger.
        stale: Whether the condition claims staleness.
        staleness: Mean steps between the policy and the one that drew the candidates.
        gated: Whether the operator has a gate that the condition claims acts.
        activation: Share of the gradient's weight that the gate changed.
    """

    cluster: str
    condition: str
    operator: str
    seed: int
    travel: float | None = None
    prompts: str | None = None
    evaluation: str | None = None
    end: str | None = None
    repeated: str | None = None
    shares_target: bool | None = None
    audit: str | None = None
    rollouts: int | None = None
    updates: int | None = None
    skipped: int | None = None
    flops: float | None = None
    stale: bool = False
    staleness: float | None = None
    gated: bool = False
    activation: float | None = None

    @property
    def name(self) -> str:
        """``cluster, condition, operator, seed s``."""
        return f"{self.cluster}, {self.condition}, {self.operator}, seed {self.seed}"


@dataclass(frozen=True)
class Flag:
    """One thing that does not hold.

    Attributes:
        kind: What it is.
        name: Of the arm, operator or condition.
        said: What does not hold, with its values, and what to do.
        stops: Whether nothing may be said of the operators while it stands.
    """

    kind: Kind
    name: str
    said: str
    stops: bool = True


def check_arms(arms: Sequence[ArmFacts]) -> list[Flag]:
    """Everything that does not hold of a study's arms, in the order of `Kind`.

    What is unknown does not stop a study, and is told: a check that could not be made has not been
    passed.

    Args:
        arms: All arms of the study, controls left out.
    """
    flags: list[Flag] = []
    for check in (_of_targets, _of_motion, _of_prompts, _of_repeats, _of_grid, _of_claims):
        flags.extend(check(arms))
    flags.extend(_of_compute(arms))
    flags.extend(_of_unknowns(arms))
    return flags


def check_equal(
    condition: Condition, operators: Iterable[str], *, tolerance: float = 1e-5
) -> list[Flag]:
    """Operators that are one by algebra must end at one policy at every seed.

    Such as ratio operators with one update a fresh batch, whose ratio is 1.

    Args:
        condition: Their distances.
        operators: Names of those that are equal by algebra.
        tolerance: Largest distance of two at one seed.
    """
    flags = []
    places = [condition.operators.index(name) for name in operators]
    for a, b in combinations(places, 2):
        apart = float(np.einsum("ss->s", condition.distance[a, :, b, :]).max())
        if not apart <= tolerance:
            names = f"{condition.operators[a]} and {condition.operators[b]}"
            said = (
                f"are one by algebra here, and end {apart:.3g} apart at one seed (at most "
                f"{tolerance:g}). One of the two is computed wrongly, or not where it was said."
            )
            where = f"{condition.cluster}, {condition.name}"
            flags.append(Flag("not_equal", f"{where}: {names}", said))
    return flags


def _of_targets(arms: Sequence[ArmFacts]) -> Iterator[Flag]:
    for (condition, operator), group in _grouped(arms, lambda a: (a.condition, a.operator)).items():
        wrong = next((arm for arm in group if arm.shares_target is False), None)
        if wrong is not None:
            why = f" ({wrong.audit})" if wrong.audit else ""
            said = f"aims at another target{why}: it is no operator of this one. Leave it out."
            yield Flag("other_target", f"{condition}, {operator}", said)
        elif any(arm.shares_target is None for arm in group):
            said = "was not audited: whether it aims at the target is not known. Run the audit."
            yield Flag("not_audited", f"{condition}, {operator}", said, stops=False)


def _of_motion(arms: Sequence[ArmFacts]) -> Iterator[Flag]:
    for arm in arms:
        if arm.travel is not None and arm.travel <= STILL:
            said = f"did not move (travel {arm.travel:g}): is its rate 0, or its credit always 0?"
            yield Flag("dead_arm", arm.name, said)
        if arm.skipped:
            of = "" if arm.updates is None else f" of {arm.updates}"
            said = f"left out {arm.skipped}{of} updates: it had less compute than the others."
            yield Flag("skipped_updates", arm.name, said)


def _of_prompts(arms: Sequence[ArmFacts]) -> Iterator[Flag]:
    for group in _grouped(arms, lambda a: (a.cluster, a.condition, a.seed)).values():
        for arm, usual in _odd(group, lambda a: a.prompts):
            said = f"trained on other prompts ({arm.prompts}, the others {usual})."
            yield Flag("other_prompts", arm.name, said)
    for group in _grouped(arms, lambda a: (a.cluster, a.condition)).values():
        for arm, usual in _odd(group, lambda a: a.evaluation):
            said = (
                f"was evaluated on other prompts or draws ({arm.evaluation}, the others {usual}): "
                "it is not paired with them."
            )
            yield Flag("other_evaluation", arm.name, said)


def _of_repeats(arms: Sequence[ArmFacts]) -> Iterator[Flag]:
    for arm in arms:
        if arm.repeated is not None and arm.repeated != arm.end:
            said = f"ended elsewhere when it was run again ({arm.end}, then {arm.repeated})."
            yield Flag("differs_on_repeat", arm.name, said)


def _of_grid(arms: Sequence[ArmFacts]) -> Iterator[Flag]:
    for (cluster, condition), group in _grouped(arms, lambda a: (a.cluster, a.condition)).items():
        seeds = sorted({arm.seed for arm in group})
        if len(seeds) < 2:
            said = f"{len(seeds)} seed: with fewer than two nothing tells seeds from operators."
            yield Flag("few_seeds", f"{cluster}, {condition}", said)
        there = {(arm.operator, arm.seed) for arm in group}
        for operator in dict.fromkeys(arm.operator for arm in group):
            missing = [seed for seed in seeds if (operator, seed) not in there]
            if missing:
                said = f"was not run at {_seeds(missing)}, and others were: it is not paired."
                yield Flag("missing_arm", f"{cluster}, {condition}, {operator}", said)


def _of_claims(arms: Sequence[ArmFacts]) -> Iterator[Flag]:
    for arm in arms:
        if arm.stale and arm.staleness is not None and arm.staleness <= 0:
            said = "had staleness 0 where the condition claims some: candidates were fresh."
            yield Flag("no_staleness", arm.name, said)
    gated = [arm for arm in arms if arm.gated]
    for (*where, operator), group in _grouped(
        gated, lambda a: (a.cluster, a.condition, a.operator)
    ).items():
        if all(arm.activation is not None and arm.activation <= 0 for arm in group):
            said = "has a gate that never acted where the condition claims it does."
            yield Flag("idle_gate", ", ".join([*where, operator]), said)


def _of_compute(arms: Sequence[ArmFacts]) -> Iterator[Flag]:
    """FLOPs far from the median; at equal rollouts and updates that is the length of answers.

    How long answers become is what training did, and no other budget: it is told and stops nothing.
    """
    known = [arm for arm in arms if arm.flops is not None]
    for group in _grouped(known, lambda a: (a.cluster, a.condition, a.seed)).values():
        middle = float(np.median([arm.flops for arm in group]))
        budgets = {(arm.rollouts, arm.updates, arm.skipped) for arm in group}
        equal = len(budgets) == 1 and None not in next(iter(budgets))
        for arm in group:
            ratio = (arm.flops or 0.0) / middle - 1 if middle else np.inf
            if abs(ratio) > COMPUTE:
                length = "shorter" if ratio < 0 else "longer"
                why = (
                    f"at equal rollouts and updates: its answers became {length}."
                    if equal
                    else f"(at most {COMPUTE:.0%}): compute is not matched."
                )
                said = f"took {ratio:+.1%} FLOPs of the median of its condition and seed {why}"
                yield Flag("unequal_compute", arm.name, said, stops=not equal)


def _of_unknowns(arms: Sequence[ArmFacts]) -> Iterator[Flag]:
    """One line for every fact that some arms lack."""
    facts: dict[str, Callable[[ArmFacts], bool]] = {
        "travel": lambda a: a.travel is None,
        "prompts": lambda a: a.prompts is None,
        "evaluation": lambda a: a.evaluation is None,
        "skipped updates": lambda a: a.skipped is None,
        "FLOPs": lambda a: a.flops is None,
        "staleness": lambda a: a.stale and a.staleness is None,
        "activation": lambda a: a.gated and a.activation is None,
    }
    for name, lacks in facts.items():
        count = sum(map(lacks, arms))
        if count:
            said = f"not known of {count} of {len(arms)} arms: nothing is checked of it there."
            yield Flag("unknown", name, said, stops=False)
    if arms and not any(arm.repeated is not None for arm in arms):
        yield Flag("unknown", "repeat", "no arm was run twice: run one again.", stops=False)


def _odd(
    group: Sequence[ArmFacts], key: Callable[[ArmFacts], str | None]
) -> Iterator[tuple[ArmFacts, str]]:
    """Arms whose hash is not the commonest of the group, with that one; the first of a tie."""
    hashes = [value for value in map(key, group) if value is not None]
    if hashes:
        usual = max(dict.fromkeys(hashes), key=hashes.count)
        yield from ((arm, usual) for arm in group if key(arm) not in (None, usual))


def _grouped(
    arms: Iterable[ArmFacts], key: Callable[[ArmFacts], tuple[Any, ...]]
) -> dict[tuple[Any, ...], list[ArmFacts]]:
    groups: dict[tuple[Any, ...], list[ArmFacts]] = defaultdict(list)
    for arm in arms:
        groups[key(arm)].append(arm)
    return dict(groups)


def _seeds(seeds: Sequence[int]) -> str:
    return ("seed " if len(seeds) == 1 else "seeds ") + ", ".join(map(str, seeds))
