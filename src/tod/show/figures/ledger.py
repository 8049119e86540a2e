"""The compute ledger: what the run cost, by phase."""

from collections.abc import Sequence

from tod.base.text import large, percent
from tod.show.figures.curves import known_numbers
from tod.show.figures.svg import Html, tag
from tod.show.page.run_data import RunView

PHASES = (("sampling", "sample"), ("scoring", "score"), ("training", "train"))


def ledger(runs: Sequence[RunView]) -> Html | None:
    """Tokens and FLOPs of each phase over the whole run, with their shares; no evaluation."""
    blocks = [block for run in runs if (block := _run(run, len(runs) > 1)) is not None]
    return tag("div", blocks, class_="ledger") if blocks else None


def total_flops(run: RunView) -> float | None:
    """All FLOPs on record; None when a step does not know its own."""
    known = known_numbers(run, "ledger", "flops")
    trained = [record for record in run.steps if record.get("ledger")]
    return sum(known) if known and len(known) == len(trained) else None


def _run(run: RunView, named: bool) -> Html | None:
    rows = []
    for label, key in PHASES:
        tokens = known_numbers(run, "ledger", f"{key}_tokens")
        flops = known_numbers(run, "ledger", f"{key}_flops")
        if tokens:
            rows.append((label, sum(tokens), sum(flops) if flops else None))
    if not rows:
        return None
    by_flops = all(flops is not None for _, _, flops in rows)
    sizes = [(flops if by_flops else tokens) or 0.0 for _, tokens, flops in rows]
    whole = sum(sizes) or 1.0
    shares = [size / whole for size in sizes]
    basis = "FLOPs" if by_flops else "tokens"
    body = [
        tag(
            "tr",
            tag("th", tag("i", class_=f"swatch s{i}"), label, scope="row"),
            tag("td", large(tokens)),
            tag("td", large(flops)),
            tag("td", percent(share)),
        )
        for i, ((label, tokens, flops), share) in enumerate(zip(rows, shares, strict=True))
    ]
    head = tag(
        "tr", [tag("th", n, scope="col") for n in ("phase", "tokens", "FLOPs", f"share of {basis}")]
    )
    total = tag(
        "tr",
        tag("th", "whole run", scope="row"),
        tag("td", large(sum(tokens for _, tokens, _ in rows))),
        tag("td", large(total_flops(run))),
        tag("td", ""),
        class_="total",
    )
    table = tag("table", tag("thead", head), tag("tbody", body, total), class_="numbers")
    return tag("div", tag("h3", run.name) if named else None, _bar(shares), table)


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
