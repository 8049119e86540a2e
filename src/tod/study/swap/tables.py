"""Tables of a swap study in Markdown: the largest effect first, all arms in them."""

from collections.abc import Iterable, Sequence

from tod.base.text import DASH
from tod.study.swap.checks import Flag
from tod.study.swap.clusters import Spread
from tod.study.swap.condition import Condition
from tod.study.swap.controls import Controls, role_of
from tod.study.swap.estimate import Estimate, mean_over_seeds
from tod.study.swap.floor import intraclass, seed_floor, seed_floors
from tod.study.swap.held_out import ThresholdTest
from tod.study.swap.paired import Effect
from tod.study.swap.phase import Phase
from tod.study.swap.predict import Predictor
from tod.study.swap.subset import without_contrast
from tod.study.swap.verdict import StudyVerdict

__all__ = [
    "condition_table",
    "control_table",
    "effect_table",
    "flag_table",
    "held_out_table",
    "markdown",
    "operator_table",
    "phase_table",
    "predictor_table",
]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def condition_table(conditions: Sequence[Condition], said: StudyVerdict) -> str:
    """A row a condition, the largest E first: E, its share, the seeds' own distance, the verdict.

    Args:
        conditions: Of the study, with or without its controls.
        said: What it says.
    """
    study = [without_contrast(c) for c in conditions if role_of(c) == "study"]
    by_name = {(c.cluster, c.name): c for c in study}
    header = ("world or task", "condition", "seeds", "E", "ICC", "seed floor", "travel",
              "largest pair", "verdict")  # fmt: skip
    rows = []
    for one in sorted(said.conditions, key=lambda v: -v.excess.value):
        condition, effect = by_name[one.cluster, one.condition], one.effect
        pair = DASH
        if effect is not None:
            pair = f"{effect.operator} − {effect.against}: {estimate(effect.difference)}"
        rows.append((
            one.cluster, one.condition, str(len(condition.seeds)), estimate(one.excess),
            estimate(intraclass(condition)), estimate(seed_floor(condition)),
            DASH if condition.travel is None else f"{condition.travel.mean():.3f}",
            pair, one.word,
        ))  # fmt: skip
    return markdown(header, rows)


def operator_table(conditions: Sequence[Condition], effects: Sequence[Effect]) -> str:
    """A row an operator and condition, the largest difference from the others first.

    Args:
        conditions: Of the study or its controls; every operator has a row.
        effects: Of `tod.study.swap.paired.against_others`; those of controls have a dash.
    """
    by_name = {(e.cluster, e.condition, e.operator): e for e in effects}
    header = ("world or task", "condition", "operator", "utility", "against the others", "Holm p",
              "its seeds apart", "travel")  # fmt: skip
    rows = []
    for condition in conditions:
        floors = seed_floors(condition) if len(condition.seeds) > 1 else {}
        for place, name in enumerate(condition.operators):
            key = (condition.cluster, condition.name, name)
            effect = by_name.get(key) if role_of(condition) == "study" else None
            moved = condition.travel
            rows.append((
                0.0 if effect is None else abs(effect.difference.value),
                (
                    condition.cluster, condition.name, name,
                    estimate(mean_over_seeds(condition.utility[place].mean(axis=1))),
                    DASH if effect is None else estimate(effect.difference),
                    DASH if effect is None else p_value(effect.adjusted),
                    estimate(floors.get(name)),
                    DASH if moved is None else f"{moved[place].mean():.3f}",
                ),
            ))  # fmt: skip
    return markdown(header, [row for _, row in sorted(rows, key=lambda row: -row[0])])


def phase_table(rows: Sequence[Phase], limit: float) -> str:
    """A row for every word that was foreseen, and what became of its conditions; then violators."""
    header = ("foreseen", "conditions", f"E over {limit:g}", "a pair differs in utility",
              "largest E", "largest difference in utility")  # fmt: skip
    table = markdown(
        header,
        [
            (
                row.foreseen.replace("_", "-"), str(row.conditions), str(row.policies_apart),
                str(row.utility_apart), f"{row.excess[0]:.3f} ({row.excess[1]})",
                DASH if row.difference is None
                else f"{row.difference[0]:.3f} ({row.difference[1]})",
            )
            for row in rows
        ],
    )  # fmt: skip
    became = {
        "swap_stable": "Foreseen swap-stable, and apart",
        "operator_dominated": "Foreseen operator-dominated, and not apart",
    }
    named = [
        f"{became[row.foreseen]} {by}: {_some(names)}."
        for row in rows
        for by, names in (("by E", row.violators), ("in utility", row.violators_utility))
        if names and len(names) < row.conditions
    ]
    return "\n\n".join([table, *named])


def _some(names: Sequence[str]) -> str:
    """Names, the first dozen of many."""
    more = f"; and {len(names) - 12} more" if len(names) > 12 else ""
    return "; ".join(names[:12]) + more


