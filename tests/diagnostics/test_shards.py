"""Shards of a batch add up to the whole of it, however it is split."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from tod.base import DataError, Groups
from tod.diagnostics import LogCounts, ShardDiagnostics, measure, sum_of_shards
from tod.diagnostics.quantiles import Ordered, quantile
from tod.diagnostics.sketch import ACCURACY
from tolerance import double


def batch(rng, contexts, *, binary=True, answers=False):
    """Log-weights, tilt, log ρ and everything else that `measure` takes, of ragged contexts."""
    sizes = rng.choice([1, 4, 8, 8, 8], size=contexts)
    groups = Groups(sizes)
    utility = (rng.random(groups.total) < 0.4) * 1.0 if binary else rng.normal(size=groups.total)
    log_w = 2 * utility + rng.normal(scale=0.3, size=groups.total)
    log_w[rng.random(groups.total) < 0.01] = -np.inf
    lost = rng.random(contexts) < 0.02
    log_w[groups.spread(lost.astype(float)) > 0] = -np.inf
    log_r = rng.normal(scale=0.1, size=groups.total) - 0.005
    extra = {"answers": rng.integers(3, size=groups.total)} if answers else {}
    return log_w, utility, log_r, groups, extra


def cut(one, start, stop):
    """Some contexts of such a batch, measured and told as a shard."""
    log_w, utility, log_r, groups, extra = one
    rows = slice(groups.offsets[start], groups.offsets[stop])
    part = Groups(groups.sizes[start:stop])
    some = {name: x[rows] for name, x in extra.items()}
    measured = measure(
        log_w[rows], utility[rows], part, utility=utility[rows], log_r=log_r[rows], **some
    )
    return measured, ShardDiagnostics.of(measured, log_w[rows], part)


def numbers(record, path=""):
    """Every number of nested plain data, by path."""
    if isinstance(record, dict):
        return {p: x for n, v in record.items() for p, x in numbers(v, f"{path}.{n}").items()}
    if isinstance(record, list):
        return {p: x for n, v in enumerate(record) for p, x in numbers(v, f"{path}.{n}").items()}
    return {path: record}


EXACT = ("contexts", "coverage", "not_applicable", "declared", "unknown", "pareto_k_pooled", "mean")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("answers", [True, False])
def test_summary_of_shards_is_that_of_the_whole(rng, binary, answers):
    one = batch(rng, 600, binary=binary, answers=answers)
    ends = [0, 1, 130, 130, 400, 600]
    shards = [cut(one, a, b)[1] for a, b in itertools.pairwise(ends)]
    whole, alone = cut(one, 0, 600)
    expected = numbers(whole.summary().to_dict())
    seen = numbers(sum_of_shards(shards).summary().to_dict())
    assert seen.keys() == expected.keys()
    for path, value in expected.items():
        if isinstance(value, float):
            exact = any(name in path for name in EXACT)
            bound = double(one[3].total, 16) if exact else ACCURACY + double(8)
            assert seen[path] == pytest.approx(value, rel=bound, abs=0), path
        else:
            assert seen[path] == value, path
    assert alone.summary() == sum_of_shards([alone]).summary()


def test_quantiles_do_not_depend_on_the_split(rng):
    one = batch(rng, 400)
    halves = sum_of_shards([cut(one, 0, 200)[1], cut(one, 200, 400)[1]]).summary()
    eighths = sum_of_shards([cut(one, at, at + 50)[1] for at in range(0, 400, 50)][::-1]).summary()
    assert replace(halves.ess_rel, mean=None) == replace(eighths.ess_rel, mean=None)
    assert halves.overlap == eighths.overlap
    assert halves.tails == eighths.tails


def test_a_failure_of_another_value_makes_the_utility_graded():
    sizes = Groups.equal(2, 2)
    shards = []
    for fail in (0.0, -1.0):
        u = np.array([1.0, fail, fail, 1.0])
        shards.append(ShardDiagnostics.of(measure(u, u, sizes, utility=u), u, sizes))
    assert sum_of_shards(shards[:1]).summary().coverage.pass_at_k == 1.0
    assert sum_of_shards(shards).summary().coverage.pass_at_k is None


def test_constant_rho_that_is_not_one_has_no_error_to_compare_with():
    """Two-pass sums about the mean survive the addition: their spread is exactly zero."""
    sizes = Groups.equal(100, 4)
    log_r = np.full(400, 3.0)
    u = np.tile([1.0, 0, 0, 0], 100)
    shard = ShardDiagnostics.of(measure(u, u, sizes, utility=u, log_r=log_r), u, sizes)
    assert sum_of_shards([shard, shard, shard]).rho.mean_rho().z == math.inf


def test_shards_measured_in_another_way_are_refused(rng):
    log_w, utility, log_r, groups, _ = batch(rng, 50)
    with_rho = ShardDiagnostics.of(measure(log_w, utility, groups, log_r=log_r), log_w, groups)
    without = ShardDiagnostics.of(measure(log_w, utility, groups), log_w, groups)
    with pytest.raises(DataError, match="policy_proposal"):
        sum_of_shards([with_rho, without])
    with pytest.raises(DataError, match="no shard"):
        sum_of_shards([])


@pytest.mark.parametrize("accuracy", [0.1, 0.01, 1e-3])
def test_a_quantile_is_no_further_off_than_declared(rng, accuracy):
    x = np.concatenate([[0.0, 0.0], np.exp(rng.normal(scale=5, size=997)), [1.0]])
    counts = LogCounts.of(x, accuracy)
    for p in (0.0, 0.001, 0.1, 0.5, 0.9, 1.0):
        assert counts.quantile(p) == pytest.approx(quantile(x, p), rel=accuracy + double(64), abs=0)
    assert counts.quantile(1.0) == x.max()
    for ours, exact in zip(counts.interval(0.1), Ordered(x).interval(0.1), strict=True):
        assert ours == pytest.approx(exact, rel=accuracy + double(64), abs=0)


def test_unknown_and_infinite_values_have_counts_of_their_own():
    counts = LogCounts.of(np.array([np.nan, np.inf, 0.5]))
    assert (len(counts), counts.unknown, counts.infinite) == (2, 1, 1)
    assert counts.quantile(0.5) == 0.5
    assert counts.quantile(1.0) is None
    assert LogCounts.of(np.empty(0)).quantile(0.5) is None
    with pytest.raises(DataError, match="negative"):
        LogCounts.of(np.array([-1.0]))
    with pytest.raises(DataError, match="accuracy"):
        counts + LogCounts.of(np.array([1.0]), 0.5)
