"""Thresholds refitted on a study with a known edge."""

import numpy as np
import pytest

from tod.base import DataError
from tod.regimes import Thresholds, fit_cuts, fit_thresholds
from tod.regimes.calibrate import youden


def study(rng, n=200):
    """ESS_tri tells exactly at 0.35; the median does so with noise; q10 is unknown."""
    two = rng.uniform(0, 1, n)
    return [
        {
            "ess_tri": float(x),
            "ess_median": float(np.clip(x + rng.normal(0, 0.2), 0.01, 1)),
            "ess_q10": None,
            "excess": 0.3 if x < 0.35 else 0.01,
        }
        for x in two
    ]


def test_a_perfect_statistic_is_cut_at_its_edge(rng):
    records = study(rng)
    cuts = fit_cuts(records)
    assert set(cuts) == {"ess_tri", "ess_median"}
    exact = cuts["ess_tri"]
    assert (exact.sensitivity, exact.specificity, exact.auroc) == (1.0, 1.0, 1.0)
    two = np.array([r["ess_tri"] for r in records])
    assert two[two < 0.35].max() < exact.threshold <= two[two >= 0.35].min()
    fitted = fit_thresholds(records)
    assert fitted.overlap_dominated == pytest.approx(exact.threshold)
    assert fitted.overlap_stable == pytest.approx(max(exact.stable, exact.threshold))
    assert fitted.ess_q10_dominated == Thresholds().ess_q10_dominated


def test_youden_and_auroc_against_counting(rng):
    x = rng.integers(0, 12, size=80).astype(float)
    apart = rng.uniform(size=80) < np.where(x < 5, 0.8, 0.2)
    cut = youden(x, apart)
    pairs = [(a < b) + 0.5 * (a == b) for a in x[apart] for b in x[~apart]]
    assert cut.auroc == pytest.approx(np.mean(pairs))
    best = max(np.mean(x[apart] < t) + np.mean(x[~apart] >= t) for t in np.arange(-0.5, 13, 0.5))
    assert cut.sensitivity + cut.specificity == pytest.approx(best)


def test_a_statistic_that_never_licenses_gets_a_stable_edge_of_one():
    records = [
        {"ess_tri": i / 100, "excess": 0.3 if i % 7 == 0 or i < 30 else 0.0} for i in range(100)
    ]
    assert fit_cuts(records)["ess_tri"].stable is None
    assert fit_thresholds(records).overlap_stable == 1.0


def test_a_statistic_that_bounds_nothing_is_cut_and_refits_nothing(rng):
    records = [
        {"ess_two": float(x), "excess": 0.3 if x < 0.35 else 0.0} for x in rng.uniform(size=99)
    ]
    assert set(fit_cuts(records)) == {"ess_two"}
    with pytest.raises(DataError, match="ess_tri, ess_q10"):
        fit_thresholds(records)


def test_one_class_or_no_outcome_is_refused():
    with pytest.raises(DataError, match="both sides"):
        fit_thresholds([{"ess_two": 0.5, "excess": 0.0}])
    with pytest.raises(DataError, match="excess"):
        fit_thresholds([{"ess_two": 0.5}])
    with pytest.raises(DataError, match="either class"):
        youden(np.array([0.1, 0.2]), np.array([True, True]))


def test_one_condition_of_either_class_is_enough_for_a_cut():
    for value, excess in ((0.01, 0.3), (0.99, 0.0)):
        records = [{"ess_two": 0.5, "excess": 0.3 - excess}] * 4
        records.append({"ess_two": value, "excess": excess})
        assert fit_cuts(records)["ess_two"].count == 5


@pytest.mark.parametrize(("apart", "edge"), [(1, 0.0), (2, 0.05)])
def test_a_stable_edge_tolerates_one_of_twenty(apart, edge):
    """The smallest value at and above which at most 5 % are apart."""
    x, bad = np.arange(20) / 20, np.zeros(20, dtype=bool)
    bad[-1] = True
    bad[0] = apart == 2
    assert youden(x, bad).stable == (edge if apart == 1 else None)
    assert youden(np.append(x, x[1:]), np.append(bad, np.zeros(19, bool))).stable == edge
    assert youden(x[10:], np.arange(10) == 0, tolerated=0.1).stable == 0.5
    assert youden(x[11:], np.arange(9) == 0, tolerated=0.2).stable is None  # nine are too few


def test_every_condition_needs_an_outcome_and_the_limit_itself_is_together():
    """Apart is beyond the limit: at it a statistic has no second class to tell from."""
    some = [{"ess_two": 0.2, "excess": 0.3}, {"ess_two": 0.8, "excess": None}]
    with pytest.raises(DataError, match="no `excess`"):
        fit_cuts(some)
    at_limit = [{"ess_two": x, "excess": 0.1} for x in (0.2, 0.4)]
    assert fit_cuts([*at_limit, {"ess_two": 0.9, "excess": 0.0}], limit=0.1) == {}
    (cut,) = fit_cuts([*at_limit, {"ess_two": 0.9, "excess": 0.0}], limit=0.05).values()
    assert (cut.sensitivity, cut.specificity, cut.count) == (1.0, 1.0, 3)
