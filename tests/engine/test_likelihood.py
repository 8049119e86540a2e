"""SFT's second lens: the supervised log-likelihood as a utility, and the target it makes."""

from collections.abc import Callable

import numpy as np
import pytest
from by_hand import first_gradient, sequence_log_probs

from tod.base import SpecError
from tod.engine.models import load_model
from tod.engine.proposals.propose import propose
from tod.engine.record import ledger
from tod.engine.rollouts import Rollouts
from tod.engine.session import open_session
from tod.engine.settings import RunSettings
from tod.runs import RunDirectory
from tolerance import of_gradient, of_sequence, of_weights

Make = Callable[..., RunSettings]
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

DATA = "tod://tiny-teacher"
BOTH = [
    {"name": "correct", "kind": "countdown"},
    {"name": "likelihood", "kind": "log_likelihood", "model": DATA},
]
REGRESSED = {"kind": "weighted_regression"}
LENS = {"kind": "scalar_reward", "utility": "likelihood", "eta": 1.0, "anchor": {"ref": 0.0}}
GIVEN = {"source": "dataset", "prompts": 6, "max_new_tokens": 20}
EXACT = {"train__dtype": "float64", "train__updates_per_batch": 1, "train__max_grad_norm": None}


def naive(rollouts: Rollouts) -> np.ndarray:
    model, _ = load_model(DATA, dtype="float64", device="cpu")
    return sequence_log_probs(model.eval(), rollouts)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_it_is_the_sum_over_the_completion_and_its_end(small: Make, temperature: float) -> None:
    settings = small(
        utilities=BOTH,
        target=LENS,
        operator__action=REGRESSED,
        operator__proposal__temperature=temperature,
        train__dtype="float64",
    )
    session = open_session(settings)
    evidence = propose(session, 1)
    near = of_sequence("float64")
    exact = naive(evidence.rollouts)
    np.testing.assert_allclose(evidence.utility["likelihood"], exact, rtol=0, atol=near)
    assert evidence.work["utility.likelihood"].states == len(evidence.rollouts.ids)


def test_its_lens_has_the_gradient_of_the_model_as_the_target(small: Make) -> None:
    """b flat and η = 1 is q* = p: the teacher row in its margin form at η = 1, by another path."""
    lens = small("lens", utilities=BOTH, target=LENS, operator__action=REGRESSED, **EXACT)
    taught = small(
        "taught",
        anchors={"teacher": DATA},
        target={"kind": "teacher", "eta": 1.0},
        operator__action=REGRESSED,
        **EXACT,
    )
    session, one, evidence, seen = first_gradient(lens)
    _, other, _, _ = first_gradient(taught)
    assert np.linalg.norm(one) > 0
    near = of_gradient("float64") + of_weights("float64", 4, 60.0)  # sequences down to e^−60
    assert np.linalg.norm(one - other) <= near * np.linalg.norm(other)
    weight = lens.procedure.tilt.log_weights(evidence.candidates())
    log_mu = evidence.rollouts.sequences.sum(evidence.rollouts.log_mu.astype(np.float64))
    exact = naive(evidence.rollouts) - log_mu
    np.testing.assert_allclose(weight, exact, rtol=0, atol=2 * of_sequence("float64"))
    scored = ledger(session, evidence, seen)
    assert scored.score_tokens == len(evidence.rollouts.ids)
    assert scored.score_flops > 0


def test_on_the_data_themselves_it_is_the_first_lens(small: Make) -> None:
    """One completion a prompt has weight 1 whatever its likelihood: both lenses, one gradient."""
    rows = {
        "data": {"target": {"kind": "data"}},
        "likelihood": {"target": {**LENS, "anchor": {"mu": 1.0}}, "utilities": BOTH},
    }
    found = [
        first_gradient(
            small(
                name,
                operator__proposal=GIVEN,
                operator__action={**REGRESSED, "aggregation": "token_mean"},
                **row,
                **EXACT,
            )
        )[1]
        for name, row in rows.items()
    ]
    np.testing.assert_array_equal(found[0], found[1])


def test_evaluation_reports_what_is_read_off_the_text(small: Make) -> None:
    from tod.engine.train import train

    settings = small(
        utilities=BOTH[::-1],
        target=LENS,
        operator__action=REGRESSED,
        train__steps=1,
        train__updates_per_batch=1,
        evaluate={"held_out_prompts": 4, "samples_per_prompt": 2},
    )
    assert settings.reported == "correct"
    train(settings)
    records = list(RunDirectory.open(settings.directory).steps.read())
    assert 0.0 <= records[-1]["held_out"]["pass_at_1"] <= 1.0
    assert records[-1]["utility"]["likelihood"] < 0.0


def test_a_search_selects_the_likeliest(small: Make) -> None:
    from tod.engine.distributed import World
    from tod.engine.search.drawing import gather, prompts_of

    settings = RunSettings.parse(
        {
            "name": "likeliest",
            "utilities": BOTH,
            "target": {**LENS, "anchor": {"mu": 1.0}},
            "operator": {
                "proposal": {"prompts": 4, "size": 3, "max_new_tokens": 20},
                "action": {"kind": "best_of_k"},
            },
            "search": {"contexts": 4},
        }
    )
    session = open_session(settings, World.join())
    evidence = gather(session, prompts_of(settings, session.task), 0)
    exact = naive(evidence.rollouts)
    near = of_sequence("float32")
    np.testing.assert_allclose(evidence.utility["likelihood"], exact, rtol=0, atol=near)


def test_a_likelihood_alone_is_refused(small: Make) -> None:
    with pytest.raises(SpecError, match="read off the text"):
        small(utilities=BOTH[1:], target=LENS, operator__action=REGRESSED)


def test_evaluation_reports_the_utility_that_is_named(small: Make) -> None:
    progress = {"name": "progress", "kind": "countdown", "partial": 0.5}
    changes = {
        "utilities": [progress, {"name": "correct", "kind": "countdown"}],
        "target": {"kind": "verifier", "eta": 1.0, "utility": "progress"},
        "operator__action": REGRESSED,
        "train__updates_per_batch": 1,
    }
    assert small(**changes).reported == "progress"
    named = {"evaluate": {"utility": "correct"}}
    assert small(**changes, **named).reported == "correct"
    with pytest.raises(SpecError, match=r"evaluate\.utility names 'corect', and evaluation reads"):
        small(**changes, evaluate={"utility": "corect"})
