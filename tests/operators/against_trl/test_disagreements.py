"""Where TRL 1.16 and ours differ on purpose: what either does, by its own code.

Each is a row of docs/disagreements.md.
"""

from typing import Any

import numpy as np
import pytest
from trl import RLOOTrainer

from tod.base import Groups
from tod.operators import (
    BatchZScore,
    Clip,
    DualClip,
    GroupZScore,
    KLPull,
    LeaveOneOut,
    Moments,
    PolicyGradient,
    Raw,
    StaleNegatives,
    TokenTruncation,
    Totals,
    Truncate,
)
from tod.operators.corrections import Product
from tolerance import double, of_credit

TOL = of_credit("float64")
SEEN = 1e-3
"""A difference that is no rounding."""


def rule(**changes: Any) -> PolicyGradient:
    return PolicyGradient.parse({"kind": "policy_gradient", "advantage": "group_zscore", **changes})


def credit(rule: PolicyGradient, batch: Any) -> np.ndarray:
    return np.asarray(rule.credit(batch).per_token)


def masked(draw: Any, grouped: Any, scored: Any, **settings: Any) -> tuple[Any, ...]:
    """TRL's gradient with every third sequence masked as truncated, and what is left of it."""
    kept = np.arange(len(draw.reward)) % 3 > 0
    trainer = grouped(draw, mask_truncated_completions=True, **settings)
    given = trainer._generate([])
    for row, last in zip(given[1], np.where(kept, 7, 5), strict=True):
        row[-1] = int(last)  # 7 ends a sequence
    trainer._generate = lambda _: given
    inputs = scored(trainer, draw)
    trainer._compute_loss(None, inputs).backward()
    gradient = -trainer.leaf.grad[draw.mask.bool()].numpy()
    rows = np.flatnonzero(kept)
    part = draw.take(rows)
    _, at = draw.sequences.take(rows)
    assert not np.delete(gradient, at).any()
    advantages = inputs["advantages"].numpy()[rows]
    batch = part.batch(
        contexts=Groups(np.ones(len(rows), np.int64)),
        value=advantages,
        tilt=advantages,
        totals=Totals(part.sequences.total, len(rows), len(rows)),
    )
    return gradient[at], batch, len(rows) / len(draw.reward)


def test_masked_sequences_count_in_b(draw: Any, grouped: Any, scored: Any, gap: Any) -> None:
    """TRL divides by all B, ours by those with a policy token: only a factor."""
    gradient, batch, share = masked(draw, grouped, scored)
    ours = credit(rule(advantage="raw"), batch)
    assert gap(ours, gradient) > 0.1
    assert gap(share * ours, gradient) <= TOL


def test_masked_sequences_and_the_token_mean(
    draw: Any, grouped: Any, scored: Any, gap: Any
) -> None:
    gradient, batch, _ = masked(draw, grouped, scored, loss_type="dapo")
    ours = credit(rule(advantage=Raw(), aggregation="token_mean"), batch)
    assert gap(ours, gradient) <= TOL


def test_local_token_mean(draw: Any, grouped: Any, scored: Any, gap: Any) -> None:
    """TRL's bnpo divides by the tokens of the micro-batch: halves are not the whole."""
    trainer = grouped(draw, loss_type="bnpo", current_gradient_accumulation_steps=2)
    inputs, whole = scored(trainer, draw), trainer.leaf
    half = len(draw.reward) // 2
    for rows in (slice(0, half), slice(half, None)):
        part = {k: v if v.dim() == 0 else v[rows] for k, v in inputs.items()}
        trainer._get_per_token_logps_and_entropies = lambda *_, rows=rows, **__: (
            whole[rows],
            0.0 * whole[rows].detach(),
            None,
        )
        trainer._compute_loss(None, part).backward()
    gradient = -whole.grad[draw.mask.bool()].numpy()
    assert gap(credit(rule(aggregation="token_mean"), draw.batch()), gradient) > 0.01


def test_cispo_cap_left_unset(draw: Any, theirs: Any, gap: Any) -> None:
    """TRL falls back to ε = 0.2 as an absolute cap; ours to 5."""
    _, gradient = theirs(draw, loss_type="cispo")
    default = rule(aggregation="token_mean", trust_region=Truncate())
    assert gap(credit(default, draw.batch()), gradient) > 1.0
    capped = rule(aggregation="token_mean", trust_region=Truncate(cap=0.2))
    assert gap(credit(capped, draw.batch()), gradient) <= TOL


def test_cispo_without_a_floor(draw: Any, gap: Any) -> None:
    """verl clips from below as well; ours only if a floor is asked for."""
    open_below, floored = (
        credit(rule(trust_region=Truncate(cap=1.28, floor=floor)), draw.batch())
        for floor in (None, 0.8)
    )
    assert gap(open_below, floored) > SEEN


