"""Laws of test time, against every candidate set by brute force and against the rules' draws."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from tod.atlas import RECIPES
from tod.base import Groups
from tod.operators import (
    BestOfK,
    MajorityVote,
    Operator,
    RejectionSampling,
    Resample,
    SelectionPool,
)
from tod.procedure import Procedure
from tod.study import selection_laws as laws
from tod.study.audit import audit
from tod.study.distances import total_variation
from tod.study.fixed_point import FiniteK, depends_on_k, finite_point, finite_rows
from tod.study.population import Policies
from tod.study.world import make_world, normalised, perturbed
from tod.targets import PreferenceTarget, ScalarReward, Verifier
from tolerance import double

SELECTIONS = [name for name, entry in RECIPES.items() if entry.family == "test_time"]
NEAR = double(9**3 + 16, 8)
"""Sums over all sets of three of nine."""
FROM_MU = Verifier(utility="r", eta=1.5, anchor={"mu": 1.0})


@pytest.fixture(scope="module")
def few():
    """Nine sequences, one context: all 729 triples can be listed."""
    return make_world(4, vocabulary=3, length=2, contexts=1)


def by_brute_force(rule, log_mu, size, *, u=None, log_w=None, answers=None, fine=12):
    """The law of a rule's own ``select`` over every candidate set and a grid of uniforms."""
    mu = np.exp(log_mu[0])
    sets = np.array(list(product(range(len(mu)), repeat=size)))
    law = np.zeros(len(mu))
    pick = [None if x is None else x[sets].ravel() for x in (u, log_w, answers)]
    pool = SelectionPool(Groups.equal(len(sets), size), *pick)
    grid = list(product((np.arange(fine) + 0.5) / fine, repeat=size if fine < 12 else 1))
    for point in grid:
        uniforms = np.tile(np.resize(point, size), len(sets))
        found = rule.select(pool, uniforms)
        put = sets.ravel()[found.rows[found.accepted]]
        chance = mu[sets].prod(axis=1)[found.accepted]
        law += np.bincount(put, chance, len(mu)) / len(grid)
    return law / law.sum()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_best_of_k(few, size):
    u = np.round(few.utility, 1)  # with ties
    law = np.exp(laws.law_of_best(few.base, u, size))[0]
    assert law.sum() == pytest.approx(1.0, rel=NEAR)
    found = by_brute_force(BestOfK(), few.base, size, u=u[0], fine=1)
    distinct = by_brute_force(BestOfK(), few.base, size, u=few.utility[0], fine=1)
    exact = np.exp(laws.law_of_best(few.base, few.utility, size))[0]
    assert distinct == pytest.approx(exact, abs=NEAR)
    for level in np.unique(u):  # how ties are shared out does not change a level's mass
        assert found[u[0] == level].sum() == pytest.approx(law[u[0] == level].sum(), abs=NEAR)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_resampling(few, size):
    """E[w̄] over all sets, without a uniform at all."""
    log_w = 1.3 * few.utility
    sets = np.array(list(product(range(9), repeat=size)))
    share = np.exp(log_w[0])[sets]
    share = share / share.sum(axis=1, keepdims=True)
    chance = np.exp(few.base[0])[sets].prod(axis=1)
    expected = np.bincount(sets.ravel(), (share * chance[:, None]).ravel(), 9)
    law = np.exp(laws.law_of_resampled(few.base, log_w, size))[0]
    assert law == pytest.approx(expected, abs=NEAR)


def test_resampling_tends_to_the_target_like_one_over_k(few):
    log_w = 1.3 * few.utility
    target = normalised(few.base + log_w)
    gaps = [
        float(total_variation(laws.law_of_resampled(few.base, log_w, size), target).mean())
        for size in (1000, 2000, 4000)
    ]
    assert gaps[0] < 0.01
    w = np.exp(target - few.base)
    third = (np.exp(few.base) * w**3).sum()  # over K it is the next order, relative to the first
    assert gaps[0] / gaps[1] == pytest.approx(2.0, rel=third / 1000)
    assert gaps[1] / gaps[2] == pytest.approx(2.0, rel=third / 2000)


