"""Curves over the steps: one quantity a plot; with several runs, one line a run."""

from collections.abc import Callable
from dataclasses import replace

from tod.show.figures.plot import Plot, Series
from tod.show.figures.scales import fixed, nice, percent, plainly
from tod.show.page.run_data import RunView, at, thresholds

Show = Callable[[float | None], str]
Lines = list[tuple[str, tuple[str, ...]]]
UNIT = (0.0, 1.0)


def curves(
    runs: list[RunView],
    title: str,
    lines: Lines,
    show: Show = fixed,
    domain: tuple[float, float] | None = None,
    note: str = "",
) -> Plot | None:
    """The lines of one run, or the first line of each of several; None when nothing is known.

    Args:
        runs: What to draw.
        title: Heading.
        lines: Name and path in the record of every line, the most telling first.
        show: How values are written.
        domain: Of the vertical axis; round numbers around the data by default.
        note: What to know when reading it.
    """
    if len(runs) == 1:
        series = [
            Series(name, runs[0].numbers(), runs[0].values(*path), f"s{i}")
            for i, (name, path) in enumerate(lines)
        ]
    else:
        title = f"{title}: {lines[0][0]}" if len(lines) > 1 else title
        series = [
            Series(run.name, run.numbers(), run.values(*lines[0][1]), f"r{i}")
            for i, run in enumerate(runs)
        ]
    drawn = [line for line in series if line.known()]
    if not drawn:
        return None
    reach = domain or nice([value for line in drawn for value in line.y])
    return Plot(title, drawn, reach, show, note)


def tails(runs: list[RunView]) -> Plot | None:
    """The largest weight and the mass of the largest ones."""
    lines: Lines = [
        ("largest weight", ("tails", "max_weight_median")),
        ("mass of the top 2", ("tails", "top_mass_median")),
    ]
    note = "Medians over informative contexts of the normalised weights."
    return curves(runs, "Tails of the weights", lines, fixed, nice([1.0]), note)


def pareto(runs: list[RunView]) -> Plot | None:
    """The pooled Pareto k̂, on its own scale: a few contexts can make it spike."""
    lines: Lines = [("pooled k̂", ("tails", "pareto_k_pooled"))]
    note = "Tail index of the pooled weights of informative contexts; heavy above 0.7."
    return curves(runs, "Tail index", lines, fixed, None, note)


def spread(runs: list[RunView]) -> Plot | None:
    """The variance of the log-weights."""
    lines: Lines = [("median variance", ("tails", "log_w_variance_median"))]
    note = "Variance of log w within a context, nats², median over informative contexts."
    return curves(runs, "Spread of log w", lines, plainly, None, note)


def overlap(runs: list[RunView]) -> Plot | None:
    """The three legs."""
    lines: Lines = [
        ("target / proposal", ("overlap", "target_proposal")),
        ("policy / proposal", ("overlap", "policy_proposal")),
        ("target / policy", ("overlap", "target_policy")),
    ]
    if len(runs) > 1:
        lines = [("smallest leg", ("overlap", "minimum"))]
    declared = sorted({str(n) for run in runs for n in _declared(run)})
    note = "ESS_rel of each leg, median over contexts at equal K, before the policy saw the batch."
    if declared:
        note += f" 1 by declaration: {', '.join(name.replace('_', ' / ') for name in declared)}."
    bounds = thresholds(runs)
    high, low = bounds.overlap_stable, bounds.overlap_dominated
    note += f" Dotted: swap-stable above {high:g}, operator-dominated below {low:g}."
    plot = curves(runs, "Overlap", lines, fixed, UNIT, note)
    return None if plot is None else replace(plot, limits=[(high, "stable"), (low, "dominated")])


def drift(runs: list[RunView]) -> Plot | None:
    """KL from the anchors."""
    lines: Lines = [("from ref", ("drift", "ref")), ("from old", ("drift", "old"))]
    note = "KL(π‖anchor) per sequence, nats; an estimate, so it can fall below zero."
    return curves(runs, "Drift", lines, plainly, None, note)


def activation(runs: list[RunView]) -> Plot | None:
    """How much the trust region removes."""
    note = "Share of the gradient's weight that the trust region changes, for every operator alike."
    values = [value for run in runs for value in run.values("activation")]
    top = nice([*values, 0.1])[1]
    return curves(runs, "Activation", [("activation", ("activation",))], percent, (0.0, top), note)


def entropy(runs: list[RunView]) -> Plot | None:
    """Of the sampled tokens."""
    return curves(runs, "Entropy", [("per token, nats", ("entropy",))], plainly)


def mismatch(runs: list[RunView]) -> Plot | None:
    """Training forward against sampler."""
    lines: Lines = [("mean |log π_old − log μ|", ("mismatch", "mean_abs"))]
    note = "The training forward against the engine that sampled, per token, nats."
    return curves(runs, "Train–inference mismatch", lines, plainly, None, note)


def knobs(runs: list[RunView]) -> list[Plot]:
    """One plot per knob that ever moves or that a controller decided on."""
    found = []
    names = sorted({name for run in runs for r in run.steps for name in (r.get("knobs") or {})})
    for name in names:
        plot = curves(runs, f"Knob: {_greek(name)}", [(_greek(name), ("knobs", name))], plainly)
        moved = any(len(set(run.values("knobs", name)) - {None}) > 1 for run in runs)
        if plot is not None and moved:
            found.append(replace(plot, marks=_marks(runs)))
    return found


def _marks(runs: list[RunView]) -> list[tuple[int, str, str]]:
    if len(runs) != 1:
        return []
    return [
        (
            int(item["step"]),
            f"a-{item.get('action')}",
            f"{item.get('action')}: {item.get('why', '')}",
        )
        for item in runs[0].decisions
        if item.get("action") not in (None, "hold")
    ][:200]


def _greek(name: str) -> str:
    return {"eta": "η", "tau": "τ", "beta": "β"}.get(name, name)


def _declared(run: RunView) -> list[str]:
    found = (run.last.get("overlap") or {}).get("declared")
    return list(found) if isinstance(found, list | tuple) else []


def known_numbers(run: RunView, *path: str) -> list[float]:
    """The known values of a number, in order."""
    return [value for record in run.steps if (value := at(record, *path)) is not None]
