"""The jackknife of ESS_rel against its definition, and the counts that pool it."""

import json

import numpy as np
import pytest

from tod.base import Groups
from tod.diagnostics import ess_rel
from tod.diagnostics.quantiles import quantile_interval
from tod.population import EssCounts, jackknife_counts, jackknife_ess
from tod.population.jackknife import CELLS
from tolerance import double, of_weights


def by_definition(x):
    """Leave every rollout out in turn."""
    n = len(x)

    def ess(y):
        return float(ess_rel(y, Groups.equal(1, len(y)))[0])

    without = [
        ess(np.delete(x, i)) if np.isfinite(np.delete(x, i)).any() else 0.0 for i in range(n)
    ]
    return n * ess(x) - (n - 1) * np.mean(without)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0, 400.0])
def test_it_is_the_jackknife(rng, scale):
    groups = Groups(np.array([2, 5, 8, 8, 16]))
    x = scale * rng.normal(size=groups.total)
    got = jackknife_ess(x, groups)
    want = [by_definition(np.array(row)) for row in groups.split(x)]
    np.testing.assert_allclose(got, want, rtol=0, atol=16 * of_weights("float64", 16, 8))


def test_weights_of_zero_and_groups_without_a_value():
    groups = Groups.equal(5, 4)
    inf = np.inf
    rows = [[0, 1, 2, -inf], [0, -inf, -inf, -inf], [-inf] * 4, [0, 1, np.nan, 2], [0, 1, inf, 2]]
    got = jackknife_ess(np.array(rows, dtype=float).ravel(), groups)
    want = [by_definition(np.array(row, dtype=float)) for row in rows[:2]]
    assert got[:2] == pytest.approx(want, abs=double(64))
    assert np.isnan(got[2:]).all()


def test_counts_add_and_give_the_order_statistics(rng):
    values = rng.normal(0.5, 0.4, size=90)
    whole = EssCounts.of(values)
    pooled = EssCounts.of(values[:33]) + EssCounts.of(values[33:])
    assert pooled == whole == EssCounts.from_dict(json.loads(json.dumps(whole.to_dict())))
    for share in (0.1, 0.5):
        want = np.clip(quantile_interval(values, share), 0, 1)
        np.testing.assert_allclose(whole.interval(share), want, rtol=0, atol=1 / CELLS)


def test_too_few_bound_nothing():
    assert EssCounts().interval(0.5) == (0.0, 1.0)
    assert EssCounts.of(np.array([0.5, np.nan])).interval(0.5) == (0.0, 1.0)


def test_counts_are_of_the_groups_that_moments_are_of(rng):
    groups = Groups(np.array([8, 8, 3, 8]))
    x = rng.normal(size=groups.total)
    x[:8] = 1.0
    assert len(jackknife_counts(x, groups, constant="blind")) == 2
    ones = jackknife_counts(x, groups, constant="one")
    assert len(ones) == 3
    assert ones.counts[CELLS] >= 1
