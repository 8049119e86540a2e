"""The compute ledger: what the run cost, by phase."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from tod.base.text import percent
from tod.show.figures.curves import known_numbers
from tod.show.figures.plot import canvas
from tod.show.figures.svg import Html, tag
from tod.show.page.run_data import RunView

PHASES = (("sampling", "sample"), ("scoring", "score"), ("training", "train"))


def ledger(runs: Sequence[RunView]) -> list[dict[str, Any]]:
    """Tokens and FLOPs of each phase over every run, with their shares; no evaluation."""
    return [cost for run in runs if (cost := _cost(run)) is not None]


def total_flops(run: RunView) -> float | None:
    """All FLOPs on record; None when a step does not know its own."""
    known = known_numbers(run, "ledger", "flops")
    trained = [record for record in run.steps if record.get("ledger")]
    return sum(known) if known and len(known) == len(trained) else None


def _cost(run: RunView) -> dict[str, Any] | None:
    phases: list[dict[str, Any]] = []
    for label, key in PHASES:
        tokens = known_numbers(run, "ledger", f"{key}_tokens")
        flops = known_numbers(run, "ledger", f"{key}_flops")
        if tokens:
            spent = sum(flops) if flops else None
            phases.append({"label": label, "tokens": sum(tokens), "flops": spent})
    if not phases:
        return None
    basis = "tokens" if any(phase["flops"] is None for phase in phases) else "flops"
    whole = sum(phase[basis] for phase in phases) or 1.0
    for phase in phases:
        phase["share"] = phase[basis] / whole
    return {
        "name": run.name,
        "basis": {"flops": "FLOPs"}.get(basis, basis),
        "bar": _bar({phase["label"]: phase["share"] for phase in phases}),
        "phases": phases,
        "tokens": sum(phase["tokens"] for phase in phases),
        "flops": total_flops(run),
    }


def _bar(shares: dict[str, float]) -> Html:
    """One bar of all phases; ``shares`` are by phase, and add up to 1."""
    ends = [0.0, *accumulate(shares.values())]
    drawn = [
        tag("rect", class_=f"fill s{i}", x=1000 * a, y=0.0, width=1000 * (b - a), height=12.0)
        for i, (a, b) in enumerate(pairwise(ends))
    ]
    said = ", ".join(f"{name} {percent(share)}" for name, share in shares.items())
    shape = {"preserveAspectRatio": "none", "class_": "stack-bar"}
    return canvas("Share of compute by phase", said, drawn, 1000.0, 12.0, **shape)