def effect_table(effects: Sequence[Effect]) -> str:
    """A row a pair of operators and condition, the largest difference first; tests in the head."""
    tests = max((effect.tests for effect in effects), default=0)
    header = ("world or task", "condition", "operator", "against", "difference",
              "over prompts", f"Holm p of {tests} tests")  # fmt: skip
    rows = [
        (
            e.cluster, e.condition, e.operator, e.against, estimate(e.difference),
            DASH if e.prompts is None else f"[{e.prompts[0]:.3f}, {e.prompts[1]:.3f}]",
            p_value(e.adjusted),
        )
        for e in sorted(effects, key=lambda e: -abs(e.difference.value))
    ]  # fmt: skip
    return markdown(header, rows)


def predictor_table(predictors: Sequence[Predictor]) -> str:
    """A row a diagnostic or confounder in the order of ρ; few clusters and unknowns are told."""
    clusters = max((p.rho.clusters for p in predictors), default=0)
    few = f" (few clusters: {clusters})" if any(p.rho.few for p in predictors) else ""
    header = ("read", "apart where", f"ρ with E{few}", "AUROC", "ρ given travel",
              "AUROC over median ESS", "known", "unknown")  # fmt: skip
    rows = [
        (
            p.name, p.direction, spread(p.rho), spread(p.auroc), spread(p.given_travel),
            spread(p.gain), str(p.known), str(p.unknown),
        )
        for p in predictors
    ]  # fmt: skip
    return markdown(header, rows)


def held_out_table(judged: Sequence[ThresholdTest]) -> str:
    """A row a diagnostic: its thresholds, what they are worth elsewhere, violators by name."""
    header = ("read", "apart where", "thresholds of the halves", "sensitivity", "specificity",
              "missed", "alarmed", "unjudged")  # fmt: skip
    rows = []
    for one in judged:
        bounds = " and ".join(DASH if t is None else f"{t:.3g}" for t in one.thresholds)
        side = "below" if one.direction == "low" else "above"
        rows.append((
            one.name, side, bounds, share(one.told, one.apart), share(one.spared, one.together),
            "; ".join(one.missed) or "none", "; ".join(one.alarmed) or "none", str(one.unjudged),
        ))  # fmt: skip
    return markdown(header, rows)


def control_table(controls: Controls) -> str:
    """A row a control: what it compared, what came out, whether it holds."""
    header = ("control", "world or task", "compared", "utility", "E", "holds")
    rows = []
    for one in controls.positive:
        step = one.step
        if step is None:
            rows.append(("positive", one.cluster, "not run", DASH, DASH, "no"))
            continue
        held = "yes" if one.detected else "no"
        rows.append(("positive", one.cluster, f"{step.operator} − {step.against}",
                     estimate(step.difference), estimate(step.excess), held))  # fmt: skip
    for one_ladder in controls.ladders:
        for step in one_ladder.steps:
            word = "detected" if step.detected else "not detected"
            if step is one_ladder.smallest:
                word = "smallest detected"
            rows.append(("ladder", one_ladder.cluster, f"{step.operator} − {step.against}",
                         estimate(step.difference), estimate(step.excess), word))  # fmt: skip
    negative = controls.negative
    known = negative.inside + len(negative.outside)
    holds = {True: "yes", False: "no", None: "not run"}[negative.holds]
    inside = f"E within {negative.errors:g} errors in {negative.inside} of {known}"
    rows.append(("negative", "all", "one operator, two names", DASH, inside, holds))
    return markdown(header, rows)


def flag_table(flags: Sequence[Flag]) -> str:
    """A row a thing that does not hold; those that stop the study first."""
    rows = [
        (flag.kind.replace("_", " "), flag.name, flag.said, "yes" if flag.stops else "no")
        for flag in sorted(flags, key=lambda flag: not flag.stops)
    ]
    return markdown(("what", "where", "what is seen", "stops the study"), rows)


def estimate(x: Estimate | None, level: float = 0.95) -> str:
    """``0.012 [−0.003, 0.027]``; a dash for unknown, no interval where there is none."""
    if x is None:
        return DASH
    ends = x.interval(level)
    tail = "" if ends is None else f" [{ends[0]:.3f}, {ends[1]:.3f}]"
    return f"{x.value:.3f}{tail}".replace("-", "−")


def spread(x: Spread | None) -> str:
    """``.87 [.80, .92]`` of a statistic over conditions; a dash where it is not defined."""
    if x is None or x.value is None:
        return DASH
    tail = "" if x.low is None or x.high is None else f" [{x.low:.2f}, {x.high:.2f}]"
    return f"{x.value:.2f}{tail}".replace("-", "−")


def share(count: int, total: int) -> str:
    """``0.75 (12 of 16)``; a dash of none."""
    return f"{count / total:.2f} ({count} of {total})" if total else DASH


def p_value(p: float | None) -> str:
    """Two digits, ``< 0.001`` below; a dash for unknown."""
    if p is None:
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.2g}"
