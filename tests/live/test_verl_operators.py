"""Our operators under verl's signatures: value, gradient, and what the signatures cannot carry."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tod.base import Groups, SpecError
from tod.live.verl.advantages import ADVANTAGES, advantage
from tod.live.verl.losses import LOSSES, policy_loss
from tod.live.verl.operators import settings_of
from tod.operators import (
    Batch,
    BestOfK,
    Clip,
    ConstantLength,
    DualClip,
    GroupMean,
    GroupZScore,
    KLPull,
    LeaveOneOut,
    Mask,
    PolicyGradient,
    Preference,
    Residual,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    SoftGate,
    TokenMean,
    TokenTruncation,
    Totals,
    Uniform,
    WeightedRegression,
)
from tolerance import double

ETA, SIZES = 2.5, (4, 3, 5)
MODES = {
    "token-mean": TokenMean(),
    "seq-mean-token-mean": SequenceMeanTokenMean(),
    "seq-mean-token-sum": SequenceMeanTokenSum(),
    "seq-mean-token-sum-norm": ConstantLength(length=9),
}


class Table:
    """Rollouts as verl hands them to a loss: [B, T], right-padded, with tools' tokens masked."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        count, width = sum(SIZES), 9
        lengths = rng.integers(1, width + 1, size=count)
        mask = np.arange(width) < lengths[:, None]
        mask[3, :1] &= lengths[3] == 1
        self.mask = torch.tensor(mask)
        self.index = np.repeat([f"u{i}" for i in range(len(SIZES))], SIZES)
        self.order = rng.permutation(count)
        self.old, self.ref = (torch.tensor(-rng.gamma(1.0, 0.7, (count, width))) for _ in "ab")
        self.new = (self.old + torch.tensor(0.3 * rng.normal(size=(count, width)))).requires_grad_()
        self.reward = torch.tensor(rng.beta(0.6, 0.8, count))
        self.config = SimpleNamespace(
            clip_ratio=0.2,
            clip_ratio_low=0.15,
            clip_ratio_high=None,
            get=lambda name, other: {"clip_ratio_c": 2.0}.get(name, other),
            global_batch_info={},
        )

    def batch(self, value: torch.Tensor, **more: object) -> Batch:
        """The same for our own engine: contexts contiguous, tokens flat."""
        sequences = Groups(self.mask.sum(1).numpy())
        contexts = Groups(np.array(SIZES))
        tilt = ETA * value
        return Batch(
            contexts=contexts,
            sequences=sequences,
            log_policy=self.new.detach()[self.mask],
            log_old=self.old[self.mask],
            value=value,
            tilt=tilt,
            sharpness=ETA,
            totals=Totals.of(sequences, contexts),
            **more,
        )

    def gradient(self, loss: torch.Tensor) -> torch.Tensor:
        (found,) = torch.autograd.grad(loss, self.new)
        return found[self.mask]


@pytest.fixture
def table():
    return Table()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_our_engines(table, name, mode):
    """Against the credit of the rule itself, on the whole batch, and the paper's own surrogate."""
    level, region = LOSSES[name]
    rule = PolicyGradient(
        level=level,
        trust_region=region(0.15, 0.2, 2.0),
        advantage=GroupMean(),
        aggregation=MODES[mode],
    )
    centred = GroupMean()(table.reward, Groups(np.array(SIZES)))
    advantages = centred.unsqueeze(1) * table.mask
    loss, _ = policy_loss(name)(table.old, table.new, advantages, table.mask, mode, table.config)
    credit = rule.credit(table.batch(table.reward)).per_token / ETA
    bound = double(64, condition=16)
    torch.testing.assert_close(table.gradient(loss), -credit, rtol=bound, atol=bound)
    value = -(credit * table.new.detach()[table.mask]).sum()
    assert float(loss.detach()) == pytest.approx(float(value), rel=double(64, condition=64))


