"""The record is plain data: it survives JSON unchanged, whatever is missing from it."""

import json

import numpy as np
import pytest

from tod.base import Groups
from tod.diagnostics import (
    ContextCounts,
    Coverage,
    Drift,
    EssRel,
    Mismatch,
    Overlap,
    Summary,
    Tails,
    measure,
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
    assert json.loads(text) == summary.to_dict()


def test_unknown_keys_of_newer_files_are_passed_over():
    data = Summary().to_dict() | {"later": 1}
    data["drift"]["teacher"] = 2.0
    assert Summary.from_dict(data) == Summary()


def test_missing_keys_of_older_files_are_unknown():
    assert Summary.from_dict({"activation": 0.5}) == Summary(activation=0.5)


def test_the_common_k_is_that_of_contexts_that_say_something():
    """Two informative contexts of 4, five blind ones of 8: medians are of K = 4."""
    contexts = Groups(np.array([8, 8, 4, 8, 4, 8, 8]))
    u = np.zeros(contexts.total)
    for at in (2, 4):
        u[contexts.offsets[at]] = 1.0
    found = measure(2 * u, u, contexts)
    summary = found.summary()
    assert (summary.overlap.k, summary.contexts.informative) == (4, 2)
    w = np.array([np.exp(2.0), 1, 1, 1])
    assert summary.ess_rel.median == pytest.approx(w.sum() ** 2 / (w**2).sum() / 4)
    blind = measure(0 * u, 0 * u, contexts).summary()
    assert (blind.overlap.k, blind.contexts.informative) == (8, 0)
    assert blind.ess_rel.median is None


def test_without_a_leg_no_leg_is_unknown():
    contexts = Groups.equal(9, 4)
    u = np.tile([0.0, 1.0, 0.0, 0.0], 9)
    assert measure(u, u, contexts).summary().overlap.unknown == 0
    log_r = np.zeros(36)
    log_r[:8] = np.nan
    assert measure(u, u, contexts, log_r=log_r).summary().overlap.unknown == 2
