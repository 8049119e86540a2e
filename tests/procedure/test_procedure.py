"""The triple: what a batch holds, how the target's knobs reach credit, and examining a batch."""

from dataclasses import replace

import numpy as np
import pytest

from tod.base import DataError, Groups, SpecError, to_numpy
from tod.candidates import Candidates, Labels, Tokens
from tod.operators import (
    GroupZScore,
    KLPull,
    Operator,
    PolicyGradient,
    Preference,
    Residual,
    ReturnToGo,
    Totals,
    WeightedRegression,
    WeightedVote,
    Whitening,
)
from tod.operators.preference import beta_of
from tod.procedure import (
    Procedure,
    batch_of,
    credit,
    examine,
    log_weights,
    pool_of,
    totals_of,
    utility_value,
)
from tod.targets import Mixture, PreferenceTarget, ScalarReward, Target, Tilt, TwoAnchor
from tolerance import assert_credit, double, of_credit


def _rollouts(make=np.asarray, drift=0.0):
    """Candidates sampled from π_old, and π_θ some way off it."""
    rng = np.random.default_rng(2)
    contexts = Groups(np.array([4, 1, 6, 3]))
    sequences = Groups(rng.integers(1, 7, contexts.total))
    old = -rng.gamma(1.5, 0.8, sequences.total)
    ref = np.minimum(old + 0.4 * rng.standard_normal(sequences.total), -1e-3)
    policy = np.minimum(old + drift * rng.gamma(2.0, 0.2, sequences.total), -1e-4)
    c = Candidates(
        contexts,
        {
            "r": make(rng.exponential(1.0, contexts.total)),
            "s": make(rng.standard_normal(contexts.total)),
        },
        log_mu=make(sequences.sum(old)),
        log_anchor={"ref": make(sequences.sum(ref))},
        tokens=Tokens(sequences, log_mu=make(old), log_anchor={"ref": make(ref)}),
    )
    return c, make(policy), make(old)


def _procedure(target, **action):
    return Procedure(target=target, operator=Operator(action=PolicyGradient(**action)))


def _relative(per_token):
    per_token = to_numpy(per_token)
    return per_token / np.abs(per_token).max()


@pytest.mark.parametrize("advantage", ["group_mean", "leave_one_out", "group_zscore"])
def test_tau_is_a_live_knob_from_the_second_update_on(backend, advantage):
    """Design law: a residual at the current policy feels τ as soon as π_θ has left π_old.

    At the first update log π_θ = log π_old = log μ and τ only scales the whole credit.
    """

    def per_token(tau, drift, at="current"):
        c, policy, old = _rollouts(backend.make, drift)
        target = TwoAnchor(tau=tau, beta=0.1, utility="r")
        rule = Operator.parse(
            {
                "action": {
                    "kind": "policy_gradient",
                    "trust_region": "unbounded",
                    "advantage": {"kind": advantage, "epsilon": 0.0}
                    if advantage == "group_zscore"
                    else advantage,
                    "pull": {"kind": "residual", "at": at},
                }
            }
        )
        return _relative(credit(Procedure(target=target, operator=rule), c, policy, old).per_token)

    tolerance = of_credit(backend.dtype) * 10  # of a difference that cancels a tenth
    np.testing.assert_allclose(per_token(0.1, 0.0), per_token(0.9, 0.0), rtol=0, atol=tolerance)
    assert np.abs(per_token(0.1, 0.5) - per_token(0.9, 0.5)).max() > 0.02
    # frozen at π_old, τ stays dead however far the policy has gone
    np.testing.assert_allclose(
        per_token(0.1, 0.5, "old"), per_token(0.9, 0.5, "old"), rtol=0, atol=tolerance
    )


def test_the_residual_is_the_shaped_one(backend):
    """R = [r + τ(log π_old − log π) + β(log π_ref − log π)]/(τ + β), sequence by sequence."""
    c, policy, old = _rollouts(backend.make, 0.5)
    tau, beta = 0.3, 0.2
    target = TwoAnchor(tau=tau, beta=beta, utility="r").target
    got = Residual().value(batch_of(target, c, policy, old))
    sums = {
        name: to_numpy(c.tokens.sequences.sum(x))
        for name, x in (("pi", policy), ("old", old), ("ref", c.tokens.log_anchor["ref"]))
    }
    r = to_numpy(c.utility["r"])
    near = backend.rounding(16, max(np.abs(x).max() for x in sums.values()) / (tau + beta))
    want = (r + tau * (sums["old"] - sums["pi"]) + beta * (sums["ref"] - sums["pi"])) / (tau + beta)
    np.testing.assert_allclose(to_numpy(got), want, rtol=0, atol=near)


