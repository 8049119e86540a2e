"""Proposals: what each source draws, what it records, and what it refuses."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from by_hand import sequence_log_probs

from tod.base import DataError, Groups
from tod.base.uniforms import row_keys, uniforms
from tod.engine.forward.log_probs import token_log_probs
from tod.engine.proposals.alternating import drawn_at
from tod.engine.proposals.dynamic import informative
from tod.engine.proposals.mixture import mixed_log_prob
from tod.engine.proposals.propose import propose
from tod.engine.proposals.replay import pack, unpack
from tod.engine.rollouts import Rollouts
from tod.engine.session import open_session
from tod.engine.settings import RunSettings
from tod.engine.utilities.functions import overlong
from tod.operators import MixtureProposal
from tod.operators.proposals import gumbel
from tolerance import chance, double, of_log_prob, of_sequence, rounding

Make = Callable[..., RunSettings]
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
DRAWN = {"prompts": 6, "size": 4, "max_new_tokens": 20}


@pytest.mark.parametrize(("gap", "scale"), [(0.0, 1.0), (1.0, 1.0), (1.0, 0.5), (-2.0, 1.5)])
def test_choices_follow_bradley_and_terry(gap: float, scale: float) -> None:
    count = 40_000
    rows = np.arange(count)
    draws = [gumbel(uniforms(row_keys(7, 1, rows, np.full(count, i)), 0)) for i in range(2)]
    chosen = (gap + scale * draws[0] > scale * draws[1]).mean()
    expected = 1.0 / (1.0 + np.exp(-gap / scale))
    assert chosen == pytest.approx(expected, abs=chance(0.5, count))


def test_choices_are_drawn_with_the_scale_of_the_target(small: Make) -> None:
    spread = []
    for scale in (0.001, 3.0):
        target = {"kind": "preference", "utility": "correct", "beta": 0.1, "noise_scale": scale}
        settings = small(
            str(scale),
            target=target,
            operator__proposal={"source": "pairs", "utility": "correct", **DRAWN},
            operator__action={"kind": "preference"},
        )
        evidence = propose(open_session(settings), 1)
        noise = evidence.utility["preferred"] - evidence.utility["correct"]
        spread.append(noise.std())
    assert spread[1] / spread[0] == pytest.approx(3000.0)


def test_log_prob_of_a_mixture_adds_up_to_the_mixture_of_sequences() -> None:
    rng = np.random.default_rng(0)
    sequences = Groups(np.array([1, 4, 2, 7]))
    found = {name: -3 * rng.random(14) for name in ("old", "ref", "teacher")}
    found["ref"][3] = -800.0
    shares = {"old": 0.5, "ref": 0.3, "teacher": 0.2}
    log_mu = mixed_log_prob(found, shares, sequences)
    parts = [np.log(shares[n]) + sequences.sum(values) for n, values in found.items()]
    assert sequences.sum(log_mu) == pytest.approx(np.logaddexp.reduce(parts), abs=double(16, 20))
    assert (log_mu <= 0).all()


def test_shares_become_counts_that_add_up() -> None:
    spec = MixtureProposal(
        source="mixture", size=7, shares={"old": 2.0, "ref": 1.0, "teacher": 1.0}
    )
    assert sum(spec.counts.values()) == 7
    assert spec.counts["old"] in (3, 4)
    assert min(spec.counts.values()) >= 1


def test_a_mixture_of_a_model_with_itself_is_that_model(small: Make) -> None:
    settings = small(
        operator__proposal={**DRAWN, "source": "mixture", "shares": {"old": 1.0, "ref": 1.0}}
    )
    session = open_session(settings)
    evidence = propose(session, 1)
    rollouts = evidence.rollouts
    assert rollouts.contexts == Groups.equal(6, 4)
    assert rollouts.log_mu is not None
    with torch.no_grad():
        plain = token_log_probs(session.policy, rollouts).log_prob.numpy()
    assert np.abs(rollouts.log_mu - plain).max() <= of_log_prob("float32")
    assert len(set(evidence.completions)) > 12


def test_dynamic_sampling_keeps_what_says_something(small: Make) -> None:
    plain = propose(open_session(small("plain", operator__proposal=DRAWN)), 1)
    settings = small("dynamic", operator__proposal={**DRAWN, "dynamic": {"max_rounds": 40}})
    session = open_session(settings)
    evidence = propose(session, 1)
    assert informative(session, evidence).all()
    assert not informative(session, plain).all()
    assert len(evidence.rollouts.contexts) == 6
    assert evidence.drawn is not None
    assert evidence.drawn > 6
    assert evidence.dropped.states > 0
    # what is informative at the first draw is kept as it was drawn
    kept = informative(session, plain)
    first = [plain.examples[i].id for i in np.flatnonzero(kept)]
    assert [e.id for e in evidence.examples][: len(first)] == first


def test_dynamic_sampling_gives_up_after_its_rounds(small: Make) -> None:
    utility = [{"name": "correct", "kind": "overlong", "longest": 1, "buffer": 1}]
    settings = small(
        utilities=utility,
        operator__proposal={**DRAWN, "dynamic": {"max_rounds": 2}},
    )
    session = open_session(settings)
    evidence = propose(session, 1)
    assert not informative(session, evidence).any()
    assert len(evidence.rollouts.contexts) == 6
    assert evidence.drawn == 12


def test_replay_keeps_the_log_mu_of_the_draw_and_forgets_the_oldest(small: Make) -> None:
    proposal = {**DRAWN, "source": "replay", "fresh": 2, "capacity": 5}
    session = open_session(small(operator__proposal=proposal))
    first = propose(session, 1)
    assert len(first.rollouts.contexts) == 2
    with torch.no_grad():
        for parameter in session.parameters:
            parameter.mul_(0.9)
    second = propose(session, 2)
    assert len(second.rollouts.contexts) == 4
    again = [second.examples.index(example) for example in first.examples]
    assert min(again) >= 2
    assert np.array_equal(second.take(np.array(again)).rollouts.log_mu, first.rollouts.log_mu)
    assert np.array_equal(second.anchors["old"], second.rollouts.log_mu)
    for step in (3, 4):
        propose(session, step)
    buffer = session.buffer
    assert buffer is not None
    assert buffer.step.tolist() == [2, 3, 3, 4, 4]
    other = unpack(session, pack(buffer))
    assert other.evidence.completions == buffer.evidence.completions
    assert other.evidence.examples == buffer.evidence.examples
    assert np.array_equal(other.evidence.rollouts.log_mu, buffer.evidence.rollouts.log_mu)
    assert {*other.evidence.anchors} == {*buffer.evidence.anchors}


def test_data_are_read_as_the_tokens_they_are(small: Make) -> None:
    settings = small(
        target={"kind": "data"},
        operator__proposal={"source": "dataset", "prompts": 6, "max_new_tokens": 5},
        operator__action={"kind": "weighted_regression", "weights": "uniform"},
    )
    session = open_session(settings)
    evidence = propose(session, 1)
    rollouts = evidence.rollouts
    assert rollouts.log_mu is None
    assert "old" not in evidence.anchors
    for row, example in enumerate(evidence.examples):
        answer = str(example.columns["answer"])
        ids = rollouts.sequences.split(rollouts.ids)[row]
        cut = len(answer) + 1 > 5
        assert bool(rollouts.truncated[row]) == cut
        assert (ids[-1] in session.stop_ids) != cut
        assert evidence.completions[row] == answer[: 5 if cut else None]


def test_a_column_that_is_not_there(small: Make) -> None:
    settings = small(
        target={"kind": "data"},
        operator__proposal={"source": "dataset", "completion": "anwser", "prompts": 6},
        operator__action={"kind": "weighted_regression", "weights": "uniform"},
        operator__proposal__max_new_tokens=20,
    )
    with pytest.raises(DataError, match=r"anwser.*answer"):
        propose(open_session(settings), 1)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_mixture_with_the_teacher_has_its_shares_and_its_density(
    small: Make, share: float
) -> None:
    """log μ = log(λπ + (1 − λ)π_T) of whole sequences; λK of the K are the policy's own draws."""
    proposal = {
        **DRAWN,
        "source": "mixture",
        "size": 8,
        "shares": {"old": share, "teacher": 1 - share},
    }
    settings = small(
        anchors={"teacher": "tod://tiny-teacher"},
        operator__proposal=proposal,
        train__dtype="float64",
    )
    session = open_session(settings)
    rollouts = propose(session, 1).rollouts
    spec = settings.operator.proposal
    assert isinstance(spec, MixtureProposal)
    assert spec.counts == {"old": int(8 * share), "teacher": int(8 * (1 - share))}
    models = (session.model_named(name) for name in ("old", "teacher"))
    old, teacher = (sequence_log_probs(model, rollouts) for model in models)
    expected = np.logaddexp(np.log(share) + old, np.log(1 - share) + teacher)
    assert rollouts.log_mu is not None
    np.testing.assert_allclose(
        rollouts.sequences.sum(rollouts.log_mu), expected, rtol=0, atol=of_sequence("float64")
    )
    alone = small("alone", operator__proposal=DRAWN, train__dtype="float64")
    own = propose(open_session(alone), 1).rollouts
    first, second = (texts_by_place(r, spec.counts["old"]) for r in (rollouts, own))
    assert first == second


