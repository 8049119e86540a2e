"""The page of a swap study in exact worlds, from the results of its command.

python scripts/swap_page.py studies/results/exact docs/results/swap_exact.md
"""

import argparse
from pathlib import Path
from statistics import median

from tod.study.swap.condition import Condition
from tod.study.swap.controls import role_of
from tod.study.swap.exact_run import load_exact
from tod.study.swap.excess import mean_excess
from tod.study.swap.report import StudyReport, report_of
from tod.study.swap.subset import without_contrast
from tod.study.swap.tables import held_out_table, markdown, phase_table, predictor_table

COVERED, NEAR = 0.35, 0.7
"""Bounds of the cell in which operators were found to agree: uncovered mass, smallest leg."""


READ = ("ess_median", "ess_tri", "ess_two", "oracle_uncovered")
"""Diagnostics that the table of settings shows."""


def excess_of(condition: Condition) -> float:
    """E, mean over the compared pairs."""
    return mean_excess(without_contrast(condition)).value


def by_setting(conditions: list[Condition]) -> str:
    """A row a setting: medians over the worlds, the largest E first."""
    rows = []
    for name in dict.fromkeys(c.name for c in conditions):
        own = [c for c in conditions if c.name == name]
        figures = [excess_of(c) for c in own]
        read = [median(known(own, key)) for key in READ]
        rows.append((median(figures), max(figures), name, read))
    rows.sort(reverse=True)
    header = ("setting", "E, median", "largest", "median ESS", "ESS_tri", "ESS_two", "uncovered")
    cells = [
        (name, f"{middle:.3f}", f"{most:.3f}", *(f"{x:.2f}" for x in read))
        for middle, most, name, read in rows
    ]
    return markdown(header, cells)


def known(conditions: list[Condition], key: str) -> list[float]:
    """What was read of some conditions, those left out that do not know it."""
    return [float(x) for x in (c.diagnostics[key] for c in conditions) if x is not None]


def negative(conditions: list[Condition]) -> str:
    """How many conditions find one operator under two names within two standard errors."""
    inside = 0
    for condition in conditions:
        excess = mean_excess(condition)
        inside += excess.error is not None and abs(excess.value) <= 2 * excess.error
    return (
        f"One operator under two names: E within two standard errors of 0 in {inside} of "
        f"{len(conditions)} conditions; 95 % was asked."
    )


def page(made: StudyReport, conditions: list[Condition], source: Path) -> str:
    """The whole page."""
    own = [c for c in conditions if role_of(c) == "study"]
    cell = [
        excess_of(c)
        for c in own
        for near, missed in [(c.diagnostics["ess_tri"], c.diagnostics["oracle_uncovered"])]
        if near is not None and missed is not None and near > NEAR and missed < COVERED
    ]
    worlds = sorted({c.cluster for c in own})
    positive = made.said.controls.positive
    lines = [
        "# Swap study in exact worlds",
        f"Made by `make study-exact` and `python scripts/swap_page.py {source} "
        "docs/results/swap_exact.md`; the plan is in [Part II](../part-two.md). "
        f"{worlds[0]} to {worlds[-1]}, {len(own)} conditions, {len(own[0].seeds)} seeds.",
        made.said.answer,
        f"Where the smallest leg is over {NEAR:g} and less than {COVERED:g} of the target's mass "
        f"is uncovered ({len(cell)} conditions) the largest E is {max(cell):.3f}, the median "
        f"{median(cell):.3f}.",
        negative([c for c in conditions if role_of(c) == "negative"]),
        f"Positive control (η 0 against η 5) found in {sum(p.detected for p in positive)} of "
        f"{len(positive)} worlds.",
        "## By setting, medians over worlds",
        by_setting(own),
        "## The phase diagram: foreseen and seen",
        phase_table(made.phases, made.limit),
        f"## What foretells E over {made.limit:g}",
        predictor_table(made.predictors or ()),
        "## Thresholds fitted on one half of the worlds, judged on the other",
        held_out_table([one for one in made.judged if len(one.missed) + len(one.alarmed) < 40]),
    ]
    return "\n\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("page", type=Path)
    options = parser.parse_args()
    conditions = load_exact(options.results)
    options.page.write_text(page(report_of(conditions), conditions, options.results))


if __name__ == "__main__":
    main()