def test_corrected_kl_at_the_level_of_sequences(draw: Any, theirs: Any, gap: Any) -> None:
    """TRL multiplies k3 by the geometric mean; ours by the token's own ρ, at every level."""
    _, gradient = theirs(draw, importance_sampling_level="sequence", beta=0.5)
    ours = credit(
        rule(level="sequence_mean", pull=KLPull(kind="k3", importance=True)), draw.batch(rho=0.5)
    )
    assert gap(ours, gradient) > SEEN


def test_delta_inside_the_clip(draw: Any, theirs: Any, gap: Any) -> None:
    """TRL's δ = 1.1 < 1 + ε bounds positive advantages, and negative ones only at 1 + ε."""
    _, gradient = theirs(draw, delta=1.1)
    batch = draw.batch()
    positive = np.asarray(rule().credit(batch).advantage) > 0
    up = draw.sequences.spread(positive.astype(float)) > 0
    dual = credit(rule(trust_region=DualClip(cap=1.1)), batch)
    assert gap(dual[up], gradient[up]) > SEEN
    assert gap(dual[~up], gradient[~up]) > SEEN
    assert gap(credit(rule(trust_region=Clip(high=0.1)), batch)[up], gradient[up]) <= TOL
    at_the_clip = credit(rule(trust_region=DualClip(cap=1.2)), batch)
    assert gap(at_the_clip[~up], gradient[~up]) <= TOL


def test_normalised_rloo(draw: Any, grouped: Any, scored: Any, gap: Any) -> None:
    """TRL standardises leave-one-out advantages; batch_zscore divides by the rewards' spread."""
    trainer = grouped(draw, RLOOTrainer, normalize_advantages=True)
    theirs = scored(trainer, draw)["advantages"].numpy()
    raw = LeaveOneOut()(draw.reward, draw.contexts)
    assert gap(raw / (raw.std(ddof=1) + 1e-4), theirs) <= TOL
    ours = BatchZScore()(draw.reward, draw.contexts, Moments.of(draw.reward))
    assert gap(ours, theirs) > 0.01


def test_normalise_then_sum(draw: Any, grouped: Any, scored: Any, gap: Any) -> None:
    """GDPO z-scores once more over the batch; one utility of ours is z-scored once."""
    trainer = grouped(draw, multi_objective_aggregation="normalize_then_sum")
    theirs = scored(trainer, draw)["advantages"].numpy()
    once = GroupZScore()(draw.reward, draw.contexts)
    assert gap(once / (once.std(ddof=1) + 1e-4), theirs) <= TOL
    assert gap(once, theirs) > SEEN


def test_epsilon_of_the_group(draw: Any, grouped: Any, scored: Any, gap: Any) -> None:
    """1e-4 in TRL and by default here, 1e-6 in verl: declared, not assumed."""
    theirs = scored(grouped(draw), draw)["advantages"].numpy()
    assert gap(GroupZScore()(draw.reward, draw.contexts), theirs) <= TOL
    assert gap(GroupZScore(epsilon=1e-6)(draw.reward, draw.contexts), theirs) > 1e-5


def test_constant_group_of_inexact_rewards(make_draw: Any, grouped: Any, scored: Any) -> None:
    """TRL divides the rounding of the mean by 1e-4; ours is exactly 0."""
    draw = make_draw(0, contexts=2, size=3)
    draw.reward[:] = 0.1 + 1e9
    draw.reward[:3] = [0.1, 0.1, 0.1]
    theirs = scored(grouped(draw), draw)["advantages"].numpy()[:3]
    ours = GroupZScore()(draw.reward, draw.contexts)[:3]
    assert not ours.any()
    assert np.abs(theirs).max() <= 0.1 * double(3) / 1e-4


def test_two_corrections_at_once(draw: Any, theirs: Any, gap: Any) -> None:
    """TRL multiplies the off-policy mask and the sampler's weight: a product, where it is asked."""
    given = {"use_vllm": True, "vllm_importance_sampling_mode": "token_truncate"}
    _, gradient = theirs(draw, off_policy_mask_threshold=0.3, **given)
    batch = draw.batch()
    only = [TokenTruncation(cap=3.0), StaleNegatives(delta=0.3)]
    assert all(gap(credit(rule(correction=one), batch), gradient) > SEEN for one in only)
    assert gap(credit(rule(correction=Product(of=tuple(only))), batch), gradient) <= TOL


@pytest.mark.parametrize("eta", [0.5, 4.0])
def test_advantage_that_keeps_its_scale_is_in_nats(
    eta: float, draw: Any, theirs: Any, gap: Any
) -> None:
    """Without a z-score ours is η times TRL's: the value is the tilt ηU, not U."""
    _, gradient = theirs(draw, scale_rewards="none")
    ours = credit(rule(advantage="group_mean"), draw.batch(eta=eta))
    assert gap(ours / eta, gradient) <= TOL