def test_credit_vanishes_where_the_policy_is_the_target():
    """R constant over the candidates: no update moves, whatever the region."""
    c, _, old = _rollouts()
    target = TwoAnchor(tau=0.3, beta=0.2, utility="r")
    at_old = batch_of(target.target, c, old, old)
    log_q = at_old.tilt + at_old.log_base
    single = Tokens(Groups.equal(len(c), 1))
    c = replace(c, tokens=single)
    log_z = c.contexts.logsumexp(log_q) + 1.0
    log_policy = log_q - c.contexts.spread(log_z)
    c = replace(c, log_anchor={**c.log_anchor})
    got = credit(
        _procedure(target, pull=Residual()), c, log_policy, to_numpy(at_old.sequences.sum(old))
    )
    np.testing.assert_allclose(got.per_token, 0, rtol=0, atol=of_credit("float64"))


def test_old_in_an_anchor_is_the_policy_that_opened_the_batch():
    c, policy, old = _rollouts(drift=0.5)
    batch = batch_of(TwoAnchor(tau=0.3, beta=0.2, utility="r").target, c, policy, old)
    want = 0.6 * c.tokens.sequences.sum(old) + 0.4 * c.log_anchor["ref"]
    np.testing.assert_allclose(batch.log_base, want, rtol=double(8))
    near = double(8, np.abs(c.log_mu).max())
    np.testing.assert_allclose(batch.log_w, batch.tilt + want - c.log_mu, rtol=0, atol=near)


def test_a_batch_holds_what_was_recorded_and_nothing_else():
    c, policy, old = _rollouts()
    lean = Candidates(c.contexts, c.utility, tokens=Tokens(c.tokens.sequences))
    batch = batch_of(ScalarReward(utility="r", eta=2.0).target, lean, policy, old)
    assert batch.log_w is None
    assert batch.log_base is None
    assert batch.pulled == {}
    np.testing.assert_allclose(batch.tilt, 2 * c.utility["r"])
    with pytest.raises(DataError, match="no tokens"):
        batch_of(ScalarReward(utility="r", eta=2.0).target, replace(c, tokens=None), policy, old)


def test_the_value_is_the_utility_whatever_its_sharpness(backend):
    c, *_ = _rollouts(backend.make)
    for eta in (0.1, 7.0):
        value = utility_value(ScalarReward(utility="r", eta=eta).target, c)
        np.testing.assert_allclose(
            to_numpy(value), to_numpy(c.utility["r"]), rtol=backend.rounding(2)
        )
    zero = utility_value(ScalarReward(utility="r", eta=0.0).target, c)
    np.testing.assert_array_equal(to_numpy(zero), 0.0)
    two = Target(
        anchor={"mu": 1.0}, tilts=(Tilt(utility="r", eta=3.0), Tilt(utility="s", eta=-1.0))
    )
    want = (3 * to_numpy(c.utility["r"]) - to_numpy(c.utility["s"])) / 4
    np.testing.assert_allclose(
        to_numpy(utility_value(two, c)),
        want,
        rtol=0,
        atol=backend.rounding(4, np.abs(want).max() + 2),
    )


def test_splitting_a_batch_into_contexts_adds_up(backend):
    c, policy, old = _rollouts(backend.make, 0.5)
    procedure = _procedure(TwoAnchor(tau=0.3, beta=0.2, utility="r"), pull=Residual())
    whole = to_numpy(credit(procedure, c, policy, old).per_token)
    totals = Totals.of(c.tokens.sequences, c.contexts)
    for chosen in ([0, 2], [1], [3]):
        part = c.take(np.array(chosen))
        rows = c.contexts.take(np.array(chosen))[1]
        at = c.tokens.sequences.take(rows)[1]
        got = credit(procedure, part, policy[at], old[at], totals).per_token
        assert_credit(got, whole[at], backend.dtype)


def test_needed_anchors_follow_the_action():
    target = TwoAnchor(tau=0.3, beta=0.2, utility="r")
    needed = {
        None: set(),
        "residual": {"old", "ref"},
        "k3": {"ref"},
    }
    for kind, want in needed.items():
        pull = None if kind is None else Residual() if kind == "residual" else KLPull(kind=kind)
        assert _procedure(target, pull=pull).anchors_needed == want
    regression = Procedure(
        target=ScalarReward(utility="r", eta=1.0, anchor={"mu": 1.0}),
        operator=Operator(action=WeightedRegression()),
    )
    assert regression.anchors_needed == set()


def test_a_fixed_set_is_weighed_against_a_uniform_reference():
    """Centred regression on a fixed set vanishes at π ∝ q̃* on it; μ plays no part."""
    c, _, _ = _rollouts()
    c = replace(c, semantics="fixed", tokens=Tokens(Groups.equal(len(c), 1)))
    target = ScalarReward(utility="r", eta=2.0)
    log_policy = target.target.log_density(c) - 5.0
    procedure = Procedure(target=target, operator=Operator(action=WeightedRegression(centred=True)))
    np.testing.assert_allclose(
        credit(procedure, c, log_policy, log_policy).per_token, 0, rtol=0, atol=of_credit("float64")
    )


def test_a_hard_constraint_under_a_policy_gradient_is_refused():
    target = Target(anchor={"ref": 1.0}, tilts=(Tilt(utility="r", eta=1.0),), support=("s",))
    with pytest.raises(ValueError, match=r"support.*weighted_regression"):
        _procedure(target)
    Procedure(target=target, operator=Operator(action=WeightedRegression()))