@pytest.mark.parametrize("name", [n for n in LOSSES if LOSSES[n][0] == "token"])
def test_the_gradient_is_that_of_the_papers_surrogate(table, name):
    """By autograd of f(ρ, A) itself, averaged over tokens: no code of the credit is in it."""
    region = LOSSES[name][1](0.15, 0.2, 2.0)
    centred = GroupMean()(table.reward, Groups(np.array(SIZES))).unsqueeze(1) * table.mask
    log_rho = (table.new - table.old)[table.mask]
    objective = region.surrogate(log_rho, centred[table.mask]).sum() / table.mask.sum()
    loss, _ = policy_loss(name)(
        table.old, table.new, centred, table.mask, "token-mean", table.config
    )
    bound = double(64, condition=16)
    torch.testing.assert_close(
        table.gradient(loss), table.gradient(-objective), rtol=bound, atol=bound
    )


def test_micro_batches_add_up_to_the_step(table):
    advantages = GroupMean()(table.reward, Groups(np.array(SIZES))).unsqueeze(1) * table.mask
    for mode in ("token-mean", "seq-mean-token-sum"):
        whole, _ = policy_loss("tod_clip")(
            table.old, table.new, advantages, table.mask, mode, table.config
        )
        table.config.global_batch_info = {
            "batch_num_tokens": int(table.mask.sum()),
            "global_batch_size": sum(SIZES),
            "dp_size": 1,
        }
        parts = [
            policy_loss("tod_clip")(
                *(x[rows] for x in (table.old, table.new, advantages, table.mask)),
                mode,
                table.config,
            )[0]
            for rows in (slice(0, 5), slice(5, 12))
        ]
        assert float(sum(parts).detach()) == pytest.approx(
            float(whole.detach()), rel=double(64, condition=64)
        )
        table.config.global_batch_info = {}


def test_an_importance_weight_and_processes_scale_the_loss(table):
    advantages = GroupMean()(table.reward, Groups(np.array(SIZES))).unsqueeze(1) * table.mask
    loss = policy_loss("tod_unbounded")
    plain, _ = loss(table.old, table.new, advantages, table.mask, "token-mean", table.config)
    table.config.global_batch_info = {"dp_size": 4}
    weights = torch.full_like(table.old, 0.5)
    scaled, _ = loss(
        table.old, table.new, advantages, table.mask, "token-mean", table.config, weights
    )
    assert float(scaled.detach()) == pytest.approx(
        2 * float(plain.detach()), rel=double(64, condition=64)
    )


def test_a_micro_batch_without_a_token_has_no_gradient(table):
    nothing = torch.zeros_like(table.mask)
    loss, told = policy_loss("tod_clip")(
        table.old, table.new, table.old, nothing, "token-mean", table.config
    )
    assert float(loss.detach()) == 0.0
    assert told["actor/ppo_kl"] == 0.0


def test_what_a_loss_cannot_read_is_refused(table):
    with pytest.raises(SpecError, match=r"tod_clip takes one advantage a rollout.*gae"):
        policy_loss("tod_clip")(
            table.old, table.new, table.ref, table.mask, "token-mean", table.config
        )
    ones = torch.ones_like(table.old)
    with pytest.raises(SpecError, match="token-sum"):
        policy_loss("tod_clip")(table.old, table.new, ones, table.mask, "token-sum", table.config)


def algorithm(**more):
    control = SimpleNamespace(type="fixed", kl_coef=1 / ETA)
    known = {"use_kl_in_reward": True, "kl_penalty": "kl", "kl_ctrl": control}
    return SimpleNamespace(**{**known, **more})


