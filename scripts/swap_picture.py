"""The picture of a swap study: operators of one target side by side as their overlap falls.

python scripts/swap_picture.py studies/language_models.yaml studies/results/language_models \
    docs/images/swap.svg "η 1, refresh 4, long" "η 1, refresh 64" "η 5, refresh 4, long" \
    "η 5, refresh 64" --task countdown

Under every column stand the legs, means over steps and arms, and the word that TOD gives from the
first tenth of the steps. Conditions and operators that have fewer than two seeds are left out, and
said to be on the terminal.
"""

import argparse
from pathlib import Path

import numpy as np

from tod.show.figures.swap_columns import Column, OperatorMark, swap_columns
from tod.study.swap.assemble import conditions_of
from tod.study.swap.condition import Condition
from tod.study.swap.estimate import mean_over_seeds
from tod.study.swap.phase import foreseen
from tod.study.swap.spec import SwapSpec

FEWEST = 3
"""Seeds from which an interval is drawn: of two it is thirteen standard errors to either side."""
LEGS = (("ESS(q*/μ)", "ess_mean"), ("ESS(π/μ)", "policy_proposal"), ("ESS(q*/π)", "target_policy"))


def column(condition: Condition, operators: list[str]) -> Column:
    """A condition with the operators that are drawn."""
    marks = []
    for name in operators:
        if name in condition.operators:
            values = condition.utility[condition.operators.index(name)].mean(axis=-1)
            estimate = mean_over_seeds(values)
            ends = estimate.interval(0.95) if len(values) >= FEWEST else None
            marks.append(OperatorMark(name, float(values.mean()), ends, tuple(values)))
    legs = [
        f"{label} {condition.diagnostics[key]:.2f}"
        for label, key in LEGS
        if condition.diagnostics.get(key) is not None
    ]
    word = foreseen(condition).replace("_", "-")
    seeds = f"{len(condition.seeds)} seeds"
    return Column(condition.name, tuple(marks), (*legs, f"foreseen: {word}", seeds))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("conditions", nargs="+")
    parser.add_argument("--task", default="countdown")
    parser.add_argument(
        "--operators",
        nargs="*",
        default=["centred MLE", "log-ratio variance", "sequence clip", "token clip"],
    )
    options = parser.parse_args()
    spec = SwapSpec.load(options.study)
    spec = spec.revised(
        conditions=[
            condition.revised(only=options.operators)
            for condition in spec.conditions
            if condition.name in options.conditions
        ]
    )
    made = conditions_of(spec, options.results, complete=False)
    by_name = {c.name: c for c in made if c.cluster == options.task}
    missing = [name for name in options.conditions if name not in by_name]
    if missing:
        print(f"left out, fewer than two seeds of every operator: {', '.join(missing)}")
    there = [by_name[name] for name in options.conditions if name in by_name]
    start = float(np.mean([c.start.mean() for c in there if c.start is not None]))
    picture = swap_columns(
        [column(c, options.operators) for c in there], what="pass@1", start=start
    )
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    options.picture.write_text(picture + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
