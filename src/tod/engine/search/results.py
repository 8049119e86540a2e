"""``search.json`` and ``answers.jsonl``: what the rule gained, from the run's own tables.

They are `tod.rerank` on what is on disk, so a resumed search ends with the same ones.
"""

import math
from pathlib import Path
from typing import Any

from tod.engine.settings import RunSettings
from tod.formats import read
from tod.operators import SelectionRule
from tod.reranking.curve import sizes
from tod.reranking.rerank import Reranked, rerank
from tod.runs import RunDirectory

SCHEMA = "tod.search/1"
ANSWERS = "answers.jsonl"


def reranked(settings: RunSettings, directory: RunDirectory) -> Reranked:
    """The run's own rule on the run's own candidates."""
    search, rule = settings.searching, settings.operator.action
    assert isinstance(rule, SelectionRule)  # noqa: S101 - checked at the start
    reading = read(directory.path, unanswered=True)
    return rerank(
        reading,
        rule,
        seed=search.seed,
        answer=search.answer,
        subsets=search.subsets,
        target=settings.target,
    )


def summarise(settings: RunSettings, found: Reranked) -> dict[str, Any]:
    """The summary of a finished search."""
    told = found.of_rule(found.ranked[0])
    kept = ("k", "accepted", "method")
    names = ("utility", "pass_rate", "coverage")
    ends = ("", "_se", "_ci95")
    columns = [*kept, *(f"{name}{end}" for name in names for end in ends)]
    wanted = sizes(found.scored.k)
    points = [point for point in told["curve"] if point["k"] in wanted]
    return {
        "schema": SCHEMA,
        "name": settings.name,
        "rule": found.ranked[0].rule.kind,
        "k": found.scored.k,
        "contexts": len(found.scored.contexts),
        "split": settings.searching.split,
        "utility": found.scored.name,
        **{key: _without_gold(told[key]) for key in ("candidates", "selected", "gain")},
        **({"bound": told["bound"]} if "bound" in told else {}),
        "curve": [{key: point[key] for key in columns} for point in points],
    }


def write_answers(found: Reranked, directory: RunDirectory) -> Path:
    """``answers.jsonl``, a line a prompt."""
    return found.write(directory.path / ANSWERS)


def bound_note(found: dict[str, Any]) -> str | None:
    """What to say of rejection's bound: that draws are not of q*, or that nothing is accepted."""
    bound = found.get("bound")
    if bound is None:
        return None
    log_bound, top = bound["log_bound"], bound["largest_log_w"]
    said = f"rejection: log_bound = {log_bound:g}"
    if bound["beyond"]:
        return (
            f"{said} is exceeded by {bound['beyond']:.1%} of the rollouts (log w up to {top:.3g})"
            f": what is put out follows mu*min(w, M) and not q*. Use at least {top:.3g}."
        )
    if found["selected"]["accepted"] == 0 and top is not None:
        return (
            f"{said} accepted nothing: log w reaches {top:.3g}, so that no rollout passes with "
            f"more than probability {math.exp(top - log_bound):.1e}. Lower it towards the largest "
            "log w there can be, eta*U_max when b = mu."
        )
    return None


def _without_gold(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if not key.startswith("gold")}
