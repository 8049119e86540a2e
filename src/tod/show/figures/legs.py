"""The legs of overlap as intervals: which of target, policy and proposal are apart."""

from collections.abc import Mapping
from typing import Any

from tod.base.text import fixed
from tod.regimes import Thresholds
from tod.show.figures.plot import RIGHT, WIDTH, chart, tick
from tod.show.figures.scales import Scale
from tod.show.figures.svg import Html, join, number, tag
from tod.show.page.run_data import at
from tod.show.regime_words import WORDS, stated

LEGS = (
    ("target_proposal", "target / proposal", "what the samples say of q*"),
    ("policy_proposal", "policy / proposal", "how stale the samples are"),
    ("target_policy", "target / policy", "how far the policy has to go"),
)
TOP, ROW, BAR = 4.0, 62.0, 14.0
X = Scale((0.0, 1.0), (0.0, WIDTH - RIGHT))
COLOURS = {"stable": "stable", "declared": "stable", "transition": "transition"}
COLOURS |= {"dominated": "dominated"}
LEAST = 6.0
"""Width of a bar that is no wider, in pixels."""
NOT_KNOWN = "not known from these files"


def legs(regime: Mapping[str, Any], overlap: Mapping[str, Any], bounds: Thresholds) -> Html:
    """The 90 % interval of every leg's population median, its word, and the sample as a tick.

    Args:
        regime: The block of the diagnosis schema, with its legs.
        overlap: The block of the sample's own medians, at the drawn K.
        bounds: Of the words.
    """
    told = {item["leg"]: item for item in regime.get("legs") or ()}
    drawn = [
        [_limits(i, bounds) for i in range(len(LEGS))],
        [_leg(told.get(key), overlap, i, key, *names) for i, (key, *names) in enumerate(LEGS)],
        _axis(),
    ]
    said = "; ".join(f"{name}: {_said(told.get(key), overlap, key)}" for key, name, _ in LEGS)
    size = overlap.get("k")
    at_k = f"K = {size}" if size else "the drawn K"
    note = (
        "Bars: 90 % interval of ESS_rel of the median prompt, over the population; faded where "
        f"nothing bounds it from below. Small ticks: the median of the rollouts at {at_k}, which "
        f"reads too high. Dotted: stable above {bounds.overlap_stable:g}, dominated below "
        f"{bounds.overlap_dominated:g}."
    )
    return chart("Legs of overlap", said, drawn, note=note, size=(WIDTH, TOP + 3 * ROW + 14))


def _leg(
    item: Mapping[str, Any] | None,
    overlap: Mapping[str, Any],
    row: int,
    key: str,
    name: str,
    about: str,
) -> Html:
    top = TOP + row * ROW
    word = None if item is None else item["word"]
    interval = ((item or {}).get("ess") or {}).get("median")
    label = [tag("tspan", name, class_="leg-name"), tag("tspan", f"  {about}", class_="leg-about")]
    colour = COLOURS.get(word or "", "unsaid")
    end = {"class_": f"leg-word {colour}", "x": X(1), "y": top + 13, "text_anchor": "end"}
    parts = [
        tag("text", label, x=0.0, y=top + 13),
        tag("text", _short(word), **end),
        tag("title", _said(item, overlap, key)),
    ]
    if interval is not None and (interval["low"] or interval["high"] is not None):
        parts.append(_bar(interval, colour, top + 22))
        said = stated(interval)
    else:
        said = _unread(item, overlap, key)
    value = at(overlap, key)
    if value is not None and key not in (overlap.get("declared") or ()):
        ends = {"x1": X(value), "x2": X(value), "y1": top + 19, "y2": top + 25 + BAR}
        parts.append(tag("line", class_="leg-sample", **ends))
    parts.append(tag("text", said, class_="leg-about", x=0.0, y=top + 22 + BAR + 14))
    return tag("g", parts)


def _bar(interval: Mapping[str, float | None], colour: str, top: float) -> Html:
    """From end to end with a mark at the point; open and fading where there is no lower end."""
    low, high, value = interval["low"], interval["high"], interval["value"]
    left, right = X(low or 0.0), X(1.0 if high is None else high)
    size = {"y": top, "height": BAR}
    if not low:
        steps = 6
        wide = (right - left) / steps
        return join(
            [
                tag(
                    "rect",
                    class_=f"interval {colour}",
                    x=left + i * wide,
                    width=wide,
                    opacity=(i + 1) / steps,
                    **size,
                )
                for i in range(steps)
            ]
        )
    wide = max(right - left, LEAST)
    left = min(left, X(1) - wide)
    parts = [tag("rect", class_=f"interval {colour}", x=left, width=wide, rx=2.0, **size)]
    if value is not None:
        ends = {"x1": X(value), "x2": X(value), "y1": top, "y2": top + BAR}
        parts.append(tag("line", class_="leg-point", **ends))
    return join(parts)


def _short(word: str | None) -> str:
    return {"no_interval": "no lower end", None: ""}.get(word) or WORDS.get(word or "", "")


def _unread(item: Mapping[str, Any] | None, overlap: Mapping[str, Any], key: str) -> str:
    if item is not None and item["word"] == "declared":
        return "by declaration, not measured"
    if key in (overlap.get("not_applicable") or ()):
        return "does not apply here"
    value = at(overlap, key)
    if item is not None and item["why"]:
        return str(item["why"])
    return NOT_KNOWN if value is None else f"{fixed(value)} at the drawn K alone"


def _said(item: Mapping[str, Any] | None, overlap: Mapping[str, Any], key: str) -> str:
    """The word with its interval, or why there is none."""
    interval = ((item or {}).get("ess") or {}).get("median")
    number_of = stated(interval) or _unread(item, overlap, key)
    word = _short(None if item is None else item["word"])
    return f"{word}, {number_of}" if word else number_of


def _axis() -> Html:
    bottom = TOP + 3 * ROW
    ends = {0.0: "start", 1.0: "end"}
    return join(
        [
            tag(
                "text",
                tick(v, fixed),
                class_="tick",
                x=X(v),
                y=bottom + 8,
                text_anchor=ends.get(round(v, 6), "middle"),
            )
            for v in X.ticks(6)
        ]
    )


def _limits(row: int, bounds: Thresholds) -> Html:
    """The track of a leg with the two bounds of the words."""
    top = TOP + row * ROW + 22
    track = tag("rect", class_="track", x=X(0), width=X(1) - X(0), y=top, height=BAR, rx=2.0)
    lines = [
        tag("path", class_=f"limit {style}", d=f"M{number(X(v))},{number(top - 3)}v{BAR + 6:g}")
        for v, style in ((bounds.overlap_stable, "stable"), (bounds.overlap_dominated, "dominated"))
    ]
    return join([track, *lines])
