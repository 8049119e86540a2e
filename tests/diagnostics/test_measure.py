"""One batch measured: the record says what a loop over contexts says, and nothing more."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tod.base import DataError, Groups, to_numpy
from tod.candidates import Labels
from tod.diagnostics import (
    Coverage,
    Drift,
    Mismatch,
    ess_rel,
    fit_tail,
    mean_rho,
    measure,
    target_policy,
)
from tod.diagnostics.coverage import missing_mass
from tolerance import double, of_weights

ETA = 2.0
NEAR = of_weights("float64", 8, 2 * ETA)
"""Contexts of eight, log-weights within η and some noise."""
TAIL = 240 // 5
NEAR_KHAT = double(TAIL + 35, 100 * TAIL)
"""k̂ reads exceedances, which cancel to a hundredth, and the M-th power of their profile."""
NEAR_Z = of_weights("float64", 256, 1.0) / 1e-3
"""z reads how far mean ρ is from 1, some 1e-3."""


@pytest.fixture
def run(rng):
    """A skewed binary batch: contexts of 8, some of 4 and 1, one invalid, one all-pass."""
    sizes = np.array([8] * 30 + [4] * 6 + [1] * 3)
    contexts = Groups(rng.permutation(sizes))
    utility = (rng.random(contexts.total) < 0.35).astype(float)
    starts = contexts.offsets[:-1]
    eights = np.flatnonzero(contexts.sizes == 8)
    utility[starts[eights[0]] : starts[eights[0]] + 8] = 1
    utility[starts[eights[1]] : starts[eights[1]] + 8] = 0
    log_w = ETA * utility + rng.normal(size=contexts.total) * 0.3
    log_w[starts[eights[2]] + 3] = np.nan
    log_r = rng.normal(size=contexts.total) * 0.2
    return contexts, utility, log_w, log_r


def everything(run, backend=None):
    contexts, utility, log_w, log_r = run
    make = backend.make if backend else np.asarray
    answers = (np.arange(contexts.total) * 7 % 5).astype(np.int64)
    return measure(
        make(log_w),
        make(ETA * utility),
        contexts,
        utility=make(utility),
        log_r=make(log_r),
        answers=answers,
    )


def test_per_context_values_are_those_of_a_loop(run, backend):
    contexts, utility, log_w, log_r = run
    near = backend.of_weights(8, np.nanmax(np.abs(log_w)))
    got = everything(run, backend)
    for c, (a, b) in enumerate(zip(contexts.offsets, contexts.offsets[1:], strict=False)):
        w = np.exp(log_w[a:b])
        u, k = utility[a:b], b - a
        expected = {
            "k": k,
            "ess": w.sum() ** 2 / (w**2).sum(),
            "ess_rel": w.sum() ** 2 / (w**2).sum() / k,
            "max_weight": w.max() / w.sum(),
            "top_mass": np.sort(w)[-2:].sum() / w.sum(),
            "log_w_variance": log_w[a:b].var(ddof=1) if k > 1 else np.nan,
            "log_z": np.log(w.mean()),
            "utility_mean": u.mean(),
            "utility_max": u.max(),
            "target_policy": w.sum() ** 2
            / np.exp(log_r[a:b]).sum()
            / (w**2 / np.exp(log_r[a:b])).sum()
            if k > 1
            else np.nan,
        }
        if np.isnan(w).any():
            expected["max_weight"] = expected["top_mass"] = np.nan
        for name, value in expected.items():
            assert getattr(got, name)[c] == pytest.approx(value, rel=near, abs=near, nan_ok=True), (
                name
            )


def test_counts_are_disjoint_and_complete(run, backend):
    contexts = everything(run, backend).summary().contexts
    assert contexts.total == 39
    assert contexts.singleton == 3
    assert contexts.invalid == 1
    assert contexts.all_pass >= 1
    assert contexts.all_fail >= 1
    assert contexts.zero_information == contexts.all_pass + contexts.all_fail
    parts = contexts.informative, contexts.zero_information, contexts.singleton, contexts.invalid
    assert sum(parts) == contexts.total
    assert contexts.candidates_per_context == {"min": 1, "median": 8, "max": 8}


def test_quantiles_read_informative_contexts_only(run):
    got = everything(run)
    chosen = got.informative & (got.k == 8)
    summary, x = got.summary(), np.sort(got.ess_rel[chosen])
    n = len(x)
    assert summary.overlap.contexts == n < got.informative.sum()
    assert summary.ess_rel.median == x[math.ceil(n / 2) - 1]
    assert summary.ess_rel.q10 == x[math.ceil(n / 10) - 1]
    assert summary.ess_rel.mean == pytest.approx(x.mean())
    low, high = summary.ess_rel.median_ci90
    assert low <= summary.ess_rel.median <= high
    for name in ("top_mass", "max_weight", "log_w_variance"):
        middle = np.quantile(getattr(got, name)[chosen], 0.5, method="inverted_cdf")
        assert getattr(summary.tails, f"{name}_median") == middle
    rows = got.informative[run[0].owner]
    scaled = np.concatenate(
        [
            np.log(len(p) * np.exp(p) / np.exp(p).sum())
            for p in np.split(run[2], run[0].offsets[1:-1])
        ]
    )
    assert summary.tails.pareto_k_pooled == pytest.approx(fit_tail(scaled[rows]).k, abs=NEAR_KHAT)


def test_legs_are_medians_at_the_most_common_k(run):
    contexts, _, log_w, log_r = run
    got = everything(run)
    overlap = got.summary().overlap
    eights = got.informative & (contexts.sizes == 8)
    leg = target_policy(log_w, log_r, contexts)[eights]
    assert overlap.k == 8
    middle = np.quantile(leg, 0.5, method="inverted_cdf")
    assert overlap.target_policy == pytest.approx(middle, rel=NEAR)
    low = np.quantile(leg, 0.1, method="inverted_cdf")
    assert overlap.q10["target_policy"] == pytest.approx(low, rel=NEAR)
    readable = (contexts.sizes == 8) & ~np.isnan(got.ess)
    policy = ess_rel(log_r, contexts)[readable]
    median = np.quantile(policy, 0.5, method="inverted_cdf")
    assert overlap.policy_proposal == pytest.approx(median, rel=NEAR)
    assert overlap.minimum == min(
        overlap.target_proposal, overlap.policy_proposal, overlap.target_policy
    )
    assert overlap.declared == ()
    assert overlap.unknown == 0


def test_no_quantile_mixes_unequal_k(rng):
    """One law at K = 4 and 32 reads differently at each, and a mixture would read neither."""
    contexts = Groups(rng.permutation(np.array([4] * 38 + [32] * 22)))
    x = 1.2 * rng.normal(size=contexts.total)
    found = measure(x, x, contexts, log_r=np.zeros_like(x)).summary()
    alone, rows = contexts.take(np.flatnonzero(contexts.sizes == 4))
    fours = measure(x[rows], x[rows], alone, log_r=np.zeros(len(rows))).summary()
    assert found.overlap == fours.overlap
    assert found.ess_rel == fours.ess_rel
    assert found.overlap.target_proposal == found.ess_rel.median
    assert found.ess_rel.median != np.median(ess_rel(x, contexts))
    assert replace(found.tails, pareto_k_pooled=None) == replace(fours.tails, pareto_k_pooled=None)
    assert found.contexts.informative == 60
    assert found.overlap.contexts == 38


def test_legs_are_not_read_at_the_largest_k(rng):
    contexts = Groups(np.array([4] * 9 + [32] * 2 + [2] * 3))
    x = rng.normal(size=contexts.total)
    overlap = measure(x, x, contexts).summary().overlap
    assert overlap.k == 4
    fours = ess_rel(x, contexts)[:9]
    assert overlap.target_proposal == pytest.approx(np.median(fours), rel=NEAR)
    tied = measure(x[36:], x[36:], Groups(np.array([32, 32, 2, 2, 1, 1]))).summary().overlap
    assert tied.k == 32


def test_coverage_is_measured_where_it_can_be(run):
    contexts, utility, log_w, log_r = run
    coverage = everything(run).summary().coverage
    best = np.array([p.max() for p in np.split(utility, contexts.offsets[1:-1])])
    sound = ~np.isnan(np.array([p.sum() for p in np.split(log_w, contexts.offsets[1:-1])]))
    assert coverage.pass_at_k == pytest.approx(best[sound].mean())
    assert coverage.mean_rho == pytest.approx(np.exp(log_r).mean())
    assert coverage.mean_rho_z == pytest.approx(mean_rho(log_r, contexts).z)
    answers = (np.arange(contexts.total) * 7 % 5).astype(np.int64)
    informative = everything(run).informative
    mass = missing_mass(log_w, answers, contexts)[informative].mean()
    assert coverage.missing_mass == pytest.approx(mass)
    assert coverage.reverse_ess is None


def test_what_was_not_recorded_is_none(run):
    contexts, utility, log_w, _ = run
    summary = measure(log_w, ETA * utility, contexts).summary()
    assert summary.overlap.policy_proposal is None
    assert summary.overlap.target_policy is None
    assert summary.overlap.minimum == summary.overlap.target_proposal
    assert summary.coverage == Coverage()
    assert summary.contexts.all_pass is None
    assert (summary.mismatch, summary.activation, summary.entropy) == (None, None, None)


def test_on_policy_is_declared_not_measured(run):
    contexts, utility, log_w, log_r = run
    declared = ("policy_proposal",)
    overlap = measure(log_w, ETA * utility, contexts, legs_declared=declared).summary().overlap
    assert overlap.policy_proposal == 1.0
    assert overlap.target_policy == overlap.target_proposal
    assert overlap.declared == ("policy_proposal", "target_policy")
    measured = measure(log_w, ETA * utility, contexts, log_r=log_r, legs_declared=declared)
    assert measured.summary().overlap.declared == ()
    assert measured.summary().overlap.policy_proposal < 1


def test_at_test_time_two_legs_do_not_apply(run):
    contexts, utility, log_w, log_r = run
    none = ("policy_proposal", "target_policy")
    for r in (None, log_r):
        overlap = (
            measure(log_w, ETA * utility, contexts, log_r=r, legs_not_applicable=none)
            .summary()
            .overlap
        )
        assert overlap.not_applicable == none
        assert (overlap.policy_proposal, overlap.target_policy) == (None, None)
        assert overlap.minimum == overlap.target_proposal


def test_all_fail_batch_has_no_quantile():
    """ESS_rel is 1 everywhere, and the record refuses to say so."""
    contexts = Groups.equal(20, 8)
    zeros = np.zeros(160)
    got = measure(zeros, zeros, contexts, utility=zeros)
    summary = got.summary()
    assert got.ess_rel.tolist() == [1.0] * 20
    assert (summary.ess_rel.median, summary.overlap.minimum) == (None, None)
    assert summary.contexts.all_fail == summary.contexts.zero_information == 20
    assert summary.coverage.pass_at_k == 0.0


def test_policy_log_probs_unusable_in_some_contexts(run):
    contexts, utility, log_w, log_r = run
    log_r = log_r.copy()
    eights = np.flatnonzero((contexts.sizes == 8) & everything(run).informative)
    log_r[contexts.offsets[eights[0]]] = np.nan
    log_r[contexts.owner == eights[1]] = -np.inf  # π gives this context nothing: a fact, ρ = 0
    overlap = measure(log_w, ETA * utility, contexts, log_r=log_r).summary()
    assert overlap.overlap.unknown == 2
    keep = contexts.owner != eights[0]
    assert overlap.coverage.mean_rho == pytest.approx(np.exp(log_r[keep]).mean())


def test_overflowing_statistics_are_none_not_infinite():
    contexts = Groups.equal(2, 2)
    log_w = np.array([1e300, -1e300, 1e300, 0.0])
    got = measure(log_w, log_w, contexts)
    assert got.log_w_variance.tolist() == [np.inf, np.inf]
    json.dumps(got.summary().to_dict(), allow_nan=False)
    assert got.summary().tails.log_w_variance_median is None


def test_parts_are_handed_in(run):
    got = everything(run)
    coverage = Coverage(reverse_ess=0.4, pass_at_k=0.9)
    drift, gap = Drift(ref=0.2), Mismatch(k1=0.1)
    summary = got.summary(
        coverage=coverage, drift=drift, mismatch=gap, staleness=gap, activation=0.1, entropy=2.0
    )
    assert summary.coverage.reverse_ess == 0.4
    assert summary.coverage.pass_at_k == 0.9
    assert summary.coverage.mean_rho == got.summary().coverage.mean_rho
    assert (summary.drift, summary.mismatch, summary.staleness) == (drift, gap, gap)
    assert (summary.activation, summary.entropy) == (0.1, 2.0)


def test_rows(run):
    got = everything(run)
    rows = got.rows()
    assert list(rows) == [
        *("step", "context", "k", "ess", "ess_rel", "max_weight", "top_mass"),
        *("log_w_variance", "log_z", "utility_mean", "utility_max", "class"),
    ]
    assert {len(column) for column in rows.values()} == {39}
    assert rows["step"] == [None] * 39
    assert set(rows["class"]) == {"informative", "zero_information", "singleton", "invalid"}
    names = tuple(f"prompt {c}" for c in range(39))
    labelled = got.rows(Labels(context=names, step=np.full(39, 3)))
    assert labelled["context"] == list(names)
    assert labelled["step"].tolist() == [3] * 39
    bare = measure(run[2], None, run[0]).rows()
    assert bare["utility_mean"] == [None] * 39


def test_permuting_contexts_permutes_rows_and_keeps_the_record(run, rng):
    contexts, utility, log_w, log_r = run
    order = rng.permutation(len(contexts))
    moved, rows = contexts.take(order)
    a = measure(log_w, ETA * utility, contexts, utility=utility, log_r=log_r)
    b = measure(log_w[rows], ETA * utility[rows], moved, utility=utility[rows], log_r=log_r[rows])
    np.testing.assert_allclose(b.ess, a.ess[order], rtol=NEAR)
    one, two = a.summary(), b.summary()
    assert one.contexts == two.contexts
    assert one.ess_rel.median == pytest.approx(two.ess_rel.median, rel=NEAR)
    assert one.overlap.minimum == pytest.approx(two.overlap.minimum, rel=NEAR)
    assert one.coverage.mean_rho_z == pytest.approx(two.coverage.mean_rho_z, rel=NEAR_Z)


def test_a_constant_per_context_moves_only_log_z(run, rng):
    contexts, utility, log_w, _ = run
    shift = np.round(rng.normal(size=len(contexts)) * 40)
    a = measure(log_w, ETA * utility, contexts)
    b = measure(log_w + contexts.spread(shift), ETA * utility, contexts)
    np.testing.assert_allclose(b.ess, a.ess, rtol=of_weights("float64", 8, 160))
    np.testing.assert_allclose(
        b.log_z - a.log_z, np.where(np.isnan(a.log_z), np.nan, shift), rtol=0, atol=double(16, 160)
    )
    assert b.codes.tolist() == a.codes.tolist()


def test_no_contexts():
    summary = measure(np.zeros(0), None, Groups(np.zeros(0, np.int64))).summary()
    assert summary.contexts.total == 0
    assert summary.ess_rel.median is None


def test_bad_input(run):
    contexts, utility, log_w, _ = run
    with pytest.raises(DataError, match="one value per rollout"):
        measure(log_w, utility[:-1], contexts)
    with pytest.raises(DataError, match="no leg 'mu'"):
        measure(log_w, utility, contexts, legs_declared=("mu",))


def test_backends_give_one_record(run, backend):
    a, b = everything(run).summary().to_dict(), everything(run, backend).summary().to_dict()
    # of the record the least certain: k̂ of a tail, as far as the rounded weights fix it
    near = backend.rounding(TAIL + 35, 100 * TAIL)

    def compare(x, y):
        if isinstance(x, dict):
            assert x.keys() == y.keys()
            for key in x:
                compare(x[key], y[key])
        elif isinstance(x, list):
            assert len(x) == len(y)
            for left, right in zip(x, y, strict=True):
                compare(left, right)
        elif isinstance(x, float):
            assert y == pytest.approx(x, rel=near)
        else:
            assert x == y

    compare(a, b)
    assert to_numpy(everything(run, backend).ess).dtype == np.float64


def test_a_part_is_the_batch_of_its_contexts(run):
    contexts, utility, log_w, log_r = run
    offsets = contexts.offsets
    for at in (slice(0, 20), slice(7, 39)):
        rows = slice(offsets[at.start], offsets[at.stop])
        alone = measure(
            log_w[rows],
            ETA * utility[rows],
            Groups(contexts.sizes[at]),
            utility=utility[rows],
            log_r=log_r[rows],
        )
        whole = measure(log_w, ETA * utility, contexts, utility=utility, log_r=log_r)
        part = whole.part(at, log_w, contexts).summary().to_dict()

        def same(x, y):
            if isinstance(x, dict):
                return x.keys() == y.keys() and all(same(x[name], y[name]) for name in x)
            return x == (pytest.approx(y, rel=NEAR) if isinstance(y, float) else y)

        assert same(part, alone.summary().to_dict())
