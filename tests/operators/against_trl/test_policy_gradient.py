"""Losses of groups against TRL 1.16's own code: gradients and, where one exists, the surrogate."""

import math
from typing import Any

import numpy as np
import pytest
from trl.experimental.gmpo.gmpo_trainer import GMPOTrainer

from tod.operators import KLPull, PolicyGradient, Truncate, at_level, estimator, mean_of_clipped
from tod.operators.trust_regions import gated
from tolerance import of_credit

TOL = of_credit("float64")
GSPO = {"level": "sequence_mean", "trust_region": {"kind": "clip", "low": 3e-4, "high": 4e-4}}
WIDE = {"level": "sequence_mean"}
LOG_04 = {"kind": "clip", "low": -math.expm1(-0.4), "high": math.expm1(0.4)}
CONSTANT = {"kind": "constant", "length": 24}
SEQUENCE = {"importance_sampling_level": "sequence"}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "grpo": ({}, {}),
    "bnpo, one micro-batch": ({"loss_type": "bnpo"}, {"aggregation": "token_mean"}),
    "dapo": (
        {"loss_type": "dapo", "epsilon_high": 0.28},
        {"aggregation": "token_mean", "trust_region": {"kind": "clip", "high": 0.28}},
    ),
    "dr_grpo": (
        {"loss_type": "dr_grpo", "scale_rewards": "none"},
        {"aggregation": CONSTANT, "advantage": "group_mean"},
    ),
    "batch scale": ({"scale_rewards": "batch"}, {"advantage": "batch_zscore"}),
    "gspo": ({**SEQUENCE, "epsilon_low": 3e-4, "epsilon_high": 4e-4}, GSPO),
    "gspo, wide": (SEQUENCE, WIDE),
    "gspo, token mean": ({**SEQUENCE, "loss_type": "dapo"}, {**WIDE, "aggregation": "token_mean"}),
    "gspo, constant": ({**SEQUENCE, "loss_type": "dr_grpo"}, {**WIDE, "aggregation": CONSTANT}),
    "luspo": (
        {**SEQUENCE, "loss_type": "luspo"},
        {**WIDE, "aggregation": "sequence_mean_token_sum"},
    ),
    "luspo, token level": ({"loss_type": "luspo"}, {"aggregation": "sequence_mean_token_sum"}),
    "sapo": ({"loss_type": "sapo"}, {"trust_region": "soft_gate"}),
    "sapo, other temperatures": (
        {"loss_type": "sapo", "sapo_temperature_pos": 0.7, "sapo_temperature_neg": 2.0},
        {"trust_region": {"kind": "soft_gate", "tau_pos": 0.7, "tau_neg": 2.0}},
    ),
    "cispo, cap 5": (
        {"loss_type": "cispo", "epsilon_high": 5.0},
        {"aggregation": "token_mean", "trust_region": {"kind": "truncate", "cap": 5.0}},
    ),
    "cispo, TRL's default cap": (
        {"loss_type": "cispo"},
        {"aggregation": "token_mean", "trust_region": {"kind": "truncate", "cap": 0.2}},
    ),
    "two-sided delta": ({"delta": 1.5}, {"trust_region": {"kind": "dual_clip", "cap": 1.5}}),
    "kl in the loss": (
        {"beta": 0.04, "use_bias_correction_kl": False},
        {"pull": {"kind": "k3"}},
    ),
    "kl, TRL's default correction": (
        {"beta": 0.04},
        {"pull": {"kind": "k3", "importance": True}},
    ),
    "kl, token mean": (
        {"beta": 0.04, "loss_type": "dapo"},
        {"pull": {"kind": "k3", "importance": True}, "aggregation": "token_mean"},
    ),
    "kl beside gspo": (
        {**SEQUENCE, "beta": 0.04, "use_bias_correction_kl": False},
        {**WIDE, "pull": {"kind": "k3"}},
    ),
}

SAMPLER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "token_truncate": ({}, {"kind": "token_truncation", "cap": 3.0}),
    "token_truncate, cap 1.1": (
        {"vllm_importance_sampling_clip_max": 1.1, "vllm_importance_sampling_clip_min": 0.9},
        {"kind": "token_truncation", "cap": 1.1, "floor": 0.9},
    ),
    "token_mask": (
        {"vllm_importance_sampling_clip_max": 1.2, "vllm_importance_sampling_clip_min": 0.8},
        {"kind": "token_mask", "low": 0.8, "high": 1.2},
    ),
    "sequence_truncate": (
        {"vllm_importance_sampling_clip_max": 1.2},
        {"kind": "sequence_truncation", "cap": 1.2},
    ),
    "sequence_truncate, two-sided": (
        {"vllm_importance_sampling_clip_max": 1.2, "vllm_importance_sampling_clip_min": 0.8},
        {"kind": "sequence_truncation", "cap": 1.2, "floor": 0.8},
    ),
    "sequence_mask": ({}, "sequence_mask"),
    "sequence_mask, two-sided": (
        {"vllm_importance_sampling_clip_max": 1.5, "vllm_importance_sampling_clip_min": 0.6},
        {"kind": "sequence_mask", "low": 0.6, "high": 1.5},
    ),
}


def rule(**changes: Any) -> PolicyGradient:
    """GRPO, but for the changes; TRL's ε."""
    return PolicyGradient.parse({"kind": "policy_gradient", "advantage": "group_zscore", **changes})


