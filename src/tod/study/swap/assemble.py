"""From the outcomes of arms to conditions: distances of all ends, utilities, what was read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import DataError, Groups
from tod.engine.distances import CommonPool
from tod.study.swap.arms import outcome_path, start_path
from tod.study.swap.condition import Condition
from tod.study.swap.outcomes import Outcome
from tod.study.swap.spec import ConditionSpec, SwapSpec

__all__ = ["compared", "conditions_of", "early", "readings", "token_table", "variation_table"]

EARLY = 0.1
"""Share of the steps whose figures are said to be early."""
LEGS = ("target_proposal", "policy_proposal", "target_policy")


def conditions_of(spec: SwapSpec, folder: Path, *, complete: bool = True) -> list[Condition]:
    """Every condition whose arms are there.

    Args:
        spec: The study.
        folder: Where it is written.
        complete: Leave out conditions that lack an arm; else take the seeds that all of its
            operators have, two at least.

    Raises:
        DataError: A file there is none of an arm's.
    """
    conditions: list[Condition] = []
    for task in spec.tasks:
        path = folder / f"common-{task}.npz"
        if not path.exists():
            continue
        pool = CommonPool.load(path)
        for setting in spec.conditions:
            if task in spec.tasks_of(setting):
                condition = _condition(spec, folder, task, setting, pool, complete)
                conditions += [] if condition is None else [condition]
    return conditions


def _condition(
    spec: SwapSpec,
    folder: Path,
    task: str,
    setting: ConditionSpec,
    pool: CommonPool,
    complete: bool,
) -> Condition | None:
    operators, seeds = tuple(spec.operators_of(setting, task)), spec.seeds_of(setting)
    arms = {
        (operator, seed): spec.arm(task, setting, operator, seed)
        for operator in operators
        for seed in seeds
    }
    there = [
        seed
        for seed in seeds
        if all(outcome_path(folder, arms[operator, seed]).exists() for operator in operators)
    ]
    if len(there) < (len(seeds) if complete else 2):
        return None
    ends = [
        [Outcome.load(outcome_path(folder, arms[operator, seed])) for seed in there]
        for operator in operators
    ]
    start = Outcome.load(start_path(folder, arms[operators[0], there[0]]))
    first = arms[operators[0], there[0]].recipe
    facts = {
        "role": setting.role,
        "contrast": ", ".join(name for name in spec.contrast if name in operators) or None,
        "refresh": _refresh(first),
        "rate": first["train"]["learning_rate"],
        "steps": first["train"]["steps"],
    }
    names = (setting.name, task)
    return compared(names, operators, tuple(there), ends, start, pool, facts)


def compared(
    names: tuple[str, str],
    operators: tuple[str, ...],
    seeds: tuple[int, ...],
    ends: list[list[Outcome]],
    start: Outcome,
    pool: CommonPool,
    facts: Mapping[str, float | str | None],
) -> Condition:
    """The condition of some ends.

    Args:
        names: Of the condition and of its task.
        operators: Names of the A operators.
        seeds: The S seeds.
        ends: Outcome of every operator at every seed.
        start: Where they started.
        pool: What all were asked about.
        facts: What was set.

    Raises:
        DataError: Arms were evaluated on other prompts than the start.
    """
    flat = [outcome for row in ends for outcome in row]
    shape = (len(operators), len(seeds))
    _check_prompts(start, flat)
    log_probs = np.stack([outcome.log_probs for outcome in (*flat, start)])
    table = variation_table(log_probs, pool.log_mu, pool.rollouts.contexts)
    tokens = token_table(np.stack([outcome.distributions for outcome in flat]))
    return Condition(
        name=names[0],
        cluster=names[1],
        operators=operators,
        seeds=seeds,
        distance=table[:-1, :-1].reshape(*shape, *shape),
        utility=np.stack([outcome.held_out[-1] for outcome in flat]).reshape(*shape, -1),
        start=start.held_out[0],
        travel=table[-1, :-1].reshape(shape),
        distances={"js": tokens.reshape(*shape, *shape)},
        diagnostics=_means([readings(outcome.series) for outcome in flat]),
        facts={"eta": _mean([outcome.series["eta"] for outcome in flat]), **facts},
    )


def _check_prompts(start: Outcome, outcomes: list[Outcome]) -> None:
    """Refuse arms that were evaluated on other prompts.

    Raises:
        DataError: There is one.
    """
    strange = [o.facts for o in outcomes if o.facts["prompts"] != start.facts["prompts"]]
    if strange:
        raise DataError(
            f"{strange[0]['operator']}, seed {strange[0]['seed']} of {strange[0]['condition']} was "
            "evaluated on other held-out prompts than the rest: nothing can be paired. Remove its "
            "outcome, and it runs again."
        )


def variation_table(
    log_probs: Float[np.ndarray, "n N"], log_mu: Float[np.ndarray, " N"], contexts: Groups
) -> Float[np.ndarray, "n n"]:
    """Total variation of every two policies, the mean over prompts, [n, n].

    As `tod.engine.distances.sequence_variation`, of all pairs at once.
    """
    ratio = np.exp(log_probs - log_mu)
    table = np.zeros((len(ratio), len(ratio)))
    for place, row in enumerate(ratio):
        apart = 0.5 * np.abs(ratio[place + 1 :] - row)
        by_prompt = np.add.reduceat(apart, contexts.offsets[:-1], axis=1) / contexts.sizes
        table[place, place + 1 :] = np.minimum(by_prompt, 1.0).mean(axis=1)
    both: Float[np.ndarray, "n n"] = table + table.T
    return both


def token_table(log_p: Float[np.ndarray, "n m V"]) -> Float[np.ndarray, "n n"]:
    """Jensen–Shannon divergence of next tokens of every two policies, mean over positions, nats.

    JS(p, q) = H(½(p + q)) − ½·H(p) − ½·H(q), entropies of all pairs at once.
    """
    p = np.exp(log_p)
    p /= p.sum(axis=-1, keepdims=True)
    own = _entropy(p).mean(axis=-1)
    table = np.zeros((len(p), len(p)))
    for place in range(len(p)):
        mixed = _entropy(0.5 * (p[place + 1 :] + p[place])).mean(axis=-1)
        table[place, place + 1 :] = mixed - 0.5 * (own[place + 1 :] + own[place])
    both: Float[np.ndarray, "n n"] = np.maximum(table + table.T, 0.0)
    return both


def _entropy(p: Float[np.ndarray, "... V"]) -> Any:
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)


def readings(series: Mapping[str, Float[np.ndarray, " T"]]) -> dict[str, float | None]:
    """What a diagnosis tells of a run: at its first step, early, and over all of it.

    ``NAME at the first step``, ``NAME early`` and ``NAME`` for every figure, and of the legs
    ``ess_two`` = min(mean ESS_rel(q*/μ), mean ESS_rel(π/μ)) and ``ess_tri``, the smallest of all.
    A leg that is not known leaves both unknown; one that a run declares (μ is the policy) is 1 in
    its records.
    """
    known = {name: series[name] for name in series if name not in ("flops", "eta", "total")}
    if "informative" in series:
        known["informative"] = series["informative"] / series["total"]
    steps = len(next(iter(series.values())))
    spans = {" at the first step": slice(0, 1), " early": early(steps), "": slice(None)}
    told: dict[str, float | None] = {}
    for suffix, span in spans.items():
        of_span = {name: _mean([values[span]]) for name, values in known.items()}
        told |= {name + suffix: value for name, value in of_span.items()}
        target = of_span.get("ess_mean")
        policy = of_span.get("policy_proposal")
        two = None if target is None or policy is None else min(target, policy)
        told[f"ess_two{suffix}"] = two
        legs = [leg for leg in (of_span.get(name) for name in LEGS) if leg is not None]
        told[f"ess_tri{suffix}"] = min(legs) if len(legs) == len(LEGS) else None
    return told


def early(steps: int) -> slice:
    """The first tenth of the steps, one at least."""
    return slice(0, max(1, round(EARLY * steps)))


def _means(readings: list[dict[str, float | None]]) -> dict[str, float | None]:
    """The mean over arms; None where no arm tells."""
    return {name: _mean([_number(item[name]) for item in readings]) for name in readings[0]}


def _number(value: float | None) -> Any:
    return np.array([np.nan if value is None else value])


def _mean(values: list[Any]) -> float | None:
    """The mean of what is known; None where nothing is."""
    known = np.concatenate([np.atleast_1d(value) for value in values])
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else None


def _refresh(recipe: Mapping[str, Any]) -> float | None:
    refresh = recipe["operator"]["proposal"].get("refresh")
    return float(refresh) if isinstance(refresh, int) else None
