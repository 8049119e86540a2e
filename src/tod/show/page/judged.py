"""The verdict first: a sentence, what was read, why, and what to turn."""

from collections.abc import Iterator
from typing import Any

from tod.show.figures.ribbon import ribbon
from tod.show.page.run_data import RunView
from tod.show.regime_words import before, by_eta, certificate, settled
from tod.show.words import sentence, verdict_words


def judged(run: RunView, named: bool = False) -> dict[str, Any]:
    """What the verdict's section shows: of the pool of a run or of rollouts."""
    regime = run.judged["regime"] or {}
    alone = run.diagnosis is not None and len(run.steps) < 2  # the badge says it
    return {
        "run": run.name,
        "words": verdict_words(regime.get("verdict")),
        "span": _span(run),
        "lead": sentence(regime.get("verdict"), searched=run.search is not None),
        "ribbon": None if alone else ribbon(run, 60) if named else ribbon(run),
        "changes": (run.diagnosis or {}).get("changes", ()),
        "said": list(_said(run)) if regime else [],
        "reasons": [item for item in _listed(regime, "reasons") if isinstance(item, dict)],
        "missing": _listed(regime, "missing"),
    }


def _listed(regime: dict[str, Any], key: str) -> list[Any]:
    found = regime.get(key)
    return found if isinstance(found, list) else []


def _span(run: RunView) -> str | None:
    """Which steps the verdict is of."""
    pool, name = run.judged["pool"], "step" if run.search is None else "batch"
    if pool is None:
        return f"over {len(run.steps)} {name}s" if len(run.steps) > 1 else None
    first, last, late = pool["first"], pool["last"], pool["policy_first"]
    if first == last:
        return f"at {name} {last}" if len(run.steps) > 1 else None
    plural = "steps" if name == "step" else "batches"
    policy = f", the policy's legs from {late}" if late != first else ""
    return f"{plural} {first} to {last} as one pool{policy}"


def _said(run: RunView) -> Iterator[str]:
    """What the reasons do not tell: guarantee, words by η, legs in order, and what was before."""
    regime = run.judged["regime"]
    lines = (
        certificate(regime),
        by_eta(regime["eta_intervals"], "η"),
        settled(regime),
        before(run.judged),
    )
    yield from (f"{line[:1].upper()}{line[1:].rstrip('.')}." for line in lines if line)