def value(rule: PolicyGradient, batch: Any) -> float:
    """Our surrogate loss: −Σ a_t f(ρ_t, A) with the pull's estimator, from the rule's parts."""
    credit = rule.credit(batch)
    advantage = batch.sequences.spread(credit.advantage)
    length = batch.sequences.spread(batch.sequences.sizes_like(batch.log_policy))
    log_rho = at_level(batch.log_policy - batch.log_old, batch.sequences, rule.level)
    if rule.level == "sequence_mean_of_clipped":
        log_rho = mean_of_clipped(log_rho, advantage, rule.trust_region.log_bounds, batch.sequences)
        f = gated(np.ones_like(log_rho), log_rho) * advantage
    else:
        f = rule.trust_region.surrogate(log_rho, advantage, length)
    if rule.level == "sequence_sum":  # ∂S/∂log π is 1 for each token: a sequence counts once
        f = f / length
    f = f if credit.correction is None else f * credit.correction
    if isinstance(rule.pull, KLPull) and rule.pull.place == "loss":
        for log_anchor, exponent in batch.pulled.values():
            k = estimator(rule.pull.kind, log_anchor - batch.log_policy)
            rho = np.exp(batch.log_policy - batch.log_old) if rule.pull.importance else 1.0
            f = f - exponent * rho * k / batch.sharpness
    weights = rule.aggregation.weights(batch.sequences, batch.totals, batch.log_policy)
    return -float((weights * f).sum())


@pytest.mark.parametrize("name", CASES)
def test_gradient_and_loss(name: str, draw: Any, theirs: Any, gap: Any) -> None:
    settings, changes = CASES[name]
    ours = rule(**changes)
    loss, gradient = theirs(draw, **settings)
    batch = draw.batch(rho=0.04)
    assert gap(ours.credit(batch).per_token, gradient) <= TOL
    if not isinstance(ours.trust_region, Truncate):  # its loss is no objective: log π or log ρ
        assert value(ours, batch) == pytest.approx(loss, rel=TOL)


@pytest.mark.parametrize("name", SAMPLER)
def test_correction_of_the_sampler(name: str, draw: Any, theirs: Any, gap: Any) -> None:
    settings, correction = SAMPLER[name]
    mode = name.split(",")[0]
    given = {"use_vllm": True, "vllm_importance_sampling_mode": mode, "beta": 0.04, **settings}
    loss, gradient = theirs(draw, **given)
    ours = rule(correction=correction, pull={"kind": "k3", "importance": True})
    batch = draw.batch(rho=0.04)
    assert gap(ours.credit(batch).per_token, gradient) <= TOL
    assert value(ours, batch) == pytest.approx(loss, rel=TOL)


@pytest.mark.parametrize("delta", [0.02, 0.3])
def test_stale_negatives(delta: float, draw: Any, theirs: Any, gap: Any) -> None:
    _, gradient = theirs(draw, off_policy_mask_threshold=delta)
    ours = rule(correction={"kind": "stale_negatives", "delta": delta})
    batch = draw.batch(log_mu_tokens=draw.log_old)  # TRL without vLLM takes μ to be the old policy
    assert gap(ours.credit(batch).per_token, gradient) <= TOL


@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_gmpo(beta: float, draw: Any, theirs: Any, gap: Any) -> None:
    loss, gradient = theirs(draw, GMPOTrainer, epsilon_low=0.4, epsilon_high=0.4, beta=beta)
    pull = {"kind": "k3"} if beta else None
    ours = rule(level="sequence_mean_of_clipped", trust_region=LOG_04, pull=pull)
    batch = draw.batch(rho=beta)
    assert gap(ours.credit(batch).per_token, gradient) <= TOL
    assert value(ours, batch) == pytest.approx(loss, rel=TOL)


def test_rloo_with_kl_in_the_reward(draw: Any, theirs: Any, gap: Any) -> None:
    from trl import RLOOTrainer

    beta = 0.05
    loss, gradient = theirs(draw, RLOOTrainer, beta=beta)
    ours = rule(
        level="sequence_sum",
        advantage="leave_one_out",
        aggregation="sequence_mean_token_sum",
        pull={"kind": "k1", "place": "reward"},
    )
    batch = draw.batch(eta=1 / beta)
    # with an advantage that keeps its scale ours is in nats: R/β − Σ k1, TRL's is R − β Σ k1
    assert gap(beta * np.asarray(ours.credit(batch).per_token), gradient) <= TOL
    assert beta * value(ours, batch) == pytest.approx(loss, rel=TOL)


def test_micro_batches_add_up_to_the_step(draw: Any, grouped: Any, scored: Any, gap: Any) -> None:
    """TRL's dapo over two halves with accumulation; our totals are those of the step."""
    given = {"loss_type": "dapo", "steps_per_generation": 2, "gradient_accumulation_steps": 3}
    trainer = grouped(draw, current_gradient_accumulation_steps=2, **given)
    inputs = scored(trainer, draw)
    half = len(draw.reward) // 2
    for rows in (slice(0, half), slice(half, None)):
        part = {k: v if v.dim() == 0 else v[rows] for k, v in inputs.items()}
        whole = trainer._get_per_token_logps_and_entropies
        trainer._get_per_token_logps_and_entropies = lambda *_, rows=rows, **__: (
            trainer.leaf[rows],
            0.0 * trainer.leaf[rows].detach(),
            None,
        )
        trainer._compute_loss(None, part).backward()
        trainer._get_per_token_logps_and_entropies = whole
    gradient = -trainer.leaf.grad[draw.mask.bool()].numpy()
    assert gap(rule(aggregation="token_mean").credit(draw.batch()).per_token, gradient) <= TOL
