"""Where verl 0.9.1 and ours differ on purpose: what either does, by its own code.

Each is a row of docs/disagreements.md.
"""

from typing import Any

import numpy as np
import pytest
import torch

from tod.engine.losses import divergence
from tod.operators import FullVocabulary, PolicyGradient
from tolerance import of_credit, rounding, stated

TOL = of_credit("float64") + stated(1e-8, "verl adds it to the tokens that a mean divides by")
"""Rounding, and what verl adds to the number of tokens that its means divide by."""
SEEN = 1e-3
"""A difference that is no rounding."""
DUAL = {"trust_region": {"kind": "dual_clip", "cap": 3.0}}
ZSCORE = {"advantage": {"kind": "group_zscore", "epsilon": 1e-6}}
CENTRED = {"advantage": "group_mean"}


def credit(batch: Any, **changes: Any) -> np.ndarray:
    rule = PolicyGradient.parse({"kind": "policy_gradient", **ZSCORE, **changes})
    return np.asarray(rule.credit(batch).per_token)


def test_equal_rewards_in_single_precision(said: Any, gap: Any) -> None:
    """verl's vectorised GRPO takes means in float32: what is left of 0.3 − 0.3 is over ε."""
    flat = np.repeat(np.arange(len(said.draw.lengths)) < 4, said.draw.lengths)
    theirs = said("grpo, vectorized", "advantages")
    assert np.abs(theirs[flat]).min() > SEEN
    ours, gradient = credit(said.batch(), **DUAL), said("grpo, vectorized", "gradient")
    assert not ours[flat].any()
    single = 2 * rounding("float32", 8, 4)  # a reward less the mean of its group, over their spread
    assert gap(ours[~flat], gradient[~flat]) <= single


@pytest.mark.parametrize(
    ("name", "alone"),
    [("lone candidate, grpo", True), ("lone candidate, rloo", True),
     ("lone candidate, rloo vectorized", False)],
)  # fmt: skip
def test_a_lone_candidate(name: str, alone: bool, said: Any) -> None:
    """Compared with nothing it is worth its own reward to two of verl's estimators, ours 0."""
    first = slice(0, int(said.draw.lengths[0]))
    reward = float(said.draw.reward[0]) if alone else 0.0
    # verl divides by 1 + 1e-6 where a group has one candidate
    assert said(name, "advantages")[first] == pytest.approx(
        reward, rel=TOL + stated(1e-6, "verl divides by σ + 1e-6 with σ = 1")
    )
    for kind in ("group_zscore", "leave_one_out"):
        assert not credit(said.batch("lone"), advantage=kind)[first].any()


def test_token_sum(said: Any, gap: Any) -> None:
    """Not offered: the step would grow with the batch. It is M times the token mean."""
    batch = said.batch()
    ours = batch.totals.tokens * credit(batch, aggregation="token_mean")
    assert gap(ours, said("token sum", "gradient")) <= TOL


def test_constant_length_left_unset(said: Any, gap: Any) -> None:
    """verl takes the padded width, which is a property of the batch; ours asks for L_max."""
    theirs = said("dr_grpo, length left unset", "gradient")
    width = {"aggregation": {"kind": "constant", "length": 40}}
    assert gap(credit(said.batch(), **CENTRED, **width), theirs) <= TOL
    longest = {"aggregation": {"kind": "constant", "length": int(said.draw.lengths.max())}}
    assert gap(credit(said.batch(), **CENTRED, **longest), theirs) > SEEN


@pytest.mark.parametrize(
    ("name", "asked", "default"),
    [
        ("grpo", DUAL, {}),
        (
            "cispo",
            {"trust_region": {"kind": "truncate", "cap": 1.28, "floor": 0.8}},
            {"trust_region": {"kind": "truncate", "cap": 1.28}},
        ),
    ],
)
def test_bounds_by_default(name: str, asked: Any, default: Any, said: Any, gap: Any) -> None:
    """Dual clip at 3, and CISPO's floor: on in verl, by request here."""
    mean = {"aggregation": "token_mean"} if name == "cispo" else {}
    theirs = said(name, "gradient")
    assert gap(credit(said.batch(), **mean, **asked), theirs) <= TOL
    assert gap(credit(said.batch(), **mean, **default), theirs) > SEEN


def rejecting(low: float, high: float) -> dict[str, Any]:
    bounds = {"kind": "sequence_rejection", "low": low, "high": high}
    return {**DUAL, "aggregation": "token_mean", "correction": bounds}


def test_rejection_bounds_are_on_one_over_rho(said: Any, gap: Any) -> None:
    """`seq_sum_k1` with 0.5_1.4 keeps ρ in [1/1.4, 2], not in [0.5, 1.4]."""
    theirs = said("rejection by sequence", "gradient")
    assert gap(credit(said.batch(), **rejecting(1 / 1.4, 2.0)), theirs) <= TOL
    assert gap(credit(said.batch(), **rejecting(0.5, 1.4)), theirs) > SEEN


def test_denominators_shrink_after_a_rejection(said: Any, gap: Any) -> None:
    """A function of verl that is given no totals divides by what was kept; ours by what was asked.

    The sizes differ by one factor, so the direction is the same; `shrunk` has the size too.
    """
    ours, theirs = (
        credit(said.batch(), **rejecting(1 / 1.4, 2.0)),
        said("rejection by sequence, shrunk", "gradient"),
    )
    factor = float(theirs @ theirs / (ours @ theirs))
    assert factor > 1 + SEEN
    assert gap(factor * ours, theirs) <= TOL
    asked = rejecting(1 / 1.4, 2.0)
    shrunk = {**asked, "correction": {"kind": "shrunk", "of": asked["correction"]}}
    assert gap(credit(said.batch(), **shrunk), theirs) <= TOL


def test_clamps(said: Any, gap: Any) -> None:
    """Beyond ±20 nats, and where k3 > 10, verl's gradient is 0; ours is what the formula says."""
    batch = said.batch("far")
    theirs = said("clamps", "gradient")
    pulled = np.zeros(len(theirs), bool)
    pulled[::3] = True  # k3 = e³ − 4 > 10
    pulled[0] = False
    near = ~pulled
    near[0] = False
    ours = credit(batch, **DUAL, pull={"kind": "k3"})
    bare = credit(batch, **DUAL)
    assert gap(ours[near], theirs[near]) <= TOL
    assert gap(bare[pulled], theirs[pulled]) <= TOL
    assert gap(ours[pulled], theirs[pulled]) > SEEN


def of_top_k(said: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    student = torch.from_numpy(said(name, "student")).requires_grad_()
    teacher = torch.from_numpy(said(name, "teacher"))
    spec = FullVocabulary(divergence="forward_kl", top_k=3, rest="dropped")
    found = divergence(spec, student, teacher)
    found.sum().backward()
    assert student.grad is not None
    return found.detach().numpy(), student.grad.numpy()


def test_top_k_of_the_teacher(said: Any, gap: Any) -> None:
    """The rest dropped, as in verl without its clamp; with it, laws below e^-10 are lifted."""
    loss, gradient = of_top_k(said, "top k")
    single = 2 * rounding("float32", 7 + 8)  # verl's softmax over the vocabulary
    assert gap(loss, said("top k", "loss")) <= single
    assert gap(gradient, said("top k", "gradient")) <= single
    assert gap(gradient, said("top k, clamped", "gradient")) > SEEN
