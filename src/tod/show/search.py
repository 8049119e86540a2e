"""What a search gained, counting what it refused: the number that is shown, and its sentence."""

from collections.abc import Sequence
from typing import Any, Literal

from tod.base.text import DASH, percent
from tod.show.page.run_data import at

Measure = Literal["pass_rate", "utility"]
Search = dict[str, Any]


def refuses(search: Search) -> bool:
    """Whether the rule put nothing out for some prompt, at some K."""
    curve = search.get("curve")
    points = [p for p in curve if isinstance(p, dict)] if isinstance(curve, list) else []
    shares = [at(search, "selected", "accepted"), *(at(point, "accepted") for point in points)]
    return any(share is not None and share < 1 for share in shares)


def measure(searches: Sequence[Search]) -> Measure:
    """What selections are compared by: utility, and where a rule refuses the pass rate.

    Utility is a mean over the prompts for which anything was put out. A rule that refuses the hard
    ones gains by that alone; in the pass rate over all prompts a refusal is a miss. A utility that
    leaves [0, 1] has no pass rate, and is then shown beside the share it is a mean over.
    """
    known = all(at(search, "selected", "pass_rate") is not None for search in searches)
    return "pass_rate" if known and any(map(refuses, searches)) else "utility"


def gained(search: Search) -> str:
    """The search in a sentence: candidates, what was put out, and for how many prompts."""
    by, name, prompts = measure([search]), search["utility"], search["contexts"]
    shown = f"pass rate of {name}" if by == "pass_rate" else name
    before, after = (_with_error(search[end], by) for end in ("candidates", "selected"))
    head = f"{search['rule']} of K={search['k']}: {shown} {before} (mean of rollouts) -> {after}"
    accepted = search["selected"]["accepted"]
    if accepted >= 1:
        return f"{head} (selected), {prompts} prompts"
    share = f"{percent(accepted, 1)} of {prompts} prompts"
    if by == "utility":
        return f"{head} (selected for {share}; nothing for the others, and these are not counted)"
    among = _with_error(search["selected"], "utility")
    return f"{head} (a refusal is a miss); selected for {share}, {name} {among} among these"


def _with_error(found: Search, by: Measure) -> str:
    """Value ± s.e. with three digits."""
    value, error = found[by], found[f"{by}_se"]
    shown = DASH if value is None else f"{value:.3f}"
    return shown + ("" if error is None else f" ± {error:.3f}")
