"""Token-level and batch-wide advantages: reference values, brute force, splitting."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import Groups, SpecError, to_numpy
from tod.operators import (
    BatchZScore,
    Gae,
    GroupMean,
    KLPull,
    LeaveOneOutZScore,
    Moments,
    PolicyGradient,
    Raw,
    Residual,
    ReturnToGo,
    SequenceMeanTokenSum,
    TokenMean,
    Truncate,
    Unbounded,
    Whitening,
    gae,
)
from tod.operators.advantages import discounted
from tolerance import assert_credit, double, printed


def tolerance(backend):
    return printed(10) + backend.rounding(16, 4)


def test_gae_reference_values(backend):
    """The interior masked token of the reference is not a token here: carry-forward."""
    sequences = Groups.equal(1, 3)
    advantage, returns = gae(
        backend.make([0, 0, 1]), backend.make([0.5, 0.4, 0.3]), sequences, 1.0, 0.95
    )
    np.testing.assert_allclose(
        to_numpy(advantage), [0.43675, 0.565, 0.7], rtol=0, atol=tolerance(backend)
    )
    np.testing.assert_allclose(
        to_numpy(returns), [0.93675, 0.965, 1], rtol=0, atol=tolerance(backend)
    )


@pytest.mark.parametrize("trace", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
def test_gae_is_its_recursion(ragged, rng, discount, trace):
    rewards, critic = rng.standard_normal((2, ragged.total))
    got, returns = gae(rewards, critic, ragged, discount, trace)
    near = double(4 * 16, 16 * max(np.abs(rewards).max(), np.abs(critic).max()))
    for a, b in zip(ragged.offsets[:-1], ragged.offsets[1:], strict=True):
        following, carried = 0.0, 0.0
        for t in range(b - 1, a - 1, -1):
            delta = rewards[t] + discount * following - critic[t]
            carried = delta + discount * trace * carried
            following = critic[t]
            assert got[t] == pytest.approx(carried, abs=near)
    np.testing.assert_allclose(returns, got + critic, rtol=0, atol=near)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.floats(0, 1))
def test_discounted_sums(sizes, decay):
    sequences = Groups(np.array(sizes))
    x = np.random.default_rng(sum(sizes)).standard_normal(sequences.total)
    got = discounted(x, sequences, decay)
    for a, b in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True):
        for t in range(a, b):
            want = sum(decay ** (u - t) * x[u] for u in range(t, b))
            assert got[t] == pytest.approx(want, abs=double(2 * 6, np.abs(x).sum()))


@pytest.mark.parametrize(
    ("ddof", "epsilon", "want"),
    [(1, 1e-8, (1.0690449489, -0.8017837117)), (0, 0.0, (1.1547005384, -0.8660254038))],
)
def test_reinforce_plus_plus_reference_values(backend, make_batch, ddof, epsilon, want):
    contexts, sequences = Groups.equal(2, 1), Groups(np.array([3, 4]))
    batch = replace(
        make_batch(backend.make),
        contexts=contexts,
        sequences=sequences,
        log_policy=backend.make([-1.0] * 7),
        log_old=backend.make([-1.0] * 7),
        value=backend.make([1.0, 0.0]),
        tilt=backend.make([1.0, 0.0]),
        totals=replace(make_batch().totals, tokens=7, candidates=2, contexts=2),
    )
    whiten = Whitening(ddof=ddof, epsilon=epsilon)
    rule = PolicyGradient(advantage=ReturnToGo(whiten=whiten), aggregation=TokenMean())
    got = to_numpy(rule.credit(batch).per_token) * 7
    np.testing.assert_allclose(got, [want[0]] * 3 + [want[1]] * 4, rtol=0, atol=tolerance(backend))


def test_leave_one_out_zscore_reference_values(backend):
    got = LeaveOneOutZScore()(backend.make([1, 0, 0.5, 0.25]), Groups.equal(1, 4))
    want = [2.9999880000, -1.5275212317, 0.1601278461, -0.4999990000]
    near = printed(10) + backend.rounding(16, 3 / 0.25)  # of the others' spread, a quarter and up
    np.testing.assert_allclose(to_numpy(got), want, rtol=0, atol=near)


@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.1, 1.0, 7.3]), min_size=1, max_size=7), min_size=1)
)
def test_leave_one_out_zscore_is_its_definition(lists):
    contexts, value = Groups(np.array([len(x) for x in lists])), np.concatenate(lists)
    want = []
    for x in lists:
        for i, v in enumerate(x):
            others = x[:i] + x[i + 1 :]
            centred = v - np.mean(others) if others else 0.0
            flat = len(set(others)) < 2
            want.append(centred if flat else centred / (np.std(others, ddof=1) + 1e-6))
    near = double(4 * 7, 7.3 / 0.01)  # of the others' spread: at least a hundredth of the largest
    np.testing.assert_allclose(LeaveOneOutZScore()(value, contexts), want, rtol=near, atol=near)


def test_batch_zscore_has_one_scale(make_batch):
    batch = make_batch()
    got = PolicyGradient(advantage=BatchZScore(epsilon=1e-6)).credit(batch).advantage
    want = GroupMean()(batch.value, batch.contexts) / (batch.value.std(ddof=1) + 1e-6)
    assert_credit(got, want)
    flat = replace(batch, value=0 * batch.value + 0.1)
    assert (
        np.abs(PolicyGradient(advantage=BatchZScore(epsilon=0.0)).credit(flat).advantage).max() == 0
    )


@given(st.lists(st.lists(st.floats(-9, 9), min_size=1, max_size=6), min_size=1, max_size=5))
def test_moments_add_up(lists):
    total = sum((Moments.of(np.array(x)) for x in lists), Moments(0, 0.0, 0.0))
    x = np.concatenate(lists)
    n = len(x)
    assert total.count == n
    assert total.mean == pytest.approx(x.mean(), abs=double(n, 9))
    assert total.squares == pytest.approx(((x - x.mean()) ** 2).sum(), abs=double(n, 81 * n))
    for ddof in (0, 1):
        want = x.var(ddof=ddof) if len(x) > ddof else 0.0
        assert total.variance(ddof) == pytest.approx(want, abs=double(n, 81 * n))
    equal = sum((Moments.of(np.full(3, 0.1)) for _ in range(4)), Moments(0, 0.0, 0.0))
    assert equal.variance(0) == 0.0


BATCH_WIDE = [
    PolicyGradient(advantage=BatchZScore()),
    PolicyGradient(advantage=BatchZScore(), pull=KLPull(kind="k1", place="reward")),
    PolicyGradient(
        advantage=ReturnToGo(whiten=Whitening()), pull=KLPull(kind="k1", place="reward")
    ),
    PolicyGradient(advantage=Gae(whiten=Whitening(), baseline=GroupMean())),
]


def _part(batch, chosen):
    contexts, rows = batch.contexts.take(np.array(chosen))
    sequences, at = batch.sequences.take(rows)
    tokens = ("log_policy", "log_old", "critic", "log_base_tokens")
    candidates = ("value", "tilt", "log_w", "log_mu", "log_base")
    return replace(
        batch,
        contexts=contexts,
        sequences=sequences,
        **{n: getattr(batch, n)[at] for n in tokens},
        **{n: getattr(batch, n)[rows] for n in candidates},
        pulled={name: (log[at], rho) for name, (log, rho) in batch.pulled.items()},
    ), at


def _with_critic(make_batch, make=np.asarray):
    batch = make_batch(make)
    critic = np.random.default_rng(1).standard_normal(batch.sequences.total)
    return replace(batch, critic=make(critic), log_base_tokens=batch.pulled["ref"][0])


@pytest.mark.parametrize("rule", BATCH_WIDE, ids=lambda r: r.advantage.kind)
def test_a_split_step_with_its_moments_gives_the_same_credit(make_batch, rule, backend):
    """Moments of parts add up to those of the step; credit then does not know of the split."""
    batch = _with_critic(make_batch, backend.make)
    whole = to_numpy(rule.credit(batch).per_token)
    parts = [_part(batch, chosen) for chosen in ([0, 3], [1], [2, 4])]
    moments = sum((rule.moments(part) for part, _ in parts), Moments(0, 0.0, 0.0))
    assert moments.count in (batch.contexts.total, batch.sequences.total)
    for part, at in parts:
        totals = replace(part.totals, moments=moments)
        got = to_numpy(rule.credit(replace(part, totals=totals)).per_token)
        assert_credit(got, whole[at], backend.dtype)
    alone = rule.credit(parts[2][0]).per_token
    assert np.abs(to_numpy(alone) - whole[parts[2][1]]).max() > 1e-4


def test_without_pull_or_discount_every_token_has_the_return(make_batch):
    batch = make_batch()
    token, plain = (
        PolicyGradient(advantage=a).credit(batch).per_token
        for a in (ReturnToGo(baseline=GroupMean()), GroupMean())
    )
    assert_credit(token, plain)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_a_pull_in_the_reward_adds_up_over_tokens_to_that_of_the_candidate(make_batch, kind):
    """At γ = 1 the first token holds the whole return: utility less the summed penalty."""
    batch, pull = make_batch(), KLPull(kind=kind, place="reward")
    token = ReturnToGo().of_batch(pull, batch)[1]
    whole = PolicyGradient(advantage=Raw(), pull=pull).credit(batch).advantage
    assert_credit(token[batch.sequences.offsets[:-1]], whole)


def test_a_critic_of_zero_with_full_trace_is_the_return_to_go(make_batch):
    batch = replace(_with_critic(make_batch), critic=np.zeros(make_batch().sequences.total))
    pull = KLPull(kind="k3", place="reward")
    gae_, to_go = (
        PolicyGradient(advantage=a, pull=pull).credit(batch).per_token
        for a in (Gae(trace=1.0), ReturnToGo())
    )
    assert_credit(gae_, to_go)


def test_sampled_distillation_is_the_papers_advantage(make_batch):
    """A_t = −(log π_old − log π_T)(y_t), discount 0, loss −Σ ρ_t A_t over the tokens' mean."""
    batch = _with_critic(make_batch)
    zero = replace(batch, tilt=0 * batch.tilt, value=0 * batch.value, sharpness=0.0)
    rule = PolicyGradient(
        trust_region=Unbounded(),
        advantage=ReturnToGo(discount=0.0),
        aggregation=TokenMean(),
        pull=Residual(at="old"),
    )
    teacher = batch.pulled["ref"][0]
    rho = np.exp(batch.log_policy - batch.log_old)
    want = rho * (teacher - batch.log_old) / batch.sequences.total
    assert_credit(rule.credit(zero).per_token, want)
    to_go = PolicyGradient(
        trust_region=Unbounded(),
        advantage=ReturnToGo(),
        aggregation=TokenMean(),
        pull=Residual(at="old"),
    )
    first = to_go.credit(zero).per_token[zero.sequences.offsets[:-1]]
    total = zero.sequences.sum(teacher - batch.log_old)
    assert_credit(first, rho[zero.sequences.offsets[:-1]] * total / batch.sequences.total)