def test_examine_reads_the_policy_before_the_batch():
    c, *_ = _rollouts()
    procedure = _procedure(ScalarReward(utility="r", eta=1.0))
    assert examine(procedure, c) is not None
    np.testing.assert_allclose(
        log_weights(procedure.tilt, c), c.utility["r"] + c.log_anchor["ref"] - c.log_mu
    )


def test_a_procedure_round_trips():
    procedure = _procedure(
        TwoAnchor(tau=0.3, beta=0.2, utility="r"), advantage=GroupZScore(), pull=KLPull(kind="k2")
    )
    assert Procedure.parse(procedure.model_dump(mode="json")) == procedure


def test_a_mixture_has_no_tokens_to_pull_to():
    """Σ_j λ_j π_j of sequences is no product over tokens; a residual by candidate can read it."""
    mixed = ScalarReward(utility="r", eta=2.0, anchor=Mixture(weights={"old": 0.4, "ref": 0.6}))
    for action in (
        {"pull": KLPull(kind="k2")},
        {"pull": Residual(), "advantage": ReturnToGo()},
    ):
        with pytest.raises(ValueError, match="mixes old, ref arithmetically"):
            _procedure(mixed, **action)
    c, policy, old = _rollouts(drift=0.5)
    batch = batch_of(mixed.target, c, policy, old)
    sums = c.tokens.sequences.sum(old), c.log_anchor["ref"]
    want = np.log(0.4 * np.exp(sums[0]) + 0.6 * np.exp(sums[1]))
    near = double(8, 1 + np.abs(sums).max())
    np.testing.assert_allclose(batch.log_base, want, rtol=0, atol=near)
    assert batch.log_base_tokens is None
    assert np.isfinite(credit(_procedure(mixed, pull=Residual()), c, policy, old).per_token).all()


def test_totals_of_a_step_make_parts_agree_with_the_whole(backend):
    c, policy, old = _rollouts(backend.make, 0.5)
    target = ScalarReward(utility="r", eta=2.0)
    advantage = ReturnToGo(whiten=Whitening())
    procedure = _procedure(target, advantage=advantage, pull=KLPull(kind="k1", place="reward"))
    rule = procedure.operator.update
    whole = rule.credit(batch_of(target.target, c, policy, old)).per_token
    totals = totals_of(rule, batch_of(target.target, c, policy, old))
    assert totals.moments.count == c.tokens.sequences.total
    for chosen in ([0, 3], [1], [2]):
        part, rows = c.take(np.array(chosen)), c.contexts.take(np.array(chosen))[1]
        at = c.tokens.sequences.take(rows)[1]
        got = credit(procedure, part, policy[at], old[at], totals).per_token
        assert_credit(got, to_numpy(whole)[at], backend.dtype)
    assert totals_of(WeightedRegression(), batch_of(target.target, c, policy, old)).moments is None


def test_token_anchors_add_up_to_those_of_sequences(backend):
    c, policy, old = _rollouts(backend.make, 0.5)
    batch = batch_of(TwoAnchor(tau=0.3, beta=0.2, utility="r").target, c, policy, old)
    np.testing.assert_allclose(
        to_numpy(batch.sequences.sum(batch.log_base_tokens)),
        to_numpy(batch.log_base),
        rtol=backend.rounding(16),
    )


def test_the_noise_of_choices_reaches_the_preference_loss():
    """β = 1/(ηs) is the declared β whatever s is."""
    c, policy, old = _rollouts(drift=0.5)
    for s in (1.0, 4.0):
        target = PreferenceTarget(utility="r", beta=0.3, noise_scale=s)
        batch = batch_of(target.target, c, policy, old)
        assert beta_of(batch) == pytest.approx(0.3)
    dpo = Procedure(target=target, operator=Operator(action=Preference()))
    assert dpo.anchors_needed == {"ref"}
    assert np.abs(credit(dpo, c, policy, old).per_token).max() > 0


def test_a_pool_holds_what_a_selection_reads(backend):
    c, *_ = _rollouts(backend.make)
    c = replace(c, labels=Labels(answer=np.arange(len(c)) % 3))
    target = ScalarReward(utility="r", eta=2.0).target
    pool = pool_of(target, c)
    np.testing.assert_allclose(to_numpy(pool.log_w), to_numpy(target.log_weights(c)))
    chosen = WeightedVote().select(pool, np.full(len(c), 0.5))
    assert c.contexts.owner[chosen.rows].tolist() == [0, 1, 2, 3]
    assert pool_of(target, replace(c, log_mu=None)).log_w is None


def test_selecting_and_updating_are_not_mistaken_for_each_other():
    c, policy, old = _rollouts()
    search = Procedure(
        target=ScalarReward(utility="r", eta=2.0), operator=Operator(action=WeightedVote())
    )
    assert search.anchors_needed == {"ref", "mu"}
    with pytest.raises(SpecError, match="selects at test time"):
        credit(search, c, policy, old)
