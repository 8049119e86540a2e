"""The curve against enumeration, SIR's law by χ², and what happens outside the support."""

import tracemalloc
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import chisquare

from tod.base import Groups
from tod.operators import (
    BestOfK,
    MajorityVote,
    MinimumBayesRisk,
    RejectionSampling,
    Resample,
    SelectionPool,
    WeightedVote,
)
from tod.reranking.answers import similarity
from tod.reranking.curve import Table, outcomes, sizes
from tod.reranking.means import mean_over_contexts
from tod.reranking.selecting import (
    in_parts,
    select,
    select_by_pairs,
    selection_uniforms,
)
from tolerance import chance, double, of_weights, printed

MU, R = np.array([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 2.0])
RULES = [
    BestOfK(),
    Resample(),
    RejectionSampling(log_bound=1.5),
    MajorityVote(),
    WeightedVote(),
    MinimumBayesRisk(),
]


def table(contexts, size, seed=0):
    rng = np.random.default_rng(seed)
    utility = np.round(rng.random((contexts, size)), 1)
    codes = rng.integers(-1, 3, (contexts, size))
    texts = tuple(tuple(f"a{c} b{i % 2} c" for i, c in enumerate(row)) for row in codes)
    log_w = rng.normal(0, 1.5, (contexts, size))
    return Table(utility, utility, log_w, codes, texts)


def sir_law(k):
    """E[w̄] over all candidate sets of size k drawn from μ, at η = 1 and b = μ."""
    sets = np.array(list(product(range(3), repeat=k)))
    weights = np.exp(R[sets]) / np.exp(R[sets]).sum(axis=1, keepdims=True)
    chance = MU[sets].prod(axis=1)
    return np.array([(chance[:, None] * weights * (sets == i)).sum() for i in range(3)])


@pytest.mark.parametrize("k", [2, 5])
def test_sir_has_the_analytic_self_normalised_law(k, rng):
    n = 20_000
    levels = rng.choice(3, size=(n, k), p=MU)
    contexts = Groups.equal(n, k)
    pool = SelectionPool(contexts, R[levels].ravel(), log_w=R[levels].ravel())
    draws = selection_uniforms(5, contexts.owner, contexts.position)
    chosen = select(Resample(), pool, draws)
    seen = np.bincount(levels.ravel()[chosen.rows], minlength=3)
    law = sir_law(k)
    if k == 2:
        np.testing.assert_allclose(
            law, [0.3545230108, 0.3415905442, 0.3038864450], rtol=0, atol=printed(10)
        )
    assert chisquare(seen, n * law).pvalue > 1e-3
    other = MU * np.exp(R) / (MU * np.exp(R)).sum()
    assert chisquare(seen, n * other).pvalue < 1e-6, "the test can tell it from the target itself"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