def rewards_of(table: Table, beta: float) -> torch.Tensor:
    """Token rewards as verl makes them: the score on the last token, −β·(log π_old − log π_ref)."""
    last = table.mask.cumsum(1).argmax(1)
    scores = torch.zeros_like(table.old)
    scores[torch.arange(len(last)), last] = table.reward
    return scores - beta * (table.old - table.ref) * table.mask


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("tod_group_mean", GroupMean()),
        ("tod_leave_one_out", LeaveOneOut()),
        ("tod_group_zscore", GroupZScore(epsilon=1e-6)),
    ],
)
def test_advantages_are_ours_in_any_order_of_rows(table, name, ours):
    expected = ours(table.reward, Groups(np.array(SIZES)))
    order = table.order
    found, returns = advantage(name)(
        token_level_rewards=rewards_of(table, 0.0)[order],
        response_mask=table.mask[order],
        index=table.index[order],
        config=algorithm(),
    )
    bound = double(16, condition=16)
    torch.testing.assert_close(
        found, (expected.unsqueeze(1) * table.mask)[order], rtol=bound, atol=bound
    )
    assert returns is found


@pytest.mark.parametrize("name", ["tod_group_mean", "tod_log_ratio_variance"])
def test_a_reward_counts_where_the_mask_has_none_of_its_tokens(table, name):
    """A tool's last token holds the reward; a rollout correction rejects a whole rollout."""
    beta = 0.0 if name == "tod_group_mean" else 1 / ETA
    rewards, masks = rewards_of(table, beta), table.mask.clone()
    last = table.mask.cumsum(1).argmax(1)
    masks[0, last[0]] = False
    masks[1] = False
    unit = beta or 1.0
    expected = GroupMean()(rewards.sum(1) / unit, Groups(np.array(SIZES)))
    found, _ = advantage(name)(
        token_level_rewards=rewards, response_mask=masks, index=table.index, config=algorithm()
    )
    bound = double(64, condition=16)
    torch.testing.assert_close(found, expected.unsqueeze(1) * masks, rtol=bound, atol=bound)


def weighed(table: Table) -> Batch:
    """The batch with log q̃*/π_old, the target π_ref·exp(η·U), drawn by π_old."""
    sequences = Groups(table.mask.sum(1).numpy())
    base, mu = (sequences.sum(x[table.mask]) for x in (table.ref, table.old))
    return table.batch(table.reward, log_w=base - mu + ETA * table.reward, log_mu=mu, log_base=base)


@pytest.mark.parametrize(
    ("name", "action", "loss", "equal"),
    [
        (
            "tod_log_ratio_variance",
            PolicyGradient(
                trust_region={"kind": "unbounded"},
                pull=Residual(at="old"),
                aggregation=SequenceMeanTokenSum(),
            ),
            "tod_unbounded",
            False,
        ),
        ("tod_target_weights", WeightedRegression(), "tod_likelihood", True),
        ("tod_centred_weights", WeightedRegression(centred=True), "tod_likelihood", True),
    ],
)
def test_weights_and_residuals_train_as_in_our_engine(table, name, action, loss, equal):
    """The gradient through verl's two signatures is the credit of the rule.

    Weights are an average within prompts and verl's a sum over rollouts: equal where all prompts
    have as many. The centred rule is that at the policy that opened the batch.
    """
    if equal:
        table = with_equal_prompts(table)
    if name == "tod_centred_weights":
        table.new = table.old.clone().requires_grad_()
    tokens, _ = advantage(name)(
        token_level_rewards=rewards_of(table, 1 / ETA),
        response_mask=table.mask,
        index=table.index,
        config=algorithm(),
    )
    found, _ = policy_loss(loss)(
        table.old, table.new, tokens, table.mask, "seq-mean-token-sum", table.config
    )
    credit = action.credit(weighed(table)).per_token
    bound = double(64, condition=64)
    torch.testing.assert_close(table.gradient(found), -credit, rtol=bound, atol=bound)


def with_equal_prompts(table: Table) -> Table:
    """The same rollouts in three prompts of four."""
    table.index = np.repeat(["u0", "u1", "u2"], 4)
    own = table.batch

    def batch(value, **more):
        from dataclasses import replace

        contexts = Groups(np.array([4, 4, 4]))
        made = own(value, **more)
        return replace(made, contexts=contexts, totals=Totals.of(made.sequences, contexts))

    table.batch = batch
    return table


