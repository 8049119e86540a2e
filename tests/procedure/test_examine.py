"""D of a batch of two steps, figure by figure, against what numpy says of the same tokens."""

from dataclasses import replace

import numpy as np
import pytest

from tod.base import Groups
from tod.candidates import Candidates, Labels, Tokens
from tod.operators import (
    Clip,
    Operator,
    PolicyGradient,
    Unbounded,
    WeightedRegression,
    WithinBudget,
)
from tod.procedure import Declared, Procedure, examine, steps_of, weigh
from tod.procedure.statistics import statistics_of
from tod.targets import ScalarReward
from tolerance import double

K, STEPS = 4, [1, 1, 2, 2]
REWARD = ScalarReward(utility="r", eta=1.5, anchor={"ref": 1.0})


def batch() -> Candidates:
    """Four contexts of four; log-probs of μ, π_old, π_ref and π by token."""
    rng = np.random.default_rng(8)
    contexts = Groups.equal(len(STEPS), K)
    sequences = Groups(rng.integers(1, 7, contexts.total))
    mu = -rng.gamma(2.0, 0.7, sequences.total) - 0.5
    moved = {name: mu + rng.normal(0, 0.2, len(mu)) for name in ("old", "ref", "policy")}
    return Candidates(
        contexts,
        {"r": rng.normal(size=contexts.total)},
        log_mu=sequences.sum(mu),
        log_anchor={name: sequences.sum(x) for name, x in moved.items()},
        tokens=Tokens(sequences, log_mu=mu, log_anchor=moved),
        labels=Labels(step=np.array(STEPS), length=sequences.sizes),
    )


def trained(**action) -> Procedure:
    return Procedure(target=REWARD, operator=Operator(action=PolicyGradient(**action)))


def reasons(found) -> dict:
    """Every number that could not be made, by its name."""
    return {item.what: item for item in found.unknown}


def test_what_hosts_declare_by_step_is_averaged_over_the_steps():
    declared = {
        1: Declared(activation=0.1, entropy=1.0, one_engine=True),
        2: Declared(activation=0.4, entropy=2.5),
    }
    found = examine(REWARD, batch(), declared=declared)
    assert found.summary.activation == pytest.approx(0.25)
    assert found.summary.entropy == pytest.approx(1.75)
    assert found.summary.mismatch is not None, "not both steps had one engine"
    for at, (step, places) in enumerate(steps_of(batch())):
        part = found.part(places).summary
        assert (step, part.activation) == (at + 1, declared[step].activation)
        assert (part.mismatch is None) == declared[step].one_engine
    half = examine(REWARD, batch(), declared={1: declared[1]}).summary
    c = batch()
    assert half.activation == 0.1
    assert half.entropy == pytest.approx(-c.log_mu.sum() / c.labels.length.sum()), "by log μ"


def test_lengths_are_those_of_the_tokens_where_nobody_says_them():
    c = batch()
    bare = replace(c, labels=Labels(step=c.labels.step))
    found = examine(REWARD, bare)
    assert found.summary.entropy == pytest.approx(-c.log_mu.sum() / c.tokens.sequences.total)
    for _, places in steps_of(bare):
        rows = slice(places.start * K, places.stop * K)
        want = -c.log_mu[rows].sum() / c.tokens.sequences.sizes[rows].sum()
        assert found.part(places).summary.entropy == pytest.approx(want)
    nobody = replace(bare, tokens=None)
    assert examine(REWARD, nobody).summary.entropy is None


def test_a_mismatch_is_of_tokens_and_lag_leaves_stale_contexts_out():
    c = batch()
    gap = c.tokens.log_anchor["old"] - c.tokens.log_mu
    whole = examine(REWARD, c, lag=np.zeros(len(c), dtype=int)).summary.mismatch
    assert whole.tokens == len(gap)
    assert whole.mean_abs == pytest.approx(np.abs(gap).mean())
    lag = np.repeat([0, 1, 0, 0], K)
    tokens = np.repeat(np.repeat([True, False, True, True], K), c.tokens.sequences.sizes)
    fresh = examine(REWARD, c, lag=lag).summary.mismatch
    assert fresh.tokens == tokens.sum()
    assert fresh.mean_abs == pytest.approx(np.abs(gap[tokens]).mean())
    stale = examine(REWARD, c, lag=lag).summary.staleness
    moved = c.tokens.log_anchor["policy"] - c.tokens.log_anchor["old"]
    assert stale.mean_abs == pytest.approx(np.abs(moved).mean())


