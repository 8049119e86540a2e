"""The legs of overlap as bars: which of target, policy and proposal are apart."""

from typing import Any

from tod.base.text import fixed
from tod.regimes import Thresholds
from tod.show.figures.plot import RIGHT, WIDTH, chart, tick
from tod.show.figures.scales import Scale
from tod.show.figures.svg import Html, join, tag
from tod.show.page.run_data import at

LEGS = (
    ("target_proposal", "target / proposal", "what the samples say of q*"),
    ("policy_proposal", "policy / proposal", "how stale the samples are"),
    ("target_policy", "target / policy", "how far the policy has to go"),
)
TOP, ROW, BAR = 4.0, 53.0, 14.0
X = Scale((0.0, 1.0), (0.0, WIDTH - RIGHT - 34.0))


def legs(overlap: dict[str, Any], bounds: Thresholds, single: bool) -> Html:
    """Median ESS_rel of every leg, its 10 % quantile as a tick; what is unknown is said to be.

    Args:
        overlap: The block of the diagnosis schema.
        bounds: Of the verdict.
        single: Whether the bands of one batch apply; a run is judged on its step-means instead.
    """
    limits = [(bounds.overlap_stable, "stable"), (bounds.overlap_dominated, "dominated")]
    drawn = [
        _axis(),
        [_leg(overlap, i, *leg) for i, leg in enumerate(LEGS)],
        [_limit(*limit) for limit in limits] if single else None,
    ]
    said = "; ".join(f"{name}: {_said(overlap, key)}" for key, name, _ in LEGS)
    size = overlap.get("k")
    note = "Bars: ESS_rel of the leg for the median prompt; ticks: in the worst tenth. "
    note += f"At K = {size}. " if size else ""
    note += (
        f"Dotted: swap-stable above {limits[0][0]:g}, operator-dominated below {limits[1][0]:g}."
        if single
        else "Several steps are judged on step-means, with bands of their own."
    )
    return chart("Legs of overlap", said, drawn, note=note)


def _leg(overlap: dict[str, Any], row: int, key: str, name: str, about: str) -> Html:
    top = TOP + row * ROW
    value, low = at(overlap, key), at(overlap, "q10", key)
    label = [tag("tspan", name, class_="leg-name"), tag("tspan", f"  {about}", class_="leg-about")]
    bar = {"y": top + 21, "height": BAR, "rx": 3.0}
    parts = [
        tag("text", label, x=0.0, y=top + 13),
        tag("rect", class_="track", x=X(0), width=X(1) - X(0), **bar),
    ]
    if value is None:
        parts.append(tag("text", _said(overlap, key), class_="tick", x=X(0) + 8, y=top + 32))
        return tag("g", parts)
    parts.append(tag("rect", class_="fill s0", x=X(0), width=X(value) - X(0), **bar))
    if low is not None:
        ends = {"y1": top + 18, "y2": top + 24 + BAR}
        parts.append(tag("line", class_="leg-low", x1=X(low), x2=X(low), **ends))
    declared = key in (overlap.get("declared") or ())
    shown = fixed(value) + (" *" if declared else "")
    parts.append(tag("text", shown, class_="leg-value", x=X(1) + 8, y=top + 32))
    if declared:
        parts.append(tag("title", "by declaration, not measured"))
    return tag("g", parts)


def _said(overlap: dict[str, Any], key: str) -> str:
    if key in (overlap.get("not_applicable") or ()):
        return "does not apply here"
    value = at(overlap, key)
    if value is None:
        return "not known from these files"
    return fixed(value) + (" by declaration" if key in (overlap.get("declared") or ()) else "")


def _axis() -> Html:
    bottom = TOP + 3 * ROW
    return join(
        [
            tag("text", tick(v, fixed), class_="tick", x=X(v), y=bottom + 6, text_anchor="middle")
            for v in X.ticks(6)
        ]
    )


def _limit(value: float, style: str) -> Html:
    ends = {"x1": X(value), "x2": X(value)}
    rows = [TOP + row * ROW + 18 for row in range(len(LEGS))]
    lines = [tag("line", class_=f"limit {style}", **ends, y1=y, y2=y + BAR + 6) for y in rows]
    return join(lines)