@pytest.mark.parametrize("size", [2, 3])
def test_majority(few, size):
    answers = few.language.symbols[few.language.sequences.offsets[1:] - 1]
    expected = by_brute_force(MajorityVote(), few.base, size, answers=answers, fine=12)
    law = np.exp(laws.law_of_majority(few.base, answers, size))[0]
    assert law == pytest.approx(expected, abs=NEAR)


@pytest.mark.parametrize("bound", [1.0, 4.0])
def test_rejection(few, bound):
    """A bound that is too small aims at μ·min(w, M)."""
    log_w = few.utility
    rule = RejectionSampling(log_bound=bound)
    found = by_brute_force(rule, few.base, 1, log_w=log_w[0], fine=4000)
    law = np.exp(laws.law_of_accepted(few.base, log_w, bound))[0]
    # half a part in 4000 of probability at each boundary, among what is accepted
    accepted = (np.exp(few.base + np.minimum(log_w - bound, 0.0))).sum()
    assert found == pytest.approx(law, abs=1 / 4000 / accepted)
    exact = normalised(few.base + log_w)
    apart = float(total_variation(laws.law_of_accepted(few.base, log_w, bound), exact).mean())
    assert (apart < NEAR) == (bound > few.utility.max())


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_claim_of_a_selection_is_proven(name):
    found = audit(RECIPES[name], sizes=(2, 8))
    assert found.passed, found


@pytest.mark.parametrize(("name", "other"), [("sir", "no"), ("best_of_k", "yes")])
def test_any_other_claim_is_refuted(name, other):
    recipe = RECIPES[name].model_copy(update={"shares_target": other})
    assert not audit(recipe, sizes=(2,)).passed


def test_a_rule_that_is_not_its_law_is_refuted(monkeypatch):
    """A resampling that reads no weights is caught by its draws."""
    procedure = Procedure(target=FROM_MU, operator=Operator(action=Resample()))
    assert audit(procedure, sizes=(4,)).passed
    first = Resample.select

    def blind(self, pool, uniforms):
        return first(self, replace(pool, log_w=0 * pool.value), uniforms)

    monkeypatch.setattr(Resample, "select", blind)
    assert not audit(procedure, sizes=(4,)).passed


def test_a_weighted_rule_off_policy_at_k_converges_to_the_resampled_law(policies, small):
    """Σ w̄ ∇log π has its zero at E[w̄]: weighted likelihood learns what resampling puts out."""
    procedure = RECIPES["weighted_mle"].procedure
    procedure = procedure.revised(target=procedure.target.turned({"eta": 1.0}))
    mu = perturbed(small, 0.5, 5)
    rest = finite_point(procedure, policies, 4, proposal=mu, steps=200)
    law = laws.law_of_resampled(mu, small.target(1.0) - mu, 4)
    assert float(total_variation(rest, law).mean()) < 0.02
    assert float(total_variation(rest, small.target(1.0)).mean()) > 0.2


def test_finite_groups_of_a_centred_rule_and_of_pairs():
    found = audit(RECIPES["weighted_mle_centred"], steps=50, sizes=(2,))
    ((row,),) = [found.finite]
    assert isinstance(row, FiniteK)
    assert (row.on_policy < 0.02, row.off_policy < 0.02) == (True, True)
    target = PreferenceTarget(utility="r", beta=1.0)
    pairs = Procedure(target=target, operator=Operator(action={"kind": "preference"}))
    assert not depends_on_k(pairs.operator.action)
    policies = Policies.of(make_world(0, vocabulary=2, length=2, contexts=1))
    base = policies.world.base
    assert finite_rows(pairs, policies, (base, base), base) == ()


def test_the_names_of_a_selections_document():
    reward = ScalarReward(utility="r", eta=1.0)
    procedure = Procedure(target=reward, operator=Operator(action=BestOfK()))
    data = audit(procedure, sizes=(2,)).to_dict()
    assert {"recipe", "shares_target", "measured", "limit", "on_policy", "off_policy"} <= set(data)
    assert {"k", "tv", "limit_tv", "predicted_tv", "selected"} == set(data["on_policy"][0])