def test_every_step_is_weighed_at_the_sharpness_in_force():
    c = batch()
    knobs = {1: {"eta": 0.5}, 2: {"eta": 4.0}}
    found = examine(REWARD, c, knobs=knobs)
    eta = np.repeat([0.5, 0.5, 4.0, 4.0], K)
    want = eta * c.utility["r"] + c.log_anchor["ref"] - c.log_mu
    near = double(8, np.abs(want).max() + np.abs(c.log_mu).max())
    np.testing.assert_allclose(found.log_w, want, rtol=0, atol=near)
    np.testing.assert_array_equal(found.weights.eta, eta)
    assert (found.weights.last, found.weights.declared) == (4.0, 1.5)
    only = weigh(REWARD, c, {2: {"eta": 4.0}})
    np.testing.assert_array_equal(only.eta, np.repeat([1.5, 1.5, 4.0, 4.0], K))
    unlabelled = replace(c, labels=Labels())
    assert steps_of(unlabelled) == [(0, slice(0, len(STEPS)))]
    np.testing.assert_array_equal(weigh(REWARD, unlabelled, {0: {"eta": 2.0}}).eta, 2.0)


def test_without_a_target_nothing_is_weighed_and_the_reason_says_so():
    found = examine(None, batch())
    assert found.weights is None
    np.testing.assert_array_equal(found.log_w, 0.0)
    assert found.summary.ess_rel.median is None
    assert found.summary.overlap.target_proposal is None
    assert found.summary.overlap.policy_proposal is not None
    assert reasons(found)["ess_rel"].kind == "not_declared"


def test_why_nothing_is_said_of_a_target():
    """Every reason is one of its own, says what would help, and names the input that is missing."""
    c = batch()
    bare = Candidates(Groups.equal(4, K), {}, c.log_mu, {"old": c.log_anchor["old"]})
    silent = reasons(examine(None, bare))["overlap.target_policy"]
    assert silent.lacks == "utility"
    reward = replace(bare, utility={"r": np.ones(len(c))}, log_anchor=c.log_anchor)
    level = reasons(examine(REWARD, reward))["ess_rel"]
    alone = reasons(examine(REWARD, replace(reward, contexts=Groups.equal(len(c), 1))))["ess_rel"]
    lost = reasons(examine(REWARD, replace(reward, utility={"r": np.full(len(c), -np.inf)})))
    apart = reasons(examine(REWARD, reward, declared=Declared(grouped=False)))["ess_rel"]
    assert apart.lacks == "context"
    blind = (level, alone, lost["ess_rel"])
    assert [item.kind for item in blind] == ["no_information"] * 3
    every = (silent, apart, *blind)
    assert all(item.why and item.needs for item in every)
    assert len({item.why for item in every}) == len({item.needs for item in every}) == 5


@pytest.mark.parametrize(
    ("procedure", "kind"),
    [
        (trained(trust_region=Unbounded()), "not_applicable"),
        (
            Procedure(target=REWARD, operator=Operator(action=WeightedRegression())),
            "not_applicable",
        ),
        (trained(trust_region=Clip()), "not_declared"),
        (REWARD, "not_declared"),
    ],
)
def test_why_an_activation_is_unknown(procedure, kind):
    """There is no trust region, or nobody said which."""
    assert reasons(examine(procedure, batch()))["activation"].kind == kind


def test_drift_lacks_a_policy_where_none_is_recorded():
    c = batch()
    lean = replace(c, log_anchor={"ref": c.log_anchor["ref"]}, tokens=None)
    lost = reasons(examine(REWARD, lean))
    assert lost["drift.ref"].lacks == "policy|old"
    assert lost["drift.old"].lacks == "policy"


