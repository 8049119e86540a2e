"""The largest sharpness of a plan or a diagnosis: of the population, and at the K that was drawn.

The population's is what a target keeps of all prompts like these, at any number of rollouts. With
K rollouts a prompt the same rows read too high an ESS_rel (nothing below 1/K can be seen), so that
the largest η "at your K" promises about twice what holds.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tod.base import Unknown
from tod.base.unknown import UnknownKind
from tod.population import FeasibleEta
from tod.regimes import Largest

__all__ = ["feasible_block", "unknown_in", "words_of_limit"]

Ends = tuple[float | None, float | None] | None


def feasible_block(
    population: FeasibleEta | None, sample: Largest, ci90: Ends = None
) -> dict[str, Any]:
    """The keys that a plan and a diagnosis share.

    ``eta_max`` and ``attained`` are the population's point where one can be read, else those at
    the drawn K, ``method`` then ``sample``. ∞ is None: ``safe_attained`` tells it from unknown.

    Args:
        population: What `feasible_eta` reads; None where nothing was counted.
        sample: The largest at the drawn K.
        ci90: Its interval, by order statistics of the prompts.
    """
    at_k: dict[str, Any] = {"eta_max": sample.eta, "attained": sample.attained}
    if ci90 is not None:
        at_k["ci90"] = list(ci90)
    if population is None or population.eta is None:
        return at_k | {
            "safe": None,
            "safe_attained": None,
            "high": None,
            "method": None if sample.attained is None else "sample",
            "prompts": 0 if population is None else population.prompts,
            "at_k": at_k,
        }
    found: dict[str, Any] = {
        "eta_max": _finite(population.eta),
        "attained": population.attained,
        "safe": _finite(population.safe),
        "safe_attained": "unbounded" if population.safe == math.inf else "yes",
        "high": _finite(population.high),
        "method": population.method,
        "prompts": population.prompts,
        "at_k": at_k,
    }
    if population.guaranteed is not None:
        found["guaranteed"] = _finite(population.guaranteed)
    if population.limit is not None:
        found["limit"] = population.limit.to_dict()
    return found


def unknown_in(block: Mapping[str, Any], population: FeasibleEta | None) -> Iterator[Unknown]:
    """Why keys of a block other than ``eta_max`` are None."""
    why, needs = "no sharpness is too much for some of what the pilot allows", "nothing"
    kind: UnknownKind = "unbounded"
    if block["safe_attained"] is None:
        why = (population and population.unreadable) or "nothing of the population was counted"
        needs = (
            "a target anchored at mu, and 8 prompts or more with 4 rollouts whose rewards differ"
        )
        kind = "not_applicable"
    elif block["method"] == "range":
        why = "too few prompts whose rewards differ: only the declared range tells"
        needs, kind = "8 prompts or more with 4 rollouts whose rewards differ", "too_few"
    for key in ("safe", "safe_attained", "high", "method"):
        if block[key] is None:
            yield Unknown(f"feasible.{key}", why, needs, kind)
    for key, value in block["at_k"].items():
        if value is None:
            why = "with these rollouts held fixed there is none: see at_k.attained"
            yield Unknown(f"feasible.at_k.{key}", why, "nothing", "not_applicable")


def words_of_limit(block: Mapping[str, Any], goal: float) -> str | None:
    """What to say in the place of "unbounded" where the limit of ESS_rel is near the goal."""
    limit = block.get("limit")
    if limit is None or not limit["low"] < goal <= limit["high"]:
        return None
    ends = f"{limit['low']:.2f} to {limit['high']:.2f}"
    return f"for large eta ESS_rel is {limit['value']:.2f} ({ends})"


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value
