"""Losses of groups and of tokens against the numbers of verl 0.9.1's own functions."""

import math
from typing import Any

import numpy as np
import pytest

from tod.base import Groups
from tod.operators import (
    KLPull,
    PolicyGradient,
    Totals,
    Truncate,
    at_level,
    estimator,
    mean_of_clipped,
)
from tod.operators.trust_regions import gated
from tolerance import of_credit, stated

TOL = of_credit("float64") + stated(1e-8, "verl adds it to the tokens that a mean divides by")
"""Rounding, and what verl adds to the number of tokens that its means divide by."""
TOKENS = {"aggregation": "token_mean"}
DUAL = {"trust_region": {"kind": "dual_clip", "cap": 3.0}}
ZSCORE = {"advantage": {"kind": "group_zscore", "epsilon": 1e-6}}
WIDE = {"level": "sequence_mean", "trust_region": "clip"}
PLAIN = {"trust_region": {"kind": "truncate", "cap": 1.0, "floor": 1.0}}
"""∇log π times the advantage, no ratio: REINFORCE."""
BOTH = {**TOKENS, **DUAL}
WHITE = {"whiten": {}}

CASES: dict[str, dict[str, Any]] = {
    "grpo": DUAL,
    "grpo, no dual clip": {},
    "dr_grpo": {
        "advantage": "group_mean",
        "aggregation": {"kind": "constant", "length": 24},
    },
    "dapo": {**TOKENS, "trust_region": {"kind": "clip", "high": 0.28}},
    "sequence sum": {"aggregation": "sequence_mean_token_sum"},
    "gspo": {
        "level": "sequence_mean",
        "trust_region": {"kind": "clip", "low": 3e-4, "high": 4e-4},
    },
    "gspo, wide": WIDE,
    "gspo, token mean": {**WIDE, **TOKENS},
    "sapo": {"trust_region": "soft_gate"},
    "sapo, other temperatures": {
        "trust_region": {"kind": "soft_gate", "tau_pos": 0.7, "tau_neg": 2.0}
    },
    "cispo": {**TOKENS, "trust_region": {"kind": "truncate", "cap": 1.28, "floor": 0.8}},
    "cispo, no floor": {**TOKENS, "trust_region": {"kind": "truncate", "cap": 5.0}},
    "gmpo": {
        "level": "sequence_mean_of_clipped",
        "trust_region": {"kind": "clip", "low": -math.expm1(-0.4), "high": math.expm1(0.4)},
    },
    "rloo": {**TOKENS, **DUAL, "advantage": "leave_one_out"},
    "rloo, vectorized": {**TOKENS, **DUAL, "advantage": "leave_one_out"},
    "reinforce++": {
        **BOTH,
        "advantage": {"kind": "return_to_go", "discount": 0.9, **WHITE},
        "pull": {"kind": "k1", "place": "reward"},
    },
    "reinforce++, baseline": {
        **BOTH,
        "advantage": {"kind": "return_to_go", "baseline": "group_mean", **WHITE},
    },
    "ppo": {**BOTH, "advantage": {"kind": "gae", **WHITE}},
    "ppo, kl in the reward": {
        **BOTH,
        "advantage": {"kind": "gae", "discount": 0.97, **WHITE},
        "pull": {"kind": "k1", "place": "reward"},
    },
    "kl k1": {**DUAL, "pull": {"kind": "k1"}},
    "kl k2": {**DUAL, "pull": {"kind": "k2"}},
    "kl k3": {**DUAL, "pull": {"kind": "k3"}},
    "kl k3, token mean": {**BOTH, "pull": {"kind": "k3"}},
    "kl k3+": {**DUAL, "pull": {"kind": "k2"}},
    "kl k1+": {**DUAL, "pull": {"kind": "k2"}},
    "tis": {**DUAL, "correction": {"kind": "token_truncation", "cap": 2.0}},
    "tis, cap 1.1": {**DUAL, "correction": {"kind": "token_truncation", "cap": 1.1}},
    "icepop": {**DUAL, "correction": {"kind": "token_mask", "low": 0.8, "high": 1.2}},
    "sequence tis": {**BOTH, "correction": {"kind": "sequence_truncation", "cap": 1.2}},
    "mis": {
        **WIDE,
        **TOKENS,
        "correction": {"kind": "sequence_mask", "low": 0.6, "high": 1.5},
    },
    "rejection by sequence": {
        **BOTH,
        "correction": {"kind": "sequence_rejection", "low": 1 / 1.4, "high": 1 / 0.5},
    },
    "rejection by mean": {
        **DUAL,
        "correction": {"kind": "geometric_rejection", "low": 1 / 1.05, "high": 1 / 0.92},
    },
    "mean rejection times tis": {
        **BOTH,
        "correction": {
            "kind": "geometric_rejection",
            "low": 1 / 1.05,
            "high": 1 / 0.92,
            "weighted": True,
        },
    },
    "token rejection times tis": {
        **BOTH,
        "correction": {"kind": "token_mask", "low": 0.8, "high": 1.25},
    },
}
RHO = {"reinforce++": 0.05, "ppo, kl in the reward": 0.1}
"""Coefficients of the KL that are not 0.04."""
NO_VALUE = ("cispo", "cispo, no floor", "kl k3+", "kl k1+")
"""The loss is no objective, or its value is another estimator's than its gradient."""


