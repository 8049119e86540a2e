"""The compute ledger: what the run cost, by phase."""

from collections.abc import Sequence
from typing import Any

from tod.show.figures.curves import known_numbers
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
        "bar": _bar([phase["share"] for phase in phases]),
        "phases": phases,
        "tokens": sum(phase["tokens"] for phase in phases),
        "flops": total_flops(run),
    }


def _bar(shares: list[float]) -> Html:
    left, parts = 0.0, []
    for i, share in enumerate(shares):
        parts.append(
            tag("rect", class_=f"fill s{i}", x=left, y=0.0, width=1000 * share, height=12.0)
        )
        left += 1000 * share
    return tag(
        "svg",
        tag("title", "Share of compute by phase"),
        parts,
        class_="stack-bar",
        view_box="0 0 1000 12",
        preserveAspectRatio="none",
        role="img",
        aria_label="Share of compute by phase",
    )
