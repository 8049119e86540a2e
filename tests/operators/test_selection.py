"""Selection at test time: laws by enumeration, reference values, ties, edges, refusals."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from tod.base import DataError, Groups, SpecError
from tod.operators import (
    BestOfK,
    MajorityVote,
    MinimumBayesRisk,
    Operator,
    PolicyGradient,
    RejectionSampling,
    Resample,
    SelectionPool,
    WeightedVote,
)
from tod.operators.selection import (
    best,
    first_accepted,
    minimum_risk,
    resample,
    resample_without_replacement,
    vote,
)
from tolerance import chance, double, printed

MU, R = np.array([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 2.0])
SETS = {k: np.array(list(product(range(3), repeat=k))) for k in (2, 4)}
OMEGA = np.array([0, -0.5, -1.2, -3])


def _law(k, rows_of):
    """Law of the selected level over every candidate set of size K, weighted by its probability."""
    sets = SETS[k]
    contexts = Groups.equal(len(sets), k)
    levels = sets.reshape(-1)
    chosen = levels[rows_of(R[levels], contexts)]
    return np.bincount(chosen, weights=MU[sets].prod(axis=1), minlength=3)


def test_law_of_best_of_four(rng):
    law = _law(4, lambda value, contexts: best(value, contexts, rng.random(len(value))))
    np.testing.assert_allclose(law, [0.0625, 0.3471, 0.5904], rtol=0, atol=double(3**4))
    np.testing.assert_allclose(np.cumsum(law), np.cumsum(MU) ** 4, rtol=0, atol=double(3**4))
    kl = (law * np.log(law / MU)).sum()
    assert kl == pytest.approx(0.5597505604, abs=printed(10))
    assert kl < math.log(4) - 3 / 4 == pytest.approx(0.6362943611, abs=printed(10))


def test_law_of_resampling_two():
    """SIR at η = 1: E[w̄] over the nine pairs; every u of a fine grid stands for itself."""
    points = 2000
    grid = (np.arange(points) + 0.5) / points
    law = np.mean(
        [_law(2, lambda v, c, u=u: resample(v, c, np.full(len(v), u))) for u in grid], axis=0
    )
    # half a part in 2000 of probability a boundary, of the six sets of nine that have one inside
    near = (1 - (MU**2).sum()) / (2 * points) + printed(10)
    np.testing.assert_allclose(law, [0.3545230108, 0.3415905442, 0.3038864450], rtol=0, atol=near)
    w = np.exp(R)
    exact = sum(
        MU[i] * MU[j] * (np.eye(3)[i] * w[i] + np.eye(3)[j] * w[j]) / (w[i] + w[j])
        for i, j in SETS[2]
    )
    np.testing.assert_allclose(
        exact, [0.3545230108, 0.3415905442, 0.3038864450], rtol=0, atol=printed(10)
    )


def test_resampling_by_random_numbers_follows_the_weights(rng):
    contexts = Groups.equal(4000, 4)
    u = rng.random(contexts.total)
    rows = resample(np.tile(OMEGA, 4000), contexts, u)
    weight = np.exp(OMEGA) / np.exp(OMEGA).sum()
    assert chisquare(np.bincount(rows % 4, minlength=4), 4000 * weight).pvalue > 1e-3


def test_resampling_never_draws_a_weight_of_zero():
    contexts, log_w = Groups.equal(1, 4), np.array([-np.inf, 0.0, 0.0, -np.inf])
    for u in (0.0, 0.25, 0.5, 0.75, np.nextafter(1.0, 0.0)):
        assert resample(log_w, contexts, np.full(4, u))[0] in (1, 2)
    assert resample(log_w, contexts, np.zeros(4))[0] == 1


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=6), st.floats(0, 0.999))
def test_a_constant_changes_no_selection(log_w, u):
    contexts, x = Groups.equal(1, len(log_w)), np.array(log_w)
    uniforms = np.full(len(log_w), u)
    for select in (
        lambda x: resample(x, contexts, uniforms),
        lambda x: first_accepted(x, contexts, uniforms, None).rows,
    ):
        assert select(x - 256.0).tolist() == select(x - 256.0 + 0.0).tolist()
    assert best(x, contexts, uniforms)[0] == best(2 * x, contexts, uniforms)[0]


def test_without_replacement_is_gumbel_top_k(rng):
    """P(first = i) = w̄_i, P(second = j | i) = w̄_j/(1 − w̄_i)."""
    n, w = 6000, np.exp(OMEGA[:3]) / np.exp(OMEGA[:3]).sum()
    contexts = Groups.equal(n, 3)
    rows = resample_without_replacement(np.tile(OMEGA[:3], n), contexts, rng.random(3 * n), 2)
    pairs = (rows % 3).reshape(n, 2)
    orders = [(i, j) for i in range(3) for j in range(3) if i != j]
    observed = [((pairs == order).all(axis=1)).sum() for order in orders]
    expected = [n * w[i] * w[j] / (1 - w[i]) for i, j in orders]
    assert sum(observed) == n
    assert chisquare(observed, expected).pvalue > 1e-3
    cut = np.array([0.0, -np.inf, 0.0])
    drawn = resample_without_replacement(cut, Groups.equal(1, 3), np.array([0.0, 0.9, 0.3]), 2)
    assert sorted(drawn.tolist()) == [0, 2]
    with pytest.raises(DataError, match="has 2 rollouts of positive weight and 3"):
        resample_without_replacement(cut, Groups.equal(1, 3), np.full(3, 0.5), 3)


def test_rejection_is_exact_with_a_bound(rng):
    """Acceptance Z/M = .378 at M = e², and the law of what is accepted is the tilt."""
    z = (MU * np.exp(R)).sum()
    assert z / math.e**2 == pytest.approx(0.3780314740, abs=printed(10))
    n = 9000
    levels = rng.choice(3, size=n, p=MU)
    got = first_accepted(R[levels], Groups.equal(n, 1), rng.random(n), 2.0)
    q = MU * np.exp(R) / z
    np.testing.assert_allclose(
        q, [0.1790000206, 0.2919435019, 0.5290564775], rtol=0, atol=printed(10)
    )
    assert abs(got.accepted.mean() - z / math.e**2) < chance(0.5, n)
    counts = np.bincount(levels[got.rows[got.accepted]], minlength=3)
    assert chisquare(counts, counts.sum() * q).pvalue > 1e-3
    assert (got.rows[~got.accepted] == -1).all()


def test_rejection_with_too_small_a_bound_is_the_truncated_law(rng):
    n = 9000
    levels = rng.choice(3, size=n, p=MU)
    got = first_accepted(R[levels], Groups.equal(n, 1), rng.random(n), 1.0)
    law = MU * np.minimum(np.exp(R), math.e)
    counts = np.bincount(levels[got.rows[got.accepted]], minlength=3)
    assert chisquare(counts, counts.sum() * law / law.sum()).pvalue > 1e-3


def test_rejection_takes_the_first_and_its_own_maximum():
    contexts = Groups(np.array([3, 2, 1]))
    log_w = np.array([0.0, 1.0, 1.0, -np.inf, 0.0, -np.inf])
    got = first_accepted(log_w, contexts, np.array([0.99, 0.5, 0.0, 0.0, 0.0, 0.0]), None)
    assert got.rows.tolist() == [1, 4, -1]
    assert got.accepted.tolist() == [True, True, False]


def test_votes_of_the_reference_weights():
    """Answers A, B, B, C: A wins by weight, B by count."""
    contexts, answers, u = Groups.equal(1, 4), np.array([0, 1, 1, 2]), np.full(4, 0.5)
    weight = np.exp(OMEGA) / np.exp(OMEGA).sum()
    scores = np.bincount(answers, weights=weight)
    np.testing.assert_allclose(
        scores, [0.5108525673, 0.4637135810, 0.0254338517], rtol=0, atol=printed(10)
    )
    assert vote(OMEGA, answers, contexts, u).rows[0] == 0
    assert vote(0 * OMEGA, answers, contexts, u).rows[0] == 1


def test_votes_of_nothing():
    contexts = Groups(np.array([3, 2, 2]))
    answers = np.array([-1, 5, -1, -1, -1, 3, 3])
    got = vote(np.zeros(7), answers, contexts, np.zeros(7))
    assert got.rows.tolist() == [1, -1, 5]
    assert got.accepted.tolist() == [True, False, True]


@pytest.mark.parametrize("u", [0.0, 0.3, 0.7, 0.999])
def test_ties_are_broken_by_the_uniforms(u):
    contexts = Groups.equal(1, 4)
    uniforms = np.array([u, 0.1, 0.9, 0.2])
    assert best(np.array([1.0, 1.0, 0.0, 1.0]), contexts, uniforms)[0] == (0 if u > 0.2 else 3)
    for codes in ([7, 2, 2, 7], [2, 7, 7, 2]):  # what an answer is called decides nothing
        tied = vote(np.zeros(4), np.array(codes), contexts, uniforms)
        assert tied.rows[0] == (0 if u < 0.5 else 1)


def test_every_tied_candidate_wins_as_often(rng):
    n = 3000
    rows = best(np.tile([1.0, 0.0, 1.0, 1.0], n), Groups.equal(n, 4), rng.random(4 * n)) % 4
    counts = np.bincount(rows, minlength=4)
    assert counts[1] == 0
    assert chisquare(counts[[0, 2, 3]]).pvalue > 1e-3


@given(st.integers(0, 10_000))
def test_minimum_risk_with_exact_match_is_the_vote(seed):
    rng = np.random.default_rng(seed)
    contexts = Groups(rng.integers(1, 6, 3))
    answers, log_w = rng.integers(0, 3, contexts.total), rng.standard_normal(contexts.total)
    u = rng.random(contexts.total)
    blocks = [
        answers[a:b] for a, b in zip(contexts.offsets[:-1], contexts.offsets[1:], strict=True)
    ]
    similarity = np.concatenate([(x[:, None] == x[None, :]).astype(float).ravel() for x in blocks])
    by_risk = minimum_risk(log_w, similarity, contexts, u)
    np.testing.assert_array_equal(answers[by_risk], answers[vote(log_w, answers, contexts, u).rows])


def test_minimum_risk_by_brute_force(rng):
    contexts = Groups(np.array([3, 1, 4]))
    log_w = rng.standard_normal(8)
    blocks = [rng.random((k, k)) for k in contexts.sizes]
    got = minimum_risk(log_w, np.concatenate([b.ravel() for b in blocks]), contexts, np.zeros(8))
    for c, block in enumerate(blocks):
        a, b = contexts.offsets[c : c + 2]
        w = np.exp(log_w[a:b]) / np.exp(log_w[a:b]).sum()
        assert got[c] == a + int(np.argmax(block @ w))


RULES = [
    BestOfK(),
    Resample(),
    RejectionSampling(),
    MajorityVote(),
    WeightedVote(),
    MinimumBayesRisk(),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.kind)
def test_every_rule_selects_one_of_each_context_in_any_library(backend, rule):
    contexts = Groups(np.array([3, 1, 4]))
    rng = np.random.default_rng(0)
    pool = SelectionPool(
        contexts,
        value=backend.make(rng.random(8)),
        log_w=backend.make(rng.standard_normal(8)),
        answers=rng.integers(0, 3, 8),
        similarity=rng.random(26),
    )
    got = rule.select(pool, rng.random(8))
    assert contexts.owner[got.rows].tolist() == [0, 1, 2]
    assert got.accepted.all()
    assert Operator.parse({"action": {"kind": rule.kind}}).action == rule


@pytest.mark.parametrize("rule", RULES[1:], ids=lambda r: r.kind)
def test_what_a_rule_needs_is_named(rule):
    with pytest.raises(SpecError, match=f"selection '{rule.kind}' needs"):
        rule.select(SelectionPool(Groups.equal(1, 2), value=np.zeros(2)), np.zeros(2))


def test_a_context_outside_the_support_is_refused():
    contexts, log_w = Groups.equal(2, 2), np.array([0.0, 0.0, -np.inf, -np.inf])
    for select in (
        lambda: resample(log_w, contexts, np.zeros(4)),
        lambda: vote(log_w, np.zeros(4, int), contexts, np.zeros(4)),
    ):
        with pytest.raises(DataError, match="prompt 1 of 2 has no rollout inside"):
            select()


def test_a_selection_is_no_update():
    with pytest.raises(SpecError, match="'best_of_k' selects at test time"):
        _ = Operator(action=BestOfK()).update
    assert Operator(action=PolicyGradient()).update == PolicyGradient()


def test_groups_of_many_sizes_select_as_each_of_them_alone(rng):
    """What is computed a size at a time is what a plain loop over the groups gives."""
    contexts = Groups(rng.integers(1, 7, 60))
    n = contexts.total
    pool = SelectionPool(
        contexts,
        value=rng.integers(0, 3, n).astype(float),
        log_w=rng.normal(size=n),
        answers=rng.integers(-1, 3, n),
        similarity=rng.random(int((contexts.sizes**2).sum())),
    )
    u = rng.random(n)
    starts = np.concatenate([[0], np.cumsum(contexts.sizes**2)])
    for rule in (*RULES, RejectionSampling(log_bound=0.5)):
        together, chances, strength = rule.select(pool, u), rule.chances(pool), rule.strength(pool)
        for c, (a, b) in enumerate(zip(contexts.offsets[:-1], contexts.offsets[1:], strict=True)):
            alone = SelectionPool(
                Groups.equal(1, b - a),
                value=pool.value[a:b],
                log_w=pool.log_w[a:b],
                answers=pool.answers[a:b],
                similarity=pool.similarity[starts[c] : starts[c + 1]],
            )
            one = rule.select(alone, u[a:b])
            assert together.accepted[c] == one.accepted[0]
            assert not one.accepted[0] or together.rows[c] == a + one.rows[0]
            np.testing.assert_allclose(chances[a:b], rule.chances(alone), rtol=0, atol=double(12))
            np.testing.assert_allclose(strength[a:b], rule.strength(alone), rtol=0, atol=double(12))


def test_chances_are_how_often_a_rule_selects(rng):
    n = 4000
    pool = SelectionPool(
        Groups.equal(n, 4),
        value=np.tile([1.0, 2.0, 2.0, 0.0], n),
        log_w=np.tile(OMEGA, n),
        answers=np.tile([0, 1, 1, 0], n),
        similarity=np.tile(np.eye(4).ravel(), n),
    )
    for rule in (*RULES, RejectionSampling(log_bound=1.0)):
        found = rule.select(pool, rng.random(4 * n))
        seen = np.bincount(found.rows[found.accepted] % 4, minlength=4) / n
        np.testing.assert_allclose(seen, rule.chances(pool)[:4], rtol=0, atol=chance(0.5, n))


def test_the_strength_of_a_vote_is_the_share_of_its_answer():
    pool = SelectionPool(
        Groups.equal(1, 4), np.zeros(4), log_w=OMEGA, answers=np.array([3, -1, 9, 3])
    )
    assert MajorityVote().strength(pool).tolist() == [0.5, 0.0, 0.25, 0.5]
    weight = np.exp(OMEGA) / np.exp(OMEGA).sum()
    expected = [weight[0] + weight[3], 0.0, weight[2], weight[0] + weight[3]]
    np.testing.assert_allclose(WeightedVote().strength(pool), expected, rtol=double(8))
