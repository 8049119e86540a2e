"""The verdict first: a sentence, why, and what to turn."""

from typing import Any

from tod.show.figures.ribbon import ribbon
from tod.show.page.run_data import RunView
from tod.show.words import sentence, spoken, verdict_words


def judged(run: RunView, named: bool = False) -> dict[str, Any]:
    """What the verdict's section shows: of the last judged step, or of a diagnosis as a whole."""
    step, regime = run.judged if run.judged is not None else (None, {})
    name, count = regime.get("verdict"), len(run.steps)
    span = None if step is None else f"at {'step' if run.search is None else 'batch'} {step}"
    if step is None and count > 1 and run.diagnosis is not None:
        span = f"over {count} steps"
    alone = run.diagnosis is not None and count < 2  # the badge says it
    return {
        "run": run.name,
        "words": verdict_words(name),
        "span": span,
        "lead": sentence(name, searched=run.search is not None),
        "ribbon": None if alone else ribbon(run, 60) if named else ribbon(run),
        "changes": (run.diagnosis or {}).get("changes", ()),
        "whole": _whole(run),
        "reasons": [item for item in _listed(regime, "reasons") if isinstance(item, dict)],
        "missing": _listed(regime, "missing"),
    }


def _listed(regime: dict[str, Any], key: str) -> list[Any]:
    found = regime.get(key)
    return found if isinstance(found, list) else []


def _whole(run: RunView) -> str | None:
    """Which steps the verdict of a run is read from, and what its legs say."""
    if run.diagnosis is not None or run.judged is None:
        return None
    step, regime = run.judged
    record = next((item for item in run.steps if item.get("step") == step), {})
    pool, legs = record.get("pool") or {}, spoken(regime)
    if not pool or not legs:
        return None
    name = "batches" if run.search is not None else "steps"
    return f"Read from {name} {pool['first']} to {pool['last']} as one pool: {legs}."
