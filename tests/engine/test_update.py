"""Updates: the gradient is the paper's loss, however the batch is split."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from tod.engine.critic import value_loss
from tod.engine.forward.log_probs import token_log_probs
from tod.engine.prepare import mismatched, prepare, reference_point
from tod.engine.proposals.propose import propose
from tod.engine.session import Session, open_session
from tod.engine.settings import RunSettings
from tod.engine.update import update
from tolerance import double, of_gradient, of_sequence

Make = Callable[..., RunSettings]
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
DRAWN = {"prompts": 6, "size": 4, "max_new_tokens": 20}
EXACT = {"train__dtype": "float64", "train__updates_per_batch": 1}


def gradient_of(settings: RunSettings) -> tuple[torch.Tensor, Session, Any]:
    """The gradient of one update of a policy that has moved; its session and its evidence."""
    session = open_session(settings)
    evidence = propose(session, 1)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in session.parameters:
            p += 0.02 * torch.randn(p.shape, generator=draws, dtype=p.dtype)
    seen: list[torch.Tensor] = []
    session.optimiser.step = lambda: seen.append(  # type: ignore[method-assign]
        torch.cat([p.grad.flatten() for p in session.parameters])
    )
    update(session, evidence, settings.procedure.tilt, settings.operator.update, 1)
    return seen[0], session, evidence


def by_sequence(model: Any, rollouts: Any) -> torch.Tensor:
    log_prob = token_log_probs(model, rollouts).log_prob
    owner = torch.from_numpy(rollouts.sequences.owner)
    return torch.zeros(len(rollouts.sequences), dtype=log_prob.dtype).index_add(0, owner, log_prob)


def dpo(policy: torch.Tensor, ref: torch.Tensor, length: torch.Tensor, win: torch.Tensor) -> Any:
    margin = (policy - ref)[win] - (policy - ref)[win ^ 1]
    return -logsigmoid(0.1 * margin).mean()


def ipo(policy: torch.Tensor, ref: torch.Tensor, length: torch.Tensor, win: torch.Tensor) -> Any:
    mean = (policy - ref) / length
    return ((mean[win] - mean[win ^ 1] - 1 / (2 * 0.1)) ** 2).mean()


def simpo(policy: torch.Tensor, ref: torch.Tensor, length: torch.Tensor, win: torch.Tensor) -> Any:
    mean = policy / length
    return -logsigmoid(2.0 * (mean[win] - mean[win ^ 1]) - 0.5).mean()


def nca(policy: torch.Tensor, ref: torch.Tensor, length: torch.Tensor, win: torch.Tensor) -> Any:
    up, down = 0.1 * (policy - ref)[win], 0.1 * (policy - ref)[win ^ 1]
    return (-logsigmoid(up) - 0.5 * logsigmoid(-up) - 0.5 * logsigmoid(-down)).mean()


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        ("dpo", dpo),
        ("ipo", ipo),
        ({"kind": "simpo", "scale": 2.0, "margin": 0.5}, simpo),
        ("nca", nca),
    ],
)
def test_gradient_of_choices_is_that_of_the_papers_loss(
    small: Make, loss: Any, formula: Any
) -> None:
    settings = small(
        **EXACT,
        train__max_grad_norm=None,
        train__max_tokens_per_micro_batch=40,
        target={"kind": "preference", "utility": "correct", "beta": 0.1},
        operator__proposal={**DRAWN, "source": "pairs", "utility": "correct", "size": 2},
        operator__action={"kind": "preference", "loss": loss},
    )
    ours, session, evidence = gradient_of(settings)
    score = evidence.utility["preferred"].reshape(-1, 2)
    win = torch.from_numpy(np.arange(0, 12, 2) + score.argmax(axis=1))
    length = torch.from_numpy(evidence.rollouts.sequences.sizes.copy()).double()
    ref = torch.from_numpy(evidence.rollouts.sequences.sum(evidence.anchors["ref"]))
    policy = by_sequence(session.policy, evidence.rollouts)
    assert float((policy.detach() - ref).abs().max()) > 0.1
    theirs = formula(policy, ref, length, win)
    session.optimiser.zero_grad(set_to_none=True)
    theirs.backward()
    flat = torch.cat([p.grad.flatten() for p in session.parameters])
    assert float((ours - flat).norm() / flat.norm()) <= of_gradient("float64")


@pytest.mark.parametrize("row", ["whitened", "critic", "batch", "kto"])
def test_splitting_a_batch_never_changes_the_gradient(small: Make, row: str) -> None:
    rows: dict[str, dict[str, Any]] = {
        "whitened": {"advantage": {"kind": "return_to_go", "whiten": {}}},
        "critic": {"advantage": {"kind": "gae", "whiten": {}}},
        "batch": {"advantage": "batch_zscore"},
        "kto": {},
    }
    found = []
    for most in (16384, 40):
        changes: dict[str, Any] = {
            **EXACT,
            "train__max_grad_norm": None,
            "train__max_tokens_per_micro_batch": most,
            "operator__proposal": DRAWN,
            "operator__action": {
                "kind": "policy_gradient",
                "aggregation": "token_mean",
                "pull": {"kind": "k1", "place": "reward"},
                **rows[row],
            },
        }
        if row == "critic":
            changes["operator__auxiliary"] = {"critic": {}}
        if row == "kto":
            changes["target"] = {"kind": "preference", "utility": "correct", "beta": 0.1}
            changes["operator__action"] = {"kind": "preference", "loss": {"kind": "kto"}}
        found.append(gradient_of(small(f"{row}{most}", **changes))[0])
    assert float(found[0].norm()) > 0
    assert float((found[0] - found[1]).norm() / found[1].norm()) <= of_gradient("float64")


def test_reference_point_is_the_mean_log_ratio_of_mismatched_answers(small: Make) -> None:
    settings = small(
        **EXACT,
        target={"kind": "preference", "utility": "correct", "beta": 0.1},
        operator__proposal=DRAWN,
        operator__action={"kind": "preference", "loss": {"kind": "kto"}},
    )
    session = open_session(settings)
    rollouts = propose(session, 1).rollouts
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in session.parameters:
            p += 0.02 * torch.randn(p.shape, generator=draws, dtype=p.dtype)
        shifted = mismatched(rollouts)
        gap = by_sequence(session.policy, shifted) - by_sequence(session.frozen["ref"], shifted)
    point, work = reference_point(session, rollouts, settings.procedure.tilt)
    assert point == pytest.approx(max(0.0, float(gap.mean())), abs=2 * of_sequence("float64"))
    assert {name for name, _ in work} == {"policy", "ref"}
    assert np.array_equal(shifted.prompts[0], rollouts.prompts[0])
    first = shifted.sequences.split(shifted.ids)[0]
    assert first == rollouts.sequences.split(rollouts.ids)[4]


@pytest.mark.parametrize(("clip", "expected"), [(0.1, 0.0625), (None, 0.0325)])
def test_value_loss_reference(clip: float | None, expected: float) -> None:
    value = torch.tensor([0.7, 0.2], dtype=torch.float64)
    found = value_loss(value, np.array([0.5, 0.4]), np.array([1.0, 0.0]), 2, clip)
    assert float(found) == pytest.approx(expected, rel=double(8))


@pytest.mark.parametrize(("kind", "rate"), [("copy", 1e-3), ("head", 0.02)])
def test_a_critic_learns_the_reward(small: Make, kind: str, rate: float) -> None:
    settings = small(
        operator__proposal={**DRAWN, "prompts": 24},
        operator__action={
            "kind": "policy_gradient",
            "advantage": {"kind": "gae", "trace": 1.0},
            "aggregation": "token_mean",
        },
        operator__auxiliary={"critic": {"kind": kind, "learning_rate": rate, "clip": None}},
        target={"kind": "verifier", "eta": 1.0, "utility": "correct", "anchor": {"old": 1.0}},
        train__learning_rate=1e-9,
        train__updates_per_batch=30,
    )
    session = open_session(settings)
    evidence = propose(session, 1)
    target, action = settings.procedure.tilt, settings.operator.update
    seen = update(session, evidence, target, action, 1)
    reward = evidence.utility["correct"]
    tokens = evidence.rollouts.sequences.spread(reward)
    assert seen.critic[0] == pytest.approx(0.5 * (tokens**2).mean())
    assert seen.critic[-1] < 0.5 * tokens.var()
    after = prepare(session, evidence, target, action, evidence.candidates())
    assert after.returns is not None
    assert np.corrcoef(after.returns.value, tokens)[0, 1] > 0.3
