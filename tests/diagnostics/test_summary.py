"""The record is plain data: it survives JSON unchanged, whatever is missing from it."""

import json

import pytest

from tod.diagnostics import (
    ContextCounts,
    Coverage,
    Drift,
    EssRel,
    Mismatch,
    Overlap,
    Summary,
    Tails,
)

FULL = Summary(
    contexts=ContextCounts(total=3, informative=2, singleton=1, candidates_per_context={"min": 1}),
    ess_rel=EssRel(median=0.5, q10=0.2, mean=0.4, median_ci90=(0.4, None), q10_ci90=(None, 0.3)),
    tails=Tails(max_weight_median=0.3),
    overlap=Overlap(target_proposal=0.5, minimum=0.5, declared=("policy_proposal",), k=8),
    coverage=Coverage(mean_rho=0.9),
    mismatch=Mismatch(tokens=7, k1=0.1),
    staleness=Mismatch(k1=0.2),
    drift=Drift(ref=1.5),
    activation=0.25,
)


@pytest.mark.parametrize("summary", [FULL, Summary()], ids=["full", "empty"])
def test_round_trip_through_json(summary):
    text = json.dumps(summary.to_dict(), allow_nan=False)
    assert Summary.from_dict(json.loads(text)) == summary


def test_unknown_keys_of_newer_files_are_passed_over():
    data = Summary().to_dict() | {"later": 1}
    data["drift"]["teacher"] = 2.0
    assert Summary.from_dict(data) == Summary()


def test_missing_keys_of_older_files_are_unknown():
    assert Summary.from_dict({"activation": 0.5}) == Summary(activation=0.5)