@pytest.mark.parametrize("name", [n for n, (in_nats, _) in ADVANTAGES.items() if in_nats])
@pytest.mark.parametrize(
    "wrong",
    [
        {"use_kl_in_reward": False},
        {"kl_penalty": "low_var_kl"},
        {"kl_ctrl": SimpleNamespace(type="adaptive", kl_coef=0.1)},
        {"kl_ctrl": SimpleNamespace(type="fixed", kl_coef=0.0)},
    ],
)
def test_weights_need_the_kl_in_the_reward(table, name, wrong):
    with pytest.raises(SpecError, match=r"use_kl_in_reward=true.*kl_coef"):
        advantage(name)(
            token_level_rewards=rewards_of(table, 0.0),
            response_mask=table.mask,
            index=table.index,
            config=algorithm(**wrong),
        )


A = "actor_rollout_ref.actor."


def test_settings_are_those_of_the_action():
    action = PolicyGradient(
        trust_region=DualClip(low=0.1, high=0.3, cap=4.0),
        advantage=LeaveOneOut(),
        aggregation=ConstantLength(length=32),
        pull=KLPull(kind="k2"),
    )
    assert settings_of(action, eta=10.0) == {
        A + "policy_loss.loss_mode": "tod_dual_clip",
        A + "clip_ratio_low": 0.1,
        A + "clip_ratio_high": 0.3,
        A + "clip_ratio_c": 4.0,
        "algorithm.adv_estimator": "tod_leave_one_out",
        A + "use_kl_loss": True,
        A + "kl_loss_type": "k2",
        A + "kl_loss_coef": 0.1,
        A + "loss_agg_mode": "seq-mean-token-sum-norm",
        A + "loss_scale_factor": 32,
    }
    masked = settings_of(PolicyGradient(trust_region=Mask(low=0.5, high=5.0)))
    assert (masked[A + "clip_ratio_low"], masked[A + "clip_ratio_high"]) == (0.5, 4.0)
    for name in {masked[A + "policy_loss.loss_mode"]}:
        assert LOSSES[name][1](0.5, 4.0, 3.0) == Mask(low=0.5, high=5.0)


@pytest.mark.parametrize(
    ("action", "more", "why"),
    [
        (Preference(), {}, "without the prompts"),
        (PolicyGradient(trust_region=SoftGate()), {}, "soft_gate at level token"),
        (PolicyGradient(level="sequence_sum", trust_region=Mask()), {}, "mask at level"),
        (PolicyGradient(correction=TokenTruncation()), {}, "rollout_correction"),
        (PolicyGradient(pull=Residual()), {"eta": 1.0, "updates": 4}, "one update a batch"),
        (PolicyGradient(pull=Residual(at="old")), {}, "eta is needed"),
        (PolicyGradient(pull=Residual(at="old"), advantage=LeaveOneOut()), {"eta": 1.0}, "alone"),
        (PolicyGradient(pull=KLPull(kind="k3", importance=True)), {"eta": 1.0}, "no ratio"),
        (PolicyGradient(pull=KLPull(kind="k3", place="reward")), {"eta": 1.0}, "only k1"),
        (PolicyGradient(advantage={"kind": "return_to_go"}), {}, "return_to_go is none"),
        (WeightedRegression(centred=True), {"eta": 1.0, "updates": 2}, "centred: false"),
        (WeightedRegression(weights=Uniform()), {"eta": 1.0}, "weights: target alone"),
    ],
)
def test_what_the_signatures_cannot_carry_is_refused(action, more, why):
    with pytest.raises(SpecError, match=why):
        settings_of(action, **more)


def test_a_selection_is_no_training():
    with pytest.raises(SpecError, match="without the prompts"):
        settings_of(BestOfK())
    assert settings_of(PolicyGradient(trust_region=Clip()))[A + "clip_ratio_low"] == 0.2
