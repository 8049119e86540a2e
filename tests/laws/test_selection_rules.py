"""Every selection rule: what it puts out follows the law that it states, and nothing else.

`select` draws and `chances` states the exact law given the candidates; the two are compared by a
test of goodness of fit. Members come from the union, their fields from what they declare.
"""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from spec_values import instances, kind_of, members
from tod.base import Groups, SpecError
from tod.operators import SelectionPool, SelectionRule
from tod.operators.operator import Action
from tolerance import of_weights

NEAR = of_weights("float64", 9, 10.0)
RULES = [member for member in members(Action) if issubclass(member, SelectionRule)]
rules = pytest.mark.parametrize("rule", RULES, ids=kind_of)
CONTEXTS = Groups(np.array([4, 1, 6, 3]))
DRAWS = 400
"""Copies of the pool, each with uniforms of its own."""


def pool_of(seed: int, copies: int = 1, order: Any = None) -> SelectionPool:
    """Ties in value, weights and answers; one answer that is none; a symmetric similarity."""
    rng = np.random.default_rng(seed)
    value = rng.integers(0, 3, CONTEXTS.total).astype(float)
    log_w = np.where(rng.random(CONTEXTS.total) < 0.5, value, rng.normal(size=CONTEXTS.total))
    answers = rng.integers(-1, 3, CONTEXTS.total)
    answers[CONTEXTS.offsets[:-1]] = 1  # a context without an answer selects none
    answers[4] = 0
    blocks = [rng.integers(0, 3, (k, k)) / 2 for k in CONTEXTS.sizes]
    if order is not None:
        value, log_w, answers = value[order], log_w[order], answers[order]
        start = np.repeat(CONTEXTS.offsets[:-1], CONTEXTS.sizes)
        local = np.split(order - start, CONTEXTS.offsets[1:-1])
        blocks = [b[np.ix_(i, i)] for b, i in zip(blocks, local, strict=True)]
    similarity = np.concatenate([(b + b.T).ravel() for b in blocks])
    return SelectionPool(
        contexts=Groups(np.tile(CONTEXTS.sizes, copies)),
        value=np.tile(value, copies),
        log_w=np.tile(log_w, copies),
        answers=np.tile(answers, copies),
        similarity=np.tile(similarity, copies),
    )


@rules
@settings(max_examples=4)
@given(data=st.data())
def test_what_is_put_out_follows_the_law_that_is_stated(rule, data):
    """Pearson's statistic of every context's counts, none put out being a cell of its own."""
    spec, seed = data.draw(instances(rule)), data.draw(st.integers(0, 2**16))
    chance = np.asarray(spec.chances(pool_of(seed)))
    assert chance.shape == (CONTEXTS.total,)
    assert (chance >= 0).all()
    u = np.random.default_rng(seed).random(CONTEXTS.total * DRAWS)
    got = spec.select(pool_of(seed, DRAWS), u)
    np.testing.assert_array_equal(got.accepted, got.rows >= 0)
    rows = np.where(got.rows >= 0, got.rows % CONTEXTS.total, -1).reshape(DRAWS, -1)
    for c, (a, b) in enumerate(zip(CONTEXTS.offsets[:-1], CONTEXTS.offsets[1:], strict=True)):
        here = rows[:, c]
        assert ((here == -1) | ((here >= a) & (here < b))).all()
        assert chance[a:b].sum() <= 1 + NEAR
        p = np.append(chance[a:b], 1 - chance[a:b].sum())
        count = np.append([(here == i).sum() for i in range(a, b)], (here == -1).sum())
        possible = p > NEAR
        assert not count[~possible].any()
        expected = DRAWS * p[possible]
        statistic = ((count[possible] - expected) ** 2 / expected).sum()
        # one false alarm in 1e9 by the limit; rare cells make it heavier, so they are pooled out
        if expected.min() >= 5 and possible.sum() > 1:
            assert statistic < chi2.isf(1e-9, possible.sum() - 1)


@rules
@settings(max_examples=10)
@given(data=st.data())
def test_other_contexts_change_nothing(rule, data):
    spec, seed = data.draw(instances(rule)), data.draw(st.integers(0, 2**16))
    one, two = pool_of(seed), pool_of(seed, copies=2)
    np.testing.assert_array_equal(np.tile(spec.chances(one), 2), spec.chances(two))


@rules
@settings(max_examples=10)
@given(data=st.data())
def test_no_order_of_the_candidates_is_preferred_on_average(rule, data):
    """Averaged over all orders of a context, equal candidates have equal chances."""
    spec, seed = data.draw(instances(rule)), data.draw(st.integers(0, 2**16))
    rows = np.arange(CONTEXTS.total)
    total = np.zeros(CONTEXTS.total)
    for last in itertools.permutations(range(3)):
        order = rows.copy()
        order[-3:] = rows[-3:][list(last)]
        total[order] += spec.chances(pool_of(seed, order=order))
    pool = pool_of(seed)
    alike = (pool.value, pool.log_w, pool.answers)
    for i, j in itertools.combinations(range(-3, 0), 2):
        rest = {-3, -2, -1} - {i, j}
        same = all(x[i] == x[j] for x in alike) and similar(pool, i, i) == similar(pool, j, j)
        if same and all(similar(pool, i, k) == similar(pool, j, k) for k in rest):
            assert total[i] == pytest.approx(total[j], rel=NEAR, abs=0)


def similar(pool: SelectionPool, i: int, j: int) -> float:
    """G of two candidates of the last context, which holds three."""
    return float(pool.similarity[-9:].reshape(3, 3)[i + 3, j + 3])


@rules
@settings(max_examples=10)
@given(data=st.data())
def test_a_constant_per_context_in_log_w_changes_nothing(rule, data):
    """Unless a bound on w is declared, which reads its size."""
    spec, seed = data.draw(instances(rule)), data.draw(st.integers(0, 2**16))
    pool = pool_of(seed)
    shift = CONTEXTS.spread(np.array([1.0, -2.0, 0.5, 4.0]))
    moved = SelectionPool(
        pool.contexts, pool.value, pool.log_w + shift, pool.answers, pool.similarity
    )
    if getattr(spec, "log_bound", None) is None:
        np.testing.assert_allclose(spec.chances(moved), spec.chances(pool), rtol=NEAR)


@rules
def test_what_is_not_there_is_named_with_a_way_out(rule):
    bare = SelectionPool(CONTEXTS, np.zeros(CONTEXTS.total))
    u = np.zeros(CONTEXTS.total)
    for method in (lambda: rule().select(bare, u).rows, lambda: rule().chances(bare)):
        try:
            assert len(method()) in (len(CONTEXTS), CONTEXTS.total)
            assert not rule.needs_anchors  # without log w there is nothing to weigh by
        except SpecError as error:
            assert kind_of(rule) in str(error)  # noqa: PT017 - either may happen
            assert "there is none. " in str(error)  # noqa: PT017