def test_sampled_distillation_values():
    """Advantages of the three-token vocabulary: log π_T − log π_S, and the exact expectation."""
    student = np.array([1.0, 0.0, -1.0]) - np.logaddexp.reduce([1.0, 0.0, -1.0])
    teacher = np.array([0.5, 0.5, -2.0]) - np.logaddexp.reduce([0.5, 0.5, -2.0])
    a = teacher - student
    np.testing.assert_allclose(
        a, [-0.3257638304, 0.6742361696, -0.8257638304], rtol=0, atol=printed(10)
    )
    pi = np.exp(student)
    gradient = -(pi * a) @ (np.eye(3) - pi)
    np.testing.assert_allclose(
        gradient, [0.1328573897, -0.1958529688, 0.0629955791], rtol=0, atol=printed(10)
    )


def test_log_ratio_variance_is_a_composition(make_batch):
    """VarGrad / trajectory balance: −∇ of ½·Var_i(R_i), no importance weight, R at π_θ."""
    import torch

    contexts = Groups.equal(3, 5)
    batch = make_batch(lambda x: torch.tensor(x, dtype=torch.float64))
    batch = replace(batch, contexts=contexts)
    rule = PolicyGradient(
        trust_region=Truncate(cap=1.0, floor=1.0),
        advantage=GroupMean(),
        aggregation=SequenceMeanTokenSum(),
        pull=Residual(at="current"),
    )
    log_policy = batch.log_policy.clone().requires_grad_()
    r = batch.tilt + batch.log_base - batch.sequences.sum(log_policy)
    loss = sum(0.5 * r[5 * c : 5 * c + 5].var(unbiased=False) for c in range(3)) / 3
    want = -torch.autograd.grad(loss, log_policy)[0]
    assert_credit(rule.credit(batch).per_token, want)


