"""The numbers a reader looks for first: tiles for one run, a table for several."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tod.base import SpecError
from tod.base.text import DASH, fixed, large, percent, plainly
from tod.runs.facts import FACTS, lookup
from tod.show.figures.ledger import total_flops
from tod.show.page.run_data import RunView, at
from tod.show.search import measure
from tod.show.words import target


@dataclass(frozen=True)
class Tile:
    """A number with its name and what qualifies it."""

    name: str
    value: str
    beside: str = ""
    hint: str = ""


def facts(run: RunView) -> list[Tile]:
    """The headline figures of a run; a dash is unknown."""
    return [
        _held_out(run) if run.search is None else _selected(run.search),
        *figures(run.last, "" if run.search is None else "nothing is trained"),
        size(run),
        Tile("Compute", large(total_flops(run)), "FLOPs", "From the ledger, the whole run."),
    ]


def figures(record: Mapping[str, Any], lacking: str = "") -> list[Tile]:
    """A tile for every figure with a title; ``lacking`` stands by what is not known."""
    tiles = []
    for fact in FACTS:
        value = at(record, *fact.path.split("."))
        whole = None if fact.of is None else at(record, *fact.of.split("."))
        if not fact.title:
            continue
        if value is not None and whole:
            tiles.append(Tile(fact.title, percent(value / whole), _parts(record), fact.hint))
            continue
        beside = lacking if value is None else fact.unit
        bounds = None if fact.ci is None else lookup(record, fact.ci)
        if bounds is not None and any(bound is not None for bound in bounds):
            beside = f"90 % interval {' to '.join(fact.show(bound) for bound in bounds)}"
        tiles.append(Tile(fact.title, fact.show(value), beside, fact.hint))
    return tiles


def compared(runs: Sequence[RunView]) -> list[tuple[Tile, ...]]:
    """The headline figures of several runs, a row each, without those that no run knows."""
    columns = ([_target(run), *facts(run), *_whole(run)] for run in runs)
    return [row for row in zip(*columns, strict=True) if any(tile.value != DASH for tile in row)]


def unequal_k(runs: Sequence[RunView]) -> bool:
    """Whether K differs: ESS_rel is then not comparable, bounded below by 1/K and biased upward."""
    sizes = {at(run.last, "contexts", "candidates_per_context", "median") for run in runs}
    return len(sizes) > 1


def _target(run: RunView) -> Tile:
    """What rollouts were diagnosed for, or a run's recipe aims at; a dash is unknown."""
    known = _declared(run) if run.diagnosis is None else run.diagnosis["target"]
    return Tile("Target", DASH) if known is None else Tile("Target", target(known), known["source"])


def _declared(run: RunView) -> dict[str, Any] | None:
    """The target of a run's recipe; None where it is none that this version knows."""
    from tod.diagnosis.target import SourcedTarget, parse_target

    try:
        return SourcedTarget(parse_target(run.recipe["target"]), "declared").to_dict()
    except (KeyError, SpecError):
        return None


def _whole(run: RunView) -> list[Tile]:
    """What is known of rollouts beside the tiles of a run."""
    last = run.last
    possible = last.get("feasible") if run.diagnosis is not None else None
    safe, limit = (at(possible or {}, key) for key in ("safe", "eta_max"))
    beside = f"keeps ESS_rel at {possible['ess_rel_target']:g}" if possible else ""
    if safe is not None:
        return [Tile("Largest safe η", plainly(safe), beside)]
    return [Tile("Largest feasible η", DASH if limit is None else plainly(limit), beside)]


def _held_out(run: RunView) -> Tile:
    """pass@1 before → after, with the standard error of the difference."""
    found = [
        (at(r, "held_out", "pass_at_1"), at(r, "held_out", "standard_error")) for r in run.steps
    ]
    known = [(value, error) for value, error in found if value is not None]
    hint = "Same prompts before and after; the error assumes independence and is thus cautious."
    if not known:
        return Tile("Held-out pass@1", DASH)
    (first, error0), (last, error1) = known[0], known[-1]
    if len(known) == 1:
        return Tile("Held-out pass@1", percent(last, 1), _error(error1))
    both = None if error0 is None or error1 is None else math.hypot(error0, error1)
    gain = f"{100 * (last - first):+.1f}".replace("-", "−")
    beside = f"{gain} points" + ("" if both is None else f" ± {100 * both:.1f} s.e.")
    return Tile("Held-out pass@1", f"{100 * first:.1f} → {100 * last:.1f} %", beside, hint)


def _selected(search: dict[str, object]) -> Tile:
    """Candidates → what was selected, with the standard error of the paired gain.

    Where the rule refuses: the pass rate over all prompts, a refusal being a miss.
    """
    by = measure([search])
    before, after = (at(search, end, by) for end in ("candidates", "selected"))
    gain, error = at(search, "gain", by), at(search, "gain", f"{by}_se")
    beside = "" if gain is None else f"gain {fixed(gain)}"
    beside += "" if gain is None or error is None else f" ± {fixed(error)} s.e."
    accepted = at(search, "selected", "accepted")
    if accepted is not None and accepted < 1:
        among = f", {fixed(at(search, 'selected', 'utility'))} there" if by == "pass_rate" else ""
        beside += f"; put out for {percent(accepted)}{among}"
    hint = (
        "Pass rate over all prompts, those without a selection being misses"
        if by == "pass_rate"
        else "Mean reward of all rollouts, and of those selected"
    )
    return Tile(
        "Selected", f"{fixed(before)} → {fixed(after)}", beside, f"{hint}; clustered by prompt."
    )


def _error(error: float | None) -> str:
    return "" if error is None else f"± {100 * error:.1f} s.e."


def _parts(record: Mapping[str, Any]) -> str:
    """How many of the zero-variance groups pass and fail; how many there are where not known."""
    counts = [
        f"{count:g} {word}"
        for word, key in (("all pass", "all_pass"), ("all fail", "all_fail"))
        if (count := at(record, "contexts", key)) is not None
    ]
    blind, total = (at(record, "contexts", key) for key in ("zero_information", "total"))
    return ", ".join(counts) or f"{blind:g} of {total:g}"


def size(run: RunView) -> Tile:
    """How many rollouts a prompt has."""
    sizes = (run.last.get("contexts") or {}).get("candidates_per_context") or {}
    low, high = at(sizes, "min"), at(sizes, "max")
    total = at(run.last, "contexts", "total")
    a_step = " a step" if run.diagnosis is None else ""
    beside = "" if total is None else f"in {total:g} prompts{a_step}"
    if low is None or high is None:
        return Tile("Rollouts per prompt", DASH, beside)
    value = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return Tile("Rollouts per prompt", value, beside)