@pytest.mark.parametrize("k", [1, 3, 6])
def test_outcomes_are_means_over_all_subsets(rule, k, rng):
    """Every subset in as many random orders and draws, each selected from by the rule itself."""
    full = table(1, 6, seed=4)
    found = outcomes(rule, full, k, count=6000, seed=2)
    every = np.array(list(combinations(range(6), k)))
    rows = rng.permuted(np.repeat(every, 3000 // len(every), axis=0), axis=1)
    grid = similarity(full.texts[0], "token_f1")
    pool = SelectionPool(
        Groups.equal(len(rows), k),
        full.value[0][rows].ravel(),
        log_w=full.log_w[0][rows].ravel(),
        answers=full.answers[0][rows].ravel(),
        similarity=grid[rows[:, :, None], rows[:, None, :]].ravel(),
    )
    chosen = rule.select(pool, rng.random(rows.size))
    utility = np.where(chosen.accepted, full.utility[0][rows].ravel()[chosen.rows], 0.0)
    expected = np.stack([chosen.accepted, utility])
    spread = expected.std(axis=1) * np.sqrt(1 + len(rows) / 6000)  # both are draws
    near = [chance(s, len(rows)) + double(6000) for s in spread]
    assert found.accepted[0] == pytest.approx(expected[0].mean(), abs=near[0])
    assert found.utility[0] == pytest.approx(expected[1].mean(), abs=near[1])
    assert found.exact == isinstance(rule, BestOfK)


def test_one_candidate_is_the_mean_and_all_of_them_are_resampled_exactly():
    full = table(7, 5)
    for rule in (BestOfK(), Resample(), WeightedVote(), MinimumBayesRisk()):
        known = full.answers >= 0 if isinstance(rule, WeightedVote) else np.ones((7, 5), bool)
        found = outcomes(rule, full, 1, count=1, seed=0)
        np.testing.assert_allclose(found.utility, (full.utility * known).mean(axis=1))
        np.testing.assert_allclose(found.accepted, known.mean(axis=1))
    whole = outcomes(Resample(), full, 5, count=3, seed=0)
    weights = np.exp(full.log_w) / np.exp(full.log_w).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        whole.utility,
        (weights * full.utility).sum(axis=1),
        rtol=0,
        atol=of_weights("float64", 5, 5.0),
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_parts_change_nothing(rule, monkeypatch):
    full = table(9, 6)
    whole = outcomes(rule, full, 2, count=5, seed=1)
    monkeypatch.setattr("tod.reranking.selecting.AT_ONCE", 1)
    parts = outcomes(rule, full, 2, count=5, seed=1)
    np.testing.assert_array_equal(whole.utility, parts.utility)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_a_context_outside_the_support_puts_out_nothing_and_ends_nothing(rule):
    utility = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    log_w = np.array([[-np.inf, 0.0], [-np.inf, -np.inf], [0.0, 0.0]])
    full = Table(utility, utility, log_w, np.zeros((3, 2), int), (("a", "b"),) * 3)
    found = outcomes(rule, full, 2, count=4, seed=0)
    hopeless = rule.needs_anchors
    assert found.accepted[1] == (0.0 if hopeless else 1.0)
    if hopeless:
        assert found.utility[1] == 0.0
        pool = SelectionPool(
            Groups.equal(3, 2), utility.ravel(), log_w.ravel(), np.zeros(6, int), np.ones(12)
        )
        chosen = select(rule, pool, np.full(6, 0.0))
        assert chosen.accepted.tolist() == [True, False, True]
        assert chosen.rows[0] in (
            (0, 1) if isinstance(rule, MinimumBayesRisk | WeightedVote) else (1,)
        )
        assert chosen.rows[2] in (4, 5)


def test_pass_rates_are_unknown_outside_the_unit_interval():
    full = table(3, 4)
    beyond = Table(full.value, full.utility * 3, full.log_w, full.answers)
    assert outcomes(BestOfK(), beyond, 2, count=1, seed=0).passed is None
    assert outcomes(BestOfK(), full, 2, count=1, seed=0).passed is not None


def test_sizes_double_and_end_with_all():
    assert sizes(1) == [1]
    assert sizes(8) == [1, 2, 4, 8]
    assert sizes(12) == [1, 2, 4, 8, 12]


def test_errors_are_clustered_by_context(rng):
    values = rng.normal(size=40)
    found = mean_over_contexts(values)
    assert found["se"] == pytest.approx(values.std(ddof=1) / np.sqrt(40))
    weight = rng.random(40)
    total = weight * (values + 3)
    ratio = mean_over_contexts(total, weight)
    assert ratio["value"] == pytest.approx(total.sum() / weight.sum())
    left = [np.delete(total, i).sum() / np.delete(weight, i).sum() for i in range(40)]
    jackknife = np.sqrt(39 / 40 * np.sum((left - np.mean(left)) ** 2))
    assert ratio["se"] == pytest.approx(jackknife, rel=2 / len(total))  # the next order in 1/n
    assert mean_over_contexts(np.zeros(3), np.zeros(3))["value"] is None
    assert mean_over_contexts(np.ones(1))["se"] is None


@pytest.mark.parametrize("k", [1, 3, 8])
def test_a_refusal_is_a_miss_in_the_pass_rate_of_rejection(k, rng):
    """U ∈ {0, 1}, b = μ, M = e^η: one draw is accepted with chance a = p + (1 − p)e^{−η}.

    K of them pass with p/a·(1 − (1 − a)^K), which grows with K: 0.31, 0.47, 0.51. The mean over
    what was put out falls instead, 0.77, 0.69, 0.58, since easy prompts are put out first.
    """
    eta, p = 2.0, np.repeat([0.02, 0.6], 4000)
    utility = (rng.random((8000, 8)) < p[:, None]).astype(float)
    full = Table(utility, utility, eta * utility, np.zeros((8000, 8), int))
    found = outcomes(RejectionSampling(log_bound=eta), full, k, count=4, seed=3)
    a = p + (1 - p) * np.exp(-eta)
    put_out = 1 - (1 - a) ** k
    assert found.passed is not None
    passing = put_out * p / a
    near = [chance(np.sqrt(np.mean(x * (1 - x))), len(p)) for x in (put_out, passing)]
    assert found.accepted.mean() == pytest.approx(put_out.mean(), abs=near[0])
    assert found.passed.mean() == pytest.approx(passing.mean(), abs=near[1])
    among = found.utility.sum() / found.accepted.sum()
    assert among == pytest.approx(passing.sum() / put_out.sum(), abs=sum(near) / put_out.mean())


def test_pairs_of_minimum_risk_are_made_a_few_sets_at_a_time(monkeypatch, rng):
    """4 contexts of 16 sets of 128: all their pairs at once are 1 M numbers in every array."""
    words = rng.choice(["a", "b", "c", "d", "e"], size=(4, 128, 3))
    texts = tuple(tuple(" ".join(line) for line in row) for row in words)
    utility = rng.random((4, 128))
    full = Table(utility, utility, rng.normal(size=(4, 128)), np.zeros((4, 128), int), texts)
    whole = outcomes(MinimumBayesRisk(), full, 128, count=16, seed=0)
    monkeypatch.setattr("tod.reranking.selecting.AT_ONCE", 1 << 14)
    tracemalloc.start()
    parts = outcomes(MinimumBayesRisk(), full, 128, count=16, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(whole.utility, parts.utility)
    assert peak < 4e6


def test_contexts_in_parts_are_all_of_them_once(monkeypatch):
    monkeypatch.setattr("tod.reranking.selecting.AT_ONCE", 10)
    found = [part.tolist() for part in in_parts(np.array([4, 4, 4, 25, 1, 9, 1]))]
    assert found == [[0, 1], [2], [3], [4, 5], [6]]
    assert list(in_parts(np.array([], int))) == []


def test_rules_by_pairs_say_the_same_in_parts(monkeypatch, rng):
    contexts = Groups(np.array([3, 1, 5, 2]))
    texts = [f"a{i % 2} b{i % 3}" for i in range(contexts.total)]
    pool = SelectionPool(
        contexts, rng.random(contexts.total), log_w=rng.normal(size=contexts.total)
    )
    pool.log_w[3] = -np.inf  # the only candidate of its context
    rows = contexts.split(np.array(texts, dtype=object))
    draws = rng.random(contexts.total)

    def pairs(chosen):
        return np.concatenate([similarity(rows[c], "token_f1").ravel() for c in chosen])

    whole = select(MinimumBayesRisk(), replace(pool, similarity=pairs(range(4))), draws)
    for at_once in (1, 12, 1000):
        monkeypatch.setattr("tod.reranking.selecting.AT_ONCE", at_once)
        found = select_by_pairs(MinimumBayesRisk(), pool, draws, pairs)
        assert found.rows.tolist() == whole.rows.tolist()
        assert found.accepted.tolist() == [True, False, True, True]