def test_a_budget_needs_a_utility_to_spend_it_on():
    rule = Operator(action=WeightedRegression(weights=WithinBudget(budget=0.2)))
    assert Procedure(target=REWARD, operator=rule).target == REWARD
    with pytest.raises(ValueError, match="kl_budget"):
        Procedure(target=REWARD.turned({"eta": 0.0}), operator=rule)


@pytest.mark.parametrize(
    "proposal", [{"refresh": 2}, {"top_p": 0.9}, {"top_k": 5}, {"source": "ref"}]
)
def test_a_gap_to_other_draws_than_those_of_the_old_policy_is_no_mismatch(proposal):
    """Stale, truncated, or of another model: log old − log μ holds more than two engines."""
    action = PolicyGradient(trust_region=Clip()).model_dump(mode="json")
    own, other = (Operator.parse({"proposal": x, "action": action}) for x in ({}, proposal))
    assert examine(Procedure(target=REWARD, operator=own), batch()).summary.mismatch is not None
    found = examine(Procedure(target=REWARD, operator=other), batch())
    assert found.summary.mismatch is None
    assert reasons(found)["mismatch"].kind == "not_applicable"


def test_passes_are_of_a_binary_utility_alone():
    c = batch()
    assert reasons(examine(REWARD, c))["coverage.pass_at_k"].lacks == ""
    passed = replace(c, utility={"r": (c.utility["r"] > 0).astype(float)})
    found = examine(REWARD, passed)
    assert "coverage.pass_at_k" not in reasons(found)
    solved = passed.utility["r"].reshape(-1, K).any(axis=1)
    assert found.summary.coverage.pass_at_k == pytest.approx(solved.mean())


def test_draws_of_the_target_are_weighed_as_the_candidates_are():
    """ESS_rel seen from them is Σ_y w / K · m / Σ_z w, with one constant in both."""
    c = batch()
    places = np.array([1, 3])
    draws = c.take(places)
    found = examine(REWARD, c, samples=(places, draws))
    # of the candidates themselves it is 1
    want = [np.nan, 1.0, np.nan, 1.0]
    np.testing.assert_allclose(found.reverse, want, rtol=double(2 * K, 8))
    better = replace(draws, utility={"r": draws.utility["r"] + 1.0}, tokens=None)
    seen = examine(REWARD, c, samples=(places, better))
    np.testing.assert_allclose(seen.reverse[places], np.exp(-1.5), rtol=double(2 * K, 8))
    assert seen.summary.coverage.reverse_ess == pytest.approx(np.exp(-1.5))
    assert np.isnan(examine(REWARD, c).reverse).all()
    assert reasons(examine(REWARD, c))["coverage.reverse_ess"].lacks == "samples"


@pytest.mark.parametrize(("noise", "read"), [(2e-5, True), (2e-2, False)])
def test_an_anchor_that_is_the_sampler_up_to_rounding_is_the_proposal(noise, read):
    """Two passes of one policy never agree to the last bit; what that leaves out is bounded."""
    rng = np.random.default_rng(3)
    contexts = Groups.equal(40, 8)
    mu = -rng.gamma(2.0, 3.0, contexts.total)
    anchor = mu + rng.uniform(-noise, noise, contexts.total)
    passed = (rng.random(contexts.total) < np.repeat(rng.beta(1, 1, 40), 8)).astype(float)
    batch = Candidates(contexts, {"r": passed}, log_mu=mu, log_anchor={"old": anchor})
    found = examine(ScalarReward(utility="r", eta=1.0, anchor={"old": 1.0}), batch)
    exact = examine(ScalarReward(utility="r", eta=1.0, anchor={"mu": 1.0}), batch)
    assert (found.weights.base(slice(None)) is None) == read
    legs = [statistics_of(x).population()["target_proposal"] for x in (found, exact)]
    assert (legs[0] == legs[1]) == read
    gap = np.abs(np.log(found.diagnostics.ess_rel / exact.diagnostics.ess_rel))
    assert gap.max() <= 4 * noise