def rule(**changes: Any) -> PolicyGradient:
    """GRPO with verl's ε, but for the changes."""
    return PolicyGradient.parse({"kind": "policy_gradient", **ZSCORE, **changes})


def value(rule: PolicyGradient, batch: Any) -> float:
    """Our surrogate loss: −Σ a_t f(ρ_t, A) with the pull's estimator, from the rule's parts."""
    credit = rule.credit(batch)
    _, advantage = rule.advantage.of_batch(rule.pull, batch)
    length = batch.sequences.spread(batch.sequences.sizes_like(batch.log_policy))
    log_rho = at_level(batch.log_policy - batch.log_old, batch.sequences, rule.level)
    if rule.level == "sequence_mean_of_clipped":
        bounds = rule.trust_region.log_bounds
        log_rho = mean_of_clipped(log_rho, advantage, bounds, batch.sequences)
        f = gated(np.ones_like(log_rho), log_rho) * advantage
    else:
        f = rule.trust_region.surrogate(log_rho, advantage, length)
    f = f if credit.correction is None else f * credit.correction
    if isinstance(rule.pull, KLPull) and rule.pull.place == "loss":
        for log_anchor, exponent in batch.pulled.values():
            f = f - exponent * estimator(rule.pull.kind, log_anchor - batch.log_policy)
    return -float((rule.aggregation.weights(batch.sequences, batch.totals, f) * f).sum())


@pytest.mark.parametrize("name", CASES)
def test_gradient_and_loss(name: str, said: Any, gap: Any) -> None:
    ours, batch = rule(**CASES[name]), said.batch(rho=RHO.get(name, 0.04))
    assert gap(ours.advantage.of_batch(ours.pull, batch)[1], said(name, "advantages")) <= TOL
    assert gap(ours.credit(batch).per_token, said(name, "gradient")) <= TOL
    if name not in NO_VALUE:
        assert value(ours, batch) == pytest.approx(said(name, "loss"), abs=TOL)


def test_every_region_acts(said: Any) -> None:
    """Nothing above agrees because a bound did not act."""
    for name, changes in CASES.items():
        ours, batch = rule(**changes), said.batch()
        credit = ours.credit(batch)
        gate = credit.gate if isinstance(ours.trust_region, Truncate) else 1 - credit.gate
        assert np.ptp(np.asarray(gate)) > 0, name
        assert credit.correction is None or np.ptp(np.asarray(credit.correction)) > 0, name


def test_gpg(said: Any, gap: Any) -> None:
    """verl multiplies by B over the number of rewards that are not 0; here none is 0."""
    ours = rule(**TOKENS, **PLAIN, advantage="group_mean")
    assert gap(ours.credit(said.batch()).per_token, said("gpg", "gradient")) <= TOL


def test_remax(said: Any, gap: Any) -> None:
    """The reward of the greedy answer is the baseline: it comes in with the utility."""
    less = said.draw.reward - said.draw.greedy
    batch = said.batch(value=less, tilt=less)
    ours = rule(**TOKENS, **DUAL, advantage="raw")
    assert gap(ours.credit(batch).per_token, said("remax", "gradient")) <= TOL


def test_bypass(said: Any, gap: Any) -> None:
    """With old := μ verl's REINFORCE is a truncated weight, and PPO is PPO without another one."""
    batch = said.batch(log_old=said.draw.log_mu)
    capped = rule(**TOKENS, trust_region={"kind": "truncate", "cap": 2.0})
    assert gap(capped.credit(batch).per_token, said("bypass, reinforce", "gradient")) <= TOL
    clipped = rule(**TOKENS, **DUAL)
    assert gap(clipped.credit(batch).per_token, said("bypass, ppo", "gradient")) <= TOL


def test_sampled_distillation(said: Any, gap: Any) -> None:
    """k1 as the advantage of a policy gradient, the teacher in the reference's place."""
    none = np.zeros_like(said.draw.reward)
    ours = rule(
        **TOKENS,
        advantage={"kind": "return_to_go", "discount": 0.0},
        pull={"kind": "residual", "at": "current"},
    )
    batch = said.batch(value=none, tilt=none)
    assert gap(ours.credit(batch).per_token, said("distillation k1", "gradient")) <= TOL


def test_dropped_sequences(said: Any, gap: Any) -> None:
    """Every third sequence has no token of the policy: both leave it out of B."""
    rows = np.flatnonzero(np.arange(len(said.draw.lengths)) % 3 > 0)
    sequences, at = Groups(said.draw.lengths).take(rows)
    ones = Groups(np.ones(len(rows), np.int64))
    batch = said.batch(
        contexts=ones,
        sequences=sequences,
        log_policy=said.draw.log_policy[at],
        log_old=said.draw.log_old[at],
        value=said("dropped sequences", "advantages")[at][sequences.offsets[:-1]],
        totals=Totals.of(sequences, ones),
    )
    ours = rule(**DUAL, advantage="raw")
    batch = type(batch)(**{**vars(batch), "tilt": batch.value})
    theirs = said("dropped sequences", "gradient")
    assert not np.delete(theirs, at).any()
    assert gap(ours.credit(batch).per_token, theirs[at]) <= TOL
