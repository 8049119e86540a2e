"""Operators in a run: handed over, watched, taken back, and the same after a resume."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_resume import same_run

from tod.engine.settings import RunSettings
from tod.engine.train import Events, train
from tod.runs import RunDirectory, StepRecord
from tolerance import double

Make = Callable[..., RunSettings]
DRAWN = {"prompts": 6, "size": 4, "max_new_tokens": 8}
ACTION = {
    "kind": "policy_gradient",
    "advantage": "group_mean",
    "pull": {"kind": "residual", "at": "current"},
}
ARC = {
    "knob": "anchors",
    "plan": "fixed",
    "operators": ["main", "cheap"],
    "min_informative": 1,
    "authorise": {"window": 1, "windows": 2, "cooldown": 2, "cosine": -1.0},
}


def recipe(small: Make, name: str, cheap: dict[str, Any], **changes: Any) -> RunSettings:
    return small(
        name,
        operator={"proposal": dict(DRAWN), "action": dict(ACTION)},
        operators={"cheap": cheap},
        **{"train__steps": 6, "train__schedule": "constant", "arc": ARC, **changes},
    )


SWAPS = ("swap", "revert")
CHEAP = {"proposal": {**DRAWN, "size": 2}, "action": dict(ACTION)}
HOT = {
    "proposal": {**DRAWN, "prompts": 3, "temperature": 6.0, "policy_temperature": 1.0},
    "action": dict(ACTION),
}


def operators(settings: RunSettings) -> list[tuple[str, str, str]]:
    return [
        (d["action"], d["before"]["operator"], d["after"]["operator"])
        for d in RunDirectory.open(settings.directory).decisions.read()
    ]


def test_a_cheaper_operator_takes_over_and_the_ledger_shows_it(small: Make) -> None:
    settings = recipe(small, "run", CHEAP)
    train(settings)
    found = operators(settings)
    at = next(i for i, (action, _, _) in enumerate(found) if action == "swap")
    assert found[at] == ("swap", "main", "cheap")
    records = list(RunDirectory.open(settings.directory).steps.read())
    assert records[at]["contexts"]["candidates_per_context"]["max"] == 4
    assert records[at + 1]["contexts"]["candidates_per_context"]["max"] == 2
    assert records[at + 1]["ledger"]["flops"] < records[at]["ledger"]["flops"]
    named = {c["what"] for r in records for c in r["decision"]["compared"]}
    assert {"overlap.policy_proposal", "credit.next", "credit.watch"} <= named


def test_a_planted_bad_swap_is_taken_back_within_two_windows(small: Make) -> None:
    """Rollouts at temperature 6 are no draws of the policy: its leg falls, and it goes back."""
    settings = recipe(small, "run", HOT)
    train(settings)
    found = [action for action, _, _ in operators(settings)]
    at = found.index("swap")
    assert "revert" in found[at + 1 : at + 3]


def test_the_same_credit_has_a_cosine_of_one_and_moments_are_reset_where_said(small: Make) -> None:
    rule = {**ARC["authorise"], "optimiser": "reset"}
    settings = recipe(small, "run", CHEAP, arc={**ARC, "authorise": rule})
    train(settings)
    directory = RunDirectory.open(settings.directory)
    cosines = [
        c["value"]
        for r in directory.steps.read()
        for c in r["decision"]["compared"]
        if c["what"] == "credit.next"
    ]
    # one action under two names: the same credit, unless all rewards of the batch agree
    known = [value for value in cosines if value is not None]
    assert known
    assert known == pytest.approx([1.0] * len(known), abs=double(4 * 6 * 8))
    from safetensors.numpy import load_file

    latest = directory.latest_checkpoint()
    assert latest is not None
    moments = load_file(latest / "optimiser.safetensors")
    swaps = [i + 1 for i, (action, _, _) in enumerate(operators(settings)) if action in SWAPS]
    steps = {float(np.ravel(v)[0]) for name, v in moments.items() if name.endswith("/step")}
    # two updates a batch since the last swap, in the place of two since the start
    assert steps == {2.0 * (6 - max(swaps))}


class Stopped(Exception):
    """Raised inside a run, as if it had been killed there."""


def test_a_resumed_run_authorises_the_same(small: Make) -> None:
    whole, broken = (
        recipe(small, name, CHEAP, train__checkpoint_every=2) for name in ("whole", "broken")
    )
    train(whole)

    def stop(record: StepRecord) -> None:
        if record.step == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train(broken, events=Events(record=stop))
    train(broken, resume=True)
    same_run(whole.directory, broken.directory)
    assert any(action == "swap" for action, _, _ in operators(whole))
