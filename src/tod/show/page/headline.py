"""The numbers a reader looks for first: tiles for one run, a table for several."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tod.show.figures.ledger import total_flops
from tod.show.figures.scales import DASH, counted, fixed, percent, plainly
from tod.show.figures.svg import Html, tag
from tod.show.page.run_data import RunView, at
from tod.show.search import measure
from tod.show.wording import colour, short


@dataclass(frozen=True)
class Fact:
    """A number with its name and what qualifies it."""

    name: str
    value: str
    beside: str = ""
    hint: str = ""


def facts(run: RunView) -> list[Fact]:
    """The headline facts of a run; a dash is unknown."""
    last = run.last
    untrained = "" if run.search is None else "nothing is trained"
    return [
        _held_out(run) if run.search is None else _selected(run.search),
        Fact(
            "ESS_rel, median",
            fixed(at(last, "ess_rel", "median")),
            interval_of(last, "median_ci90"),
            "Share of the candidates that effectively count, typical informative context.",
        ),
        Fact(
            "ESS_rel, worst tenth",
            fixed(at(last, "ess_rel", "q10")),
            interval_of(last, "q10_ci90"),
            "A tenth of the informative contexts lies below.",
        ),
        blind_contexts(last),
        Fact(
            "Drift from ref",
            plainly(at(last, "drift", "ref")),
            "nats per sequence" if at(last, "drift", "ref") is not None else untrained,
            "KL(π‖ref), estimated on sequences.",
        ),
        Fact(
            "Activation",
            percent(at(last, "activation")),
            untrained,
            "Share of the gradient's weight that the trust region changes.",
        ),
        _size(run),
        Fact("Compute", counted(total_flops(run)), "FLOPs", "From the ledger, the whole run."),
    ]


def tiles(run: RunView) -> Html:
    """The headline facts of a run as tiles."""
    return tiled(facts(run))


def tiled(shown: Sequence[Fact]) -> Html:
    """Facts as tiles, four to a row."""
    return tag(
        "dl",
        [
            tag(
                "div",
                tag("dt", fact.name),
                tag("dd", fact.value, class_="value"),
                tag("dd", fact.beside or "\u00a0", class_="beside"),
                class_="tile",
                title=fact.hint or None,
            )
            for fact in shown
        ],
        class_="tiles",
    )


def comparison(runs: Sequence[RunView], style: Sequence[str]) -> Html:
    """The headline facts of several runs, a column each."""
    heads = [
        tag("th", tag("i", class_=f"swatch {style[i]}"), run.name, scope="col")
        for i, run in enumerate(runs)
    ]
    rows = [_verdict_row(runs), *_target_row(runs)]
    for row in zip(*([*facts(run), *_whole(run)] for run in runs), strict=True):
        if all(fact.value == DASH for fact in row):
            continue
        cells = [
            tag("td", fact.value, tag("small", fact.beside) if fact.beside else None)
            for fact in row
        ]
        rows.append(tag("tr", tag("th", row[0].name, scope="row"), cells))
    head = tag("tr", tag("th", "", scope="col"), heads)
    table = tag("table", tag("thead", head), tag("tbody", rows), class_="numbers compare")
    return tag("div", table, _equal_k(runs), class_="wide")


def _verdict_row(runs: Sequence[RunView]) -> Html:
    cells = []
    for run in runs:
        judged = run.judged
        name = judged[1].get("verdict") if judged else None
        cells.append(tag("td", tag("span", short(name), class_=f"badge {colour(name)}")))
    return tag("tr", tag("th", "Verdict", scope="row"), cells)


def _target_row(runs: Sequence[RunView]) -> list[Html]:
    """What diagnoses were made for; nothing where no rollouts were diagnosed."""
    from tod.show.words import target

    if all(run.diagnosis is None for run in runs):
        return []
    cells = []
    for run in runs:
        known = None if run.diagnosis is None else run.diagnosis["target"]
        said = DASH if known is None else target(known)
        beside = None if known is None else tag("small", known["source"])
        cells.append(tag("td", said, beside))
    return [tag("tr", tag("th", "Target", scope="row"), cells)]


def _whole(run: RunView) -> list[Fact]:
    """What is known of rollouts beside the tiles of a run."""
    last = run.last
    possible = last.get("feasible") if run.diagnosis is not None else None
    limit = at(possible or {}, "eta_max")
    beside = f"keeps ESS_rel at {possible['ess_rel_target']:g}" if possible else ""
    return [
        Fact("Policy / proposal", fixed(at(last, "overlap", "policy_proposal"))),
        Fact("pass@K", percent(at(last, "coverage", "pass_at_k"))),
        Fact("Largest feasible η", DASH if limit is None else plainly(limit), beside),
    ]


def _equal_k(runs: Sequence[RunView]) -> Html | None:
    """ESS_rel of different K is not comparable: it is bounded below by 1/K and biased upward."""
    sizes = {at(run.last, "contexts", "candidates_per_context", "median") for run in runs}
    if len(sizes) < 2:
        return None
    return tag(
        "p",
        "These runs have different numbers of candidates K. ESS_rel cannot read below 1/K and is "
        "biased upward at small K: do not compare it across these columns.",
        class_="warning",
    )


def _held_out(run: RunView) -> Fact:
    """pass@1 before → after, with the standard error of the difference."""
    found = [
        (at(r, "held_out", "pass_at_1"), at(r, "held_out", "standard_error")) for r in run.steps
    ]
    known = [(value, error) for value, error in found if value is not None]
    hint = "Same prompts before and after; the error assumes independence and is thus cautious."
    if not known:
        return Fact("Held-out pass@1", DASH)
    (first, error0), (last, error1) = known[0], known[-1]
    if len(known) == 1:
        return Fact("Held-out pass@1", percent(last, 1), _error(error1))
    both = None if error0 is None or error1 is None else math.hypot(error0, error1)
    gain = f"{100 * (last - first):+.1f}".replace("-", "−")
    beside = f"{gain} points" + ("" if both is None else f" ± {100 * both:.1f} s.e.")
    return Fact("Held-out pass@1", f"{100 * first:.1f} → {100 * last:.1f} %", beside, hint)


def _selected(search: dict[str, object]) -> Fact:
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
        else "Mean utility of all candidates, and of those selected"
    )
    return Fact(
        "Selected", f"{fixed(before)} → {fixed(after)}", beside, f"{hint}; clustered by prompt."
    )


def _error(error: float | None) -> str:
    return "" if error is None else f"± {100 * error:.1f} s.e."


def interval_of(record: dict[str, object], name: str) -> str:
    """A 90 % interval of ESS_rel in words; empty when unknown."""
    interval = (record.get("ess_rel") or {}).get(name)  # type: ignore[attr-defined]
    if not isinstance(interval, list | tuple) or len(interval) != 2:
        return ""
    low, high = (value if isinstance(value, int | float) else None for value in interval)
    if low is None and high is None:
        return ""
    return f"90 % interval {fixed(low)} to {fixed(high)}"


def blind_contexts(record: dict[str, object]) -> Fact:
    """The share of contexts that say nothing about the target."""
    total, blind = (at(record, "contexts", key) for key in ("total", "zero_information"))
    name = "Blind contexts"
    if not total or blind is None:
        return Fact(name, DASH)
    parts = [
        f"{count:g} {word}"
        for word, key in (("all pass", "all_pass"), ("all fail", "all_fail"))
        if (count := at(record, "contexts", key)) is not None
    ]
    hint = "All candidates have the same utility: such a context says nothing about the target."
    return Fact(name, percent(blind / total), ", ".join(parts) or f"{blind:g} of {total:g}", hint)


def _size(run: RunView) -> Fact:
    sizes = (run.last.get("contexts") or {}).get("candidates_per_context") or {}
    low, high = at(sizes, "min"), at(sizes, "max")
    total = at(run.last, "contexts", "total")
    a_step = " a step" if run.diagnosis is None else ""
    beside = "" if total is None else f"in {total:g} contexts{a_step}"
    if low is None or high is None:
        return Fact("Candidates K", DASH, beside)
    value = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return Fact("Candidates K", value, beside)
