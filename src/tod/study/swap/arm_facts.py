"""What is known of the arms of a study on language models: what its checks read."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tod.engine.settings import RunSettings
from tod.operators import due
from tod.procedure import Procedure
from tod.study.audit import Audit, audit
from tod.study.swap.arms import outcome_path, repeats_of
from tod.study.swap.checks import ArmFacts, Flag, check_arms, check_equal
from tod.study.swap.condition import Condition
from tod.study.swap.controls import role_of
from tod.study.swap.outcomes import Outcome
from tod.study.swap.spec import Arm, SwapSpec, digest

__all__ = ["arm_facts", "check_study", "shares_target"]

TRAINED = ("task", "model")
"""What of a recipe decides the training prompts, with their seed and their number a step."""


def check_study(spec: SwapSpec, folder: Path, conditions: list[Condition]) -> list[Flag]:
    """Everything that does not hold of a study: of its arms, and of operators equal by algebra.

    Args:
        spec: The study.
        folder: Where it is written.
        conditions: What was put together of its outcomes.
    """
    equal = [c for c in conditions if role_of(c) == "equal"]
    flags = check_arms(arm_facts(spec, folder, conditions))
    return flags + [flag for c in equal for flag in check_equal(c, c.operators)]


def arm_facts(spec: SwapSpec, folder: Path, conditions: list[Condition]) -> list[ArmFacts]:
    """The facts of every arm of the compared conditions; controls and contrasts are left out.

    The target of an operator is audited once, on a finite world, where it is first met.

    Args:
        spec: The study.
        folder: Where it is written.
        conditions: What was put together of its outcomes.
    """
    compared = {(c.cluster, c.name): c for c in conditions}
    audited: dict[str, tuple[bool | None, str]] = {}
    return [_facts(arm, folder, condition, audited) for arm, condition in _compared(spec, compared)]


def _compared(
    spec: SwapSpec, compared: Mapping[tuple[str, str], Condition]
) -> Iterator[tuple[Arm, Condition]]:
    roles = {setting.name: setting.role for setting in spec.conditions}
    for arm in spec.arms():
        condition = compared.get((arm.task, arm.condition))
        if condition is None or roles[arm.condition] != "study" or arm.operator in spec.contrast:
            continue
        if arm.seed in condition.seeds:
            yield arm, condition


def _facts(
    arm: Arm, folder: Path, condition: Condition, audited: dict[str, tuple[bool | None, str]]
) -> ArmFacts:
    recipe, outcome = arm.recipe, Outcome.load(outcome_path(folder, arm))
    again = outcome_path(repeats_of(folder), arm)
    proposal, train = recipe["operator"]["proposal"], recipe["train"]
    if arm.operator not in audited:
        audited[arm.operator] = shares_target(RunSettings.parse(dict(recipe)).procedure)
    shares, told = audited[arm.operator]
    place = condition.operators.index(arm.operator), condition.seeds.index(arm.seed)
    refresh = proposal.get("refresh")
    seeds = [train["prompt_seed"], train["seed"]]
    order = next(seed for seed in seeds if seed is not None)
    region = recipe["operator"]["action"].get("trust_region") or {}
    active = outcome.series["activation"]
    return ArmFacts(
        cluster=arm.task,
        condition=arm.condition,
        operator=arm.operator,
        seed=arm.seed,
        travel=None if condition.travel is None else float(condition.travel[place]),
        prompts=digest([order, proposal["prompts"], train["steps"], *(recipe[x] for x in TRAINED)]),
        evaluation=digest([outcome.facts["prompts"], recipe["evaluate"]]),
        end=outcome.end,
        repeated=Outcome.load(again).end if again.exists() else None,
        shares_target=shares,
        audit=told or None,
        rollouts=proposal["prompts"] * proposal["size"] * train["steps"],
        updates=train["steps"] * train["updates_per_batch"],
        skipped=outcome.facts["skipped"],
        flops=outcome.facts["flops"],
        stale=isinstance(refresh, int) and refresh > 1,
        staleness=_staleness(refresh, train["steps"]),
        gated=isinstance(refresh, int) and refresh > 1 and region.get("kind") == "clip",
        activation=float(np.nanmean(active)) if np.isfinite(active).any() else None,
    )


def shares_target(procedure: Procedure) -> tuple[bool | None, str]:
    """Whether an operator's fixed point on its own samples is the target, and what it is if not.

    None where the audit cannot tell: it did not converge, or lies between the two bounds.
    """
    found: Any = audit(procedure)
    if not isinstance(found, Audit):
        return None, ""
    if found.on_policy.reached == "target":
        return True, ""
    told = f"its fixed point is {found.on_policy.tv:.2f} from the target in total variation"
    return (False, told) if found.measured == "no" else (None, told)


def _staleness(refresh: Any, steps: int) -> float | None:
    """Mean steps between the policy and the one that drew the candidates, by the schedule."""
    if not isinstance(refresh, int):
        return None
    behind, total = 0, 0
    for step in range(1, steps + 1):
        behind = 0 if due(refresh, step) else behind + 1
        total += behind
    return total / steps