def texts_by_place(rollouts: Rollouts, count: int) -> list[list[int]]:
    """Tokens of the first ``count`` candidates of every context."""
    rows = rollouts.sequences.split(rollouts.ids)
    return [list(map(int, rows[i])) for i in np.flatnonzero(rollouts.contexts.position < count)]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_a_share_of_the_steps_is_the_policy_s(share: float) -> None:
    turns = np.array([drawn_at(5, step, share) for step in range(1, 4001)])
    assert turns.mean() == pytest.approx(share, abs=chance(np.sqrt(share * (1 - share)), 4000))
    assert (turns == [drawn_at(5, step, share) for step in range(1, 4001)]).all()
    if 0 < share < 1:
        assert (turns != [drawn_at(6, step, share) for step in range(1, 4001)]).any()
        assert abs(np.corrcoef(turns[:-1], turns[1:])[0, 1]) < chance(1, 4000)


def test_steps_of_the_policy_and_of_the_data_take_turns(small: Make) -> None:
    """log μ of a step of draws is the policy's; of the data's it is not known, and not needed."""
    settings = small(
        anchors={"teacher": "tod://tiny-teacher"},
        target={"kind": "teacher", "eta": 1.0},
        operator__proposal={**DRAWN, "source": "alternating", "on_policy": 0.5},
        operator__action={"kind": "auxiliary"},
        operator__auxiliary={"distillation": {"divergence": "jsd"}},
        train__dtype="float64",
    )
    session = open_session(settings)
    near = 20 * 2 * rounding("float32", 1, 10)  # log μ of a token is kept in single precision
    seen = set()
    for step in range(1, 9):
        evidence = propose(session, step)
        rollouts, mine = evidence.rollouts, drawn_at(0, step, 0.5)
        seen.add(mine)
        assert len(rollouts.sequences) == 24
        log_w = settings.procedure.tilt.log_weights(evidence.candidates())
        if not mine:
            assert rollouts.log_mu is None
            assert evidence.semantics == "fixed"
            assert rollouts.contexts == Groups.equal(24, 1)
            answers = [str(example.columns["answer"]) for example in evidence.examples]
            assert evidence.completions == tuple(answers)
            expected = sequence_log_probs(session.model_named("teacher"), rollouts)
        else:
            assert rollouts.log_mu is not None
            assert rollouts.contexts == Groups.equal(6, 4)
            log_mu = sequence_log_probs(session.model_named("old"), rollouts)
            np.testing.assert_allclose(
                rollouts.sequences.sum(rollouts.log_mu.astype(np.float64)),
                log_mu,
                rtol=0,
                atol=near,
            )
            expected = sequence_log_probs(session.model_named("teacher"), rollouts) - log_mu
        np.testing.assert_allclose(log_w, expected, rtol=0, atol=near)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("length", "value"), [(1, 0.0), (16384, 0.0), (18432, -0.5), (20480, -1.0), (30000, -1.0)]
)
def test_overlong_punishment(length: int, value: float) -> None:
    assert overlong(length, longest=20480, buffer=4096) == value