def test_the_recipe_of_the_log_ratio_variance_is_it_off_policy_too(make_batch):
    """½·Var_i(R_i), ddof 1, of draws of another μ; weighed by ρ it is another gradient there."""
    import torch

    from tod.atlas import recipe

    contexts = Groups.equal(3, 5)
    batch = make_batch(lambda x: torch.tensor(x, dtype=torch.float64))
    batch = replace(batch, contexts=contexts)
    assert not torch.equal(batch.log_policy, batch.log_old), "π has left μ"
    rule = recipe("vargrad").operator.action
    log_policy = batch.log_policy.clone().requires_grad_()
    r = batch.tilt + batch.log_base - batch.sequences.sum(log_policy)
    loss = sum(0.5 * r[5 * c : 5 * c + 5].var(unbiased=True) for c in range(3)) / 3
    want = -torch.autograd.grad(loss, log_policy)[0]
    assert_credit(rule.credit(batch).per_token, want)
    weighed = rule.revised(trust_region=Unbounded()).credit(batch).per_token
    with pytest.raises(AssertionError):
        assert_credit(weighed, want)


@pytest.mark.parametrize(
    ("advantage", "scale_free"),
    [
        (ReturnToGo(), False),
        (ReturnToGo(whiten=Whitening()), True),
        (Gae(), False),
        (BatchZScore(), True),
        (LeaveOneOutZScore(), True),
        (Raw(), False),
    ],
)
def test_scale_free_says_whether_sharpness_is_connected(make_batch, advantage, scale_free):
    assert advantage.scale_free is scale_free
    batch = _with_critic(make_batch)
    if isinstance(advantage, Gae):
        batch = replace(batch, critic=0 * batch.critic)
    sharper = replace(batch, tilt=3 * batch.tilt, sharpness=3 * batch.sharpness)
    rule = PolicyGradient(advantage=advantage)
    one, three = rule.credit(batch).per_token, rule.credit(sharper).per_token
    # beside a deviation of ε = 1e-8 and up, which is not scaled
    assert_credit(three, one if scale_free else 3 * one)


def test_what_cannot_be_is_refused(make_batch):
    with pytest.raises(SpecError, match="needs a critic"):
        PolicyGradient(advantage=Gae()).credit(make_batch())
    lean = replace(make_batch(), log_base_tokens=None)
    with pytest.raises(SpecError, match="token by token"):
        PolicyGradient(advantage=ReturnToGo(), pull=Residual()).credit(lean)
    for bad, message in (
        ({"advantage": "batch_zscore", "pull": {"kind": "residual"}}, "at: old"),
        ({"advantage": {"kind": "gae", "whiten": {}}, "pull": {"kind": "residual"}}, "at: old"),
        ({"advantage": "gae", "level": "sequence_mean_of_clipped"}, "use level token"),
        ({"advantage": {"kind": "gae", "trace": 1.1}}, "trace"),
        ({"advantage": {"kind": "return_to_go", "baseline": "group_zscore"}}, "baseline"),
    ):
        with pytest.raises(SpecError, match=message):
            PolicyGradient.parse(bad)
    assert PolicyGradient(advantage=Gae()).needs_critic
    assert not PolicyGradient().needs_critic
    assert PolicyGradient().moments(make_batch()) is None
