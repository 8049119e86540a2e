"""How stale a proposal may become: ESS_rel(π/μ) by its age."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from tod.base import Groups, to_numpy
from tod.candidates import Candidates
from tod.diagnostics import policy_proposal, quantile
from tod.diagnostics.population_ess import Interval
from tod.population import GradedLeg

FRESH = 0.99
"""ESS_rel(π/μ) from which a step counts as just refreshed, where no lag is recorded."""


def staleness(candidates: Candidates, steps: Any, lag: Any, goal: float) -> dict[str, Any] | None:
    """ESS_rel(π/μ) by age of the proposal, and the age up to which it stays at the goal.

    The age is the recorded lag of the sampler, or else the number of steps since the leg last read
    ``FRESH``. Beyond the ages seen, a policy that drifts steadily has ln ESS_rel = −c·age²; c is
    fitted through the origin to medians between 1/K and ``FRESH`` and used to extrapolate only.
    The medians are those of the population of prompts where every age has one that can be read,
    else those at the drawn K (``by``); ``at_k`` is the age by the latter.
    None where log μ or π is not recorded.
    """
    policy = candidates.log_anchor.get("policy", candidates.log_anchor.get("old"))
    if policy is None or candidates.log_mu is None:
        return None
    contexts = candidates.contexts
    leg = to_numpy(policy_proposal(policy - candidates.log_mu, contexts))
    usable = ~np.isnan(leg) & (contexts.sizes > 1)
    if not usable.any():
        return None
    trend = _medians(np.asarray(steps)[usable], leg[usable])
    ages = _ages(np.asarray(steps), trend) if lag is None else _max_lag(contexts, lag)
    block: dict[str, Any] = {
        "goal": goal,
        "trend": [{"step": step, "policy_proposal": value} for step, value in trend],
        "age_from": None if ages is None else ("lag" if lag is not None else "leg"),
        "by_age": [],
        "largest_age": None,
        "extrapolated": False,
        "by": None,
        "at_k": None,
    }
    if ages is None:
        return block
    seen = _medians(ages[usable], leg[usable])
    read = _populations(contexts, policy - candidates.log_mu, np.where(usable, ages, -1))
    block["by_age"] = [
        {"age": age, "policy_proposal": value, "population": _plain(read.get(age))}
        for age, value in seen
    ]
    at_k = _largest(seen, goal)
    points = [(age, _point(read.get(age), value)) for age, value in seen]
    whole = all(item is not None for item in read.values()) and len(read) == len(seen)
    block["by"], block["at_k"] = "population" if whole else "sample", at_k[0]
    block["largest_age"], block["extrapolated"] = _largest(points, goal) if whole else at_k
    return block


def _largest(seen: list[tuple[int, float]], goal: float) -> tuple[int, bool]:
    """The age up to which the leg stays at the goal, and whether it lies beyond the ages seen."""
    failing = [age for age, value in seen if value < goal]
    if failing:
        good = [age for age, value in seen if value >= goal and age < failing[0]]
        return (good[-1] if good else 0), False
    constant, last = _curvature(seen), seen[-1][0]
    if constant is None:
        return last, False
    reach = int(math.sqrt(-math.log(goal) / constant))
    return max(reach, last), reach > last


def _populations(contexts: Groups, log_r: Any, ages: Any) -> dict[int, Interval | None]:
    """The median over the population by age; None where it is not readable."""
    found = {}
    for age in np.unique(ages[ages >= 0]).tolist():
        some, rows = contexts.take(np.flatnonzero(ages == age))
        leg = GradedLeg.of(to_numpy(log_r)[rows], some, constant="one")
        found[int(age)] = leg.ess().median
    return found


def _plain(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else interval.to_dict()


def _point(interval: Interval | None, at_k: float) -> float:
    """The population's point; where a heavy tail leaves none, what the sample and its end allow."""
    if interval is None:
        return at_k
    if interval.value is not None:
        return interval.value
    return at_k if interval.high is None else min(at_k, interval.high)


def _medians(keys: Any, values: Any) -> list[tuple[int, float]]:
    return [(int(key), quantile(values[keys == key], 0.5)) for key in np.unique(keys)]


def _ages(steps: Any, trend: list[tuple[int, float]]) -> Any:
    """Steps since the leg last read fresh, per context; None where that shows no age.

    It does where a refresh was seen, the leg fresh again after it was not, or where the leg falls
    from the start on. A leg that is always fresh, never fresh, or fresh for long and then never
    again says nothing of when the proposal was refreshed.
    """
    fresh = [value >= FRESH for _, value in trend]
    returned = any(now and not before for before, now in pairwise(fresh))
    falls = fresh[0] and len(fresh) > 2 and not any(fresh[2:])
    if all(fresh) or not (returned or falls):
        return None
    known = [step for (step, _), is_fresh in zip(trend, fresh, strict=True) if is_fresh]
    age = {step: step - max(f for f in known if f <= step) for step, _ in trend if step >= known[0]}
    return np.array([age.get(int(step), -1) for step in steps])


def _max_lag(contexts: Groups, lag: Any) -> Any:
    groups: Any = contexts
    return groups.max(np.asarray(lag, dtype=np.float64)).astype(np.int64)


def _curvature(seen: list[tuple[int, float]]) -> float | None:
    """The c of ln leg = −c·age² by least squares; None without an age at which the leg moved."""
    points = [(age**2, -math.log(value)) for age, value in seen if age > 0 and 0 < value < FRESH]
    if not points:
        return None
    return sum(x * y for x, y in points) / sum(x * x for x, _ in points)
