"""What was foreseen of planted conditions, and which of them became something else."""

from dataclasses import replace

import numpy as np
import pytest
from test_verdict import setting, study

from tod.study.swap.condition import Condition
from tod.study.swap.controls import role_of
from tod.study.swap.outcomes import REGIMES
from tod.study.swap.phase import foreseen, phases
from tod.study.swap.report import FEWEST, report_of
from tod.study.swap.subset import without_contrast
from tod.study.swap.tables import phase_table
from tod.study.swap.verdict import verdict


def reading(**diagnostics: float | None) -> Condition:
    return replace(setting(np.random.default_rng(0), [0.2] * 2, "a"), diagnostics=diagnostics)


@pytest.mark.parametrize(
    ("diagnostics", "word"),
    [
        ({"regime early": 0.2}, "swap_stable"),
        ({"regime early": 1.4}, "transition"),
        ({"regime early": 1.9, "ess_tri": 0.9}, "operator_dominated"),
        ({"regime early": None, "ess_tri": 0.9}, "undetermined"),
        ({"ess_tri": 0.71, "oracle_uncovered": 0.34}, "swap_stable"),
        ({"ess_tri": 0.71, "oracle_uncovered": 0.36}, "transition"),
        ({"ess_tri": 0.71}, "transition"),
        ({"ess_tri": 0.31, "oracle_uncovered": 0.0}, "transition"),
        ({"ess_tri": 0.29, "oracle_uncovered": 0.0}, "operator_dominated"),
        ({}, "undetermined"),
    ],
)
def test_what_is_foreseen_follows_the_verdict_or_the_legs(
    diagnostics: dict[str, float | None], word: str
) -> None:
    assert foreseen(reading(**diagnostics)) == word


@pytest.mark.parametrize("word", [0, 2])
def test_violators_are_those_that_became_the_other(word: int) -> None:
    """Planted: no effect; the token clip loses .2 of utility; other policies at one utility."""
    every = [
        replace(c, diagnostics={**c.diagnostics, "regime early": float(word)})
        for c in study(np.random.default_rng(0))
    ]
    own = [c for c in every if role_of(c) == "study"]
    said = verdict(every, limit=0.05)
    (row,) = phases(own, said.conditions, 0.05)
    assert (row.foreseen, row.conditions) == (REGIMES[word], 3)
    assert (row.policies_apart, row.utility_apart) == (1, 1)
    same, clip, teacher = (f"sums, {c.name}" for c in own)
    apart_by_e, apart_in_utility = (teacher,), (clip,)
    if word == 0:
        assert row.violators == apart_by_e
        assert row.violators_utility == apart_in_utility
    else:
        assert row.violators == (same, clip)
        assert row.violators_utility == (same, teacher)
    assert row.excess[1] == teacher
    assert row.difference is not None
    assert row.difference[1] == clip
    assert teacher in phase_table([row], 0.05)


def test_a_study_with_a_contrast_is_asked_what_would_have_told() -> None:
    every = [
        replace(c, facts={**c.facts, "contrast": "CISPO"} if len(c.operators) == 4 else c.facts)
        for c in study(np.random.default_rng(0))
    ]
    first = next(c for c in every if role_of(c) == "study")
    once = without_contrast(first)
    assert "CISPO" not in once.operators
    assert without_contrast(once).operators == once.operators
    few = report_of(every, limit=0.05)
    assert few.predictors is None
    assert "foretells" not in few.markdown("a study", "a command")
    own = [c for c in every if role_of(c) == "study"]
    more = [replace(c, name=f"{c.name}, again") for c in own for _ in range(FEWEST - 1)]
    made = report_of([*every, *more], limit=0.05)
    assert made.predictors is not None
    assert {"ess_median", "ess_two"} <= {one.name for one in made.predictors}
