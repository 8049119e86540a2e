"""Every update rule, and every part that one is made of, under the laws of an update.

L2 shift, L3 permutation, L4 splitting, L9 backends, and −∂loss = credit for what has a loss. The
members come from the unions, their fields from what they declare: a policy gradient is drawn with
any advantage, region, level, aggregation, pull and correction that goes together.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spec_values import instances, kind_of, members
from tod.base import Groups, Spec, SpecError, to_numpy
from tod.operators import (
    AdvantageSpec,
    Batch,
    Kto,
    Listwise,
    Operator,
    PolicyGradient,
    Residual,
    Totals,
    TrustRegionSpec,
    UpdateRule,
    WeightedRegression,
    estimator,
)
from tod.operators.advantages import ByCandidate
from tod.operators.aggregation import AggregationSpec
from tod.operators.corrections import AnyCorrection
from tod.operators.operator import Action
from tod.operators.preference import Pairs, PreferenceLoss
from tod.operators.proposals import ProposalSpec
from tod.operators.pulls import Pull
from tod.operators.weighted_regression import WeightsSpec
from tolerance import assert_credit, of_credit

UPDATES = [member for member in members(Action) if issubclass(member, UpdateRule)]
CONTEXTS = Groups(np.array([3, 1, 4, 2]))
SEQUENCES = Groups(np.array([2, 3, 1, 4, 2, 2, 1, 3, 2, 1]))
N, M = CONTEXTS.total, SEQUENCES.total
OF_TOKENS = ("log_policy", "log_old", "log_mu_tokens", "log_base_tokens", "critic")
OF_CANDIDATES = ("value", "tilt", "log_w", "log_mu", "log_base")


def walk(union: Any) -> Any:
    """Runs a test over the members of a union."""
    return pytest.mark.parametrize("member", members(union), ids=kind_of)


updates = pytest.mark.parametrize("member", UPDATES, ids=kind_of)


def batch_of(seed: int, make: Any = np.asarray) -> Batch:
    """Everything that any rule may read; skewed values, with ties and a constant context."""
    rng = np.random.default_rng(seed)
    old = -rng.gamma(1.5, 0.6, M)
    policy = np.minimum(old + 0.4 * rng.normal(size=M), -1e-3)
    mu = np.minimum(old + 0.2 * rng.normal(size=M), -1e-3)
    ref = np.minimum(old + 0.3 * rng.normal(size=M), -1e-3)
    value = rng.exponential(1.0, N)
    value[[0, 1]] = 0.25
    value[-2:] = 0.5
    log_mu, base, eta = SEQUENCES.sum(mu), SEQUENCES.sum(ref), 1.7
    return Batch(
        contexts=CONTEXTS,
        sequences=SEQUENCES,
        log_policy=make(policy),
        log_old=make(old),
        value=make(value),
        tilt=make(eta * value),
        sharpness=eta,
        totals=Totals.of(SEQUENCES, CONTEXTS),
        log_w=make(eta * value + base - log_mu),
        log_mu=make(log_mu),
        log_base=make(base),
        pulled={"ref": (make(ref), 0.7)},
        log_mu_tokens=make(mu),
        log_base_tokens=make(ref),
        critic=make(rng.normal(size=M)),
        noise_scale=1.3,
        reference_point=0.2,
    )


def take(batch: Batch, candidates: Any, contexts: Groups) -> tuple[Batch, Any]:
    """Some candidates regrouped, with the totals of the whole, and the rows of their tokens."""
    sequences, rows = batch.sequences.take(candidates)
    return replace(
        batch,
        contexts=contexts,
        sequences=sequences,
        **{name: getattr(batch, name)[rows] for name in OF_TOKENS},
        **{name: getattr(batch, name)[candidates] for name in OF_CANDIDATES},
        pulled={name: (log[rows], rho) for name, (log, rho) in batch.pulled.items()},
    ), rows


def drawn(member: type[Spec], data: Any) -> tuple[Any, Batch]:
    """A rule, and a batch with what it reads of a whole step."""
    rule, batch = data.draw(instances(member)), batch_of(data.draw(st.integers(0, 2**16)))
    return rule, replace(batch, totals=rule.totals(batch))


def same(got: Any, want: Any) -> None:
    """Equal but for the rounding of credits; where they cancel, of values near 1."""
    scale, near = np.abs(want).max(initial=0.0), of_credit("float64")
    np.testing.assert_allclose(to_numpy(got), want, rtol=near, atol=near * (1 + scale))


@updates
@settings(max_examples=25)
@given(data=st.data())
def test_permuting_candidates_permutes_credit(member, data):
    rule, batch = drawn(member, data)
    if getattr(rule, "pairs", None) == "best_worst":
        return  # of equal values the first counts, so that their order matters
    rng = np.random.default_rng(1)
    order = np.concatenate(
        [a + rng.permutation(k) for a, k in zip(CONTEXTS.offsets[:-1], CONTEXTS.sizes, strict=True)]
    )
    permuted, rows = take(batch, order, CONTEXTS)
    same(rule.credit(permuted).per_token, rule.credit(batch).per_token[rows])


@updates
@settings(max_examples=25)
@given(data=st.data())
def test_a_part_of_whole_contexts_has_the_credit_that_it_has_in_the_step(member, data):
    rule, batch = drawn(member, data)
    whole = rule.credit(batch).per_token
    if not rule.reads_the_step:
        assert rule.totals(batch) == batch.totals
    for part in ([0], [3, 1], [2]):
        contexts, candidates = CONTEXTS.take(np.array(part))
        piece, rows = take(batch, candidates, contexts)
        same(rule.credit(piece).per_token, whole[rows])


@updates
@settings(max_examples=15)
@given(data=st.data())
def test_numpy_and_torch_agree(member, data):
    rule, seed = data.draw(instances(member)), data.draw(st.integers(0, 2**16))
    plain, torched = batch_of(seed), batch_of(seed, torch.from_numpy)
    want = rule.credit(replace(plain, totals=rule.totals(plain)))
    got = rule.credit(replace(torched, totals=rule.totals(torched)))
    assert isinstance(got.per_token, torch.Tensor)
    same(got.per_token, want.per_token)
    same(got.advantage, want.advantage)
    for name in ("gate", "log_rho", "correction"):
        assert (getattr(got, name) is None) == (getattr(want, name) is None)


@updates
@settings(max_examples=15)
@given(data=st.data())
def test_what_is_said_to_be_needed_is_all_that_is_read(member, data):
    """Without anchors, critic and log w, a rule that needs none gives the same credit."""
    rule, batch = drawn(member, data)
    want = rule.credit(batch)
    missing: dict[str, Any] = {}
    if not rule.needs_anchors:
        missing |= {"log_base": None, "pulled": {}, "log_base_tokens": None}
        if not isinstance(rule, WeightedRegression | Listwise):
            missing |= {"log_w": None}
    if not rule.needs_critic:
        missing |= {"critic": None}
    np.testing.assert_array_equal(rule.credit(replace(batch, **missing)).per_token, want.per_token)


@walk(AggregationSpec)
@settings(max_examples=15)
@given(data=st.data())
def test_weights_of_tokens_are_those_of_the_step_in_every_part(member, data):
    aggregation = data.draw(instances(member))
    totals, like = Totals.of(SEQUENCES, CONTEXTS), np.zeros(M)
    whole = aggregation.weights(SEQUENCES, totals, like)
    assert (whole > 0).all()
    for rows in np.split(np.arange(N), [3, 4]):
        sequences, tokens = SEQUENCES.take(rows)
        same(aggregation.weights(sequences, totals, like[tokens]), whole[tokens])
    # the tokens of a sequence are alike, and so are sequences of one length
    for size in np.unique(SEQUENCES.sizes):
        assert len(np.unique(whole[SEQUENCES.spread(SEQUENCES.sizes) == size])) == 1


@walk(AdvantageSpec)
@settings(max_examples=25)
@given(data=st.data())
def test_an_advantage_is_free_of_scale_or_in_the_units_of_the_value(member, data):
    advantage, batch = data.draw(instances(member)), batch_of(data.draw(st.integers(0, 2**16)))
    # ranks: no spread is 0 or near it, where a division by it would grow the rounding
    k, apart = 3.0, 0.3 * np.argsort(np.argsort(batch.value))
    batch = replace(batch, value=apart, tilt=batch.sharpness * apart)
    scaled = replace(batch, value=k * batch.value, tilt=k * batch.tilt, critic=k * batch.critic)
    if hasattr(advantage, "epsilon") or advantage.batch_wide:
        changes = {"epsilon": 0.0} if hasattr(advantage, "epsilon") else {}
        if getattr(advantage, "whiten", None) is not None:
            changes = {"whiten": {**dict(advantage.whiten), "epsilon": 0.0}}
        advantage = advantage.revised(**changes)
    plain, other = (advantage.of_batch(None, b) for b in (batch, scaled))
    enough = CONTEXTS.spread(CONTEXTS.sizes) > 2  # the others of one other have no spread
    for x, y, rows in zip(plain, other, (enough, SEQUENCES.spread(enough)), strict=True):
        same(y[rows], (x if advantage.scale_free else k * x)[rows])


@walk(AdvantageSpec)
@settings(max_examples=25)
@given(data=st.data())
def test_a_constant_of_the_context_is_compared_away_or_passed_on(member, data):
    """Advantages by candidate: exactly one of A(R + c) = A(R) and A(R + c) = A(R) + c."""
    advantage, batch = data.draw(instances(member)), batch_of(data.draw(st.integers(0, 2**16)))
    if not isinstance(advantage, ByCandidate):
        whole = advantage.of_batch(None, batch)
        same(SEQUENCES.mean(whole[1]), whole[0])
        return
    shift = CONTEXTS.spread(np.array([0.5, -1.0, 2.0, 0.25]))
    if advantage.batch_wide:  # the spread of a step holds that between its contexts
        shift = np.full(N, 0.5)
    plain, moved = (advantage(batch.value + s, CONTEXTS) for s in (0.0, shift))
    near = of_credit("float64")
    if np.allclose(moved, plain + shift, rtol=near, atol=near):
        assert advantage.kind == "raw"
        return
    same(moved, plain)
    same(plain[3], 0.0)  # a singleton has nothing to be compared with
    same(plain[-2:], 0.0)  # nor has a constant context


@walk(AnyCorrection)
@settings(max_examples=25)
@given(data=st.data())
def test_a_correction_is_a_weight_that_multiplies_the_credit(member, data):
    correction, batch = data.draw(instances(member)), batch_of(data.draw(st.integers(0, 2**16)))
    plain = PolicyGradient(advantage="group_mean")
    rule = plain.revised(correction=correction)
    batch = replace(batch, totals=rule.totals(batch))
    credit, weight = rule.credit(batch), np.asarray(rule.credit(batch).correction)
    assert np.isfinite(weight).all()
    assert (weight >= 0).all()
    want = plain.credit(batch).per_token * weight
    if hasattr(correction, "aggregated"):
        whole = plain.aggregation.weights(SEQUENCES, batch.totals, batch.log_policy)
        want = want / whole * correction.aggregated(plain.aggregation, batch)
    same(credit.per_token, want)
    with pytest.raises(SpecError, match="log μ"):
        correction(replace(batch, log_mu_tokens=None), batch.log_policy)


@walk(AnyCorrection)
@settings(max_examples=10)
@given(data=st.data())
def test_a_token_that_the_policy_itself_sampled_is_not_touched(member, data):
    """At μ = π_old = π_θ every weight is 1, if 1 is inside the bounds at all."""
    correction, batch = data.draw(instances(member)), batch_of(0)
    fresh = replace(batch, log_mu_tokens=batch.log_old, log_policy=batch.log_old)
    weight = np.asarray(correction(fresh, batch.log_policy))
    bounds = [correction, *getattr(getattr(correction, "of", None), "of", ())]
    bounds = bounds if len(bounds) > 1 else [getattr(correction, "of", correction)]
    ends = [("low", "high"), ("floor", "cap")]
    limits = [
        (getattr(b, low), getattr(b, high))
        for b in bounds
        for low, high in ends
        if hasattr(b, low) and hasattr(b, high)
    ]
    if any(isinstance(b, tuple) for b in bounds) or any(hi < 1 or lo > 1 for lo, hi in limits):
        return
    np.testing.assert_allclose(weight, 1.0, rtol=of_credit("float64"))


@walk(WeightsSpec)
@settings(max_examples=25)
@given(data=st.data())
def test_the_gradient_of_a_regression_is_its_weights(member, data):
    weights, batch = data.draw(instances(member)), batch_of(data.draw(st.integers(0, 2**16)))
    rule = WeightedRegression(weights=weights)
    batch = replace(batch, totals=rule.totals(batch))
    w = np.asarray(weights(batch))
    assert (w >= 0).all()
    log_policy = torch.tensor(batch.log_policy, requires_grad=True)
    of_candidates = torch.stack([x.sum() for x in log_policy.split(SEQUENCES.sizes.tolist())])
    loss = -(torch.tensor(w) * of_candidates).sum() / len(CONTEXTS)
    same(rule.credit(batch).per_token, -torch.autograd.grad(loss, log_policy)[0].numpy())


@walk(PreferenceLoss)
@settings(max_examples=25)
@given(data=st.data())
def test_autograd_of_a_preference_loss_is_its_slope(member, data):
    loss, rng = data.draw(instances(member)), np.random.default_rng(data.draw(st.integers(0, 99)))
    size = 12
    length = [torch.tensor(rng.integers(1, 6, size).astype(float)) for _ in range(2)]
    log_pi = [torch.tensor(-rng.gamma(2.0, 1.0, size)) * n for n in length]
    log_b = [torch.tensor(-rng.gamma(2.0, 1.0, size)) * n for n in length]
    if isinstance(loss, Kto):
        batch = batch_of(3, torch.from_numpy)
        delta = (torch.tensor(rng.normal(size=N))).requires_grad_()
        want = torch.autograd.grad(loss.value(delta, batch).sum(), delta)[0]
        assert_credit(loss.slope(delta.detach(), batch), want)
        return
    leaves = [x.clone().requires_grad_() for x in log_pi]

    def pairs(x: list[torch.Tensor]) -> Pairs:
        delta = (x[0] - log_b[0], x[1] - log_b[1])
        return Pairs(delta=delta, log_pi=(x[0], x[1]), length=(length[0], length[1]), beta=0.7)

    want = torch.autograd.grad(loss.value(pairs(leaves)).sum(), leaves)
    got = loss.slopes(pairs(log_pi))
    for one, other in zip(got, want, strict=True):
        assert_credit(one, other)


@walk(Pull)
@settings(max_examples=25)
@given(data=st.data())
def test_a_pull_is_nothing_at_its_anchor_and_the_slope_of_its_loss_elsewhere(member, data):
    pull, batch = data.draw(instances(member)), batch_of(data.draw(st.integers(0, 2**16)))
    if isinstance(pull, Residual):
        log_q = batch.tilt + batch.log_base
        log_q = log_q - CONTEXTS.spread(CONTEXTS.logsumexp(log_q))
        extra = SEQUENCES.spread((log_q - SEQUENCES.sum(batch.log_old)) / SEQUENCES.sizes)
        solved = replace(batch, log_policy=batch.log_old + extra, log_old=batch.log_old + extra)
        r = pull.value(solved)
        same(r, CONTEXTS.spread(CONTEXTS.mean(r)))
        same(batch.tilt + SEQUENCES.sum(pull.by_token(batch)), pull.value(batch))
        return
    assert pull.kind in ("k1", "k2", "k3"), f"no law for a pull of kind {pull.kind}"
    (log_anchor, rho), at = batch.pulled["ref"], torch.tensor(batch.log_policy, requires_grad=True)
    k = estimator(pull.kind, torch.tensor(log_anchor) - at)
    if pull.importance:
        k = torch.exp(at - torch.tensor(batch.log_old)) * k
    want = -torch.autograd.grad(rho * k.sum(), at)[0].numpy()
    same(pull.credit(batch), want)
    settled = replace(batch, log_policy=log_anchor, log_old=log_anchor)
    same(pull.by_token(settled), 0.0)
    same(pull.credit(settled), -rho if pull.kind == "k1" else 0.0)


class Holder(Spec):
    """Any operator."""

    operator: Operator


UNIONS = {
    "action": Action,
    "action.trust_region": TrustRegionSpec,
    "action.advantage": AdvantageSpec,
    "action.aggregation": AggregationSpec,
    "action.correction": AnyCorrection,
    "action.weights": WeightsSpec,
    "action.loss": PreferenceLoss,
    "action.pull": Pull,
    "proposal": ProposalSpec,
}
EVERY = [member for union in UNIONS.values() for member in members(union)]


@pytest.mark.parametrize("member", EVERY, ids=kind_of)
@settings(max_examples=10)
@given(data=st.data())
def test_every_member_round_trips_through_plain_data(member, data):
    spec = data.draw(instances(member))
    assert member.parse(spec.model_dump(mode="json")) == spec
    assert member.__doc__


@pytest.mark.parametrize("name", UNIONS)
def test_an_unknown_kind_names_every_member(name):
    key = name.partition(".")[2]
    tag = "source" if name == "proposal" else "kind"
    owner = {"weights": "weighted_regression", "loss": "preference"}.get(key, "policy_gradient")
    action: Any = {"kind": owner, **({key: {"kind": "nonesuch"}} if key else {})}
    data: dict[str, Any] = {"operator": {"action": action}}
    if name == "action":
        data = {"operator": {"action": {"kind": "nonesuch"}}}
    if name == "proposal":
        data["operator"]["proposal"] = {"source": "nonesuch"}
    with pytest.raises(SpecError) as error:
        Holder.parse(data)
    for member in members(UNIONS[name]):
        for kind in getattr(member.model_fields[tag].annotation, "__args__", ()):
            assert kind in str(error.value)
