"""Dotted overrides, and messages at the door."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tod.base import SpecError
from tod.engine.session import open_session
from tod.engine.settings import RunSettings

Make = Callable[..., RunSettings]
GRPO = Path(__file__).parents[2] / "configs" / "grpo.yaml"


def test_a_recipe_s_utility_is_reached_by_its_number() -> None:
    settings = RunSettings.load(
        GRPO, ("utilities.0.partial=0.25", "utilities.1={name: exact, kind: exact_match}")
    )
    assert [u.name for u in settings.utilities] == ["correct", "exact"]
    assert settings.utilities[0].model_dump()["partial"] == 0.25


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("utilities=[]", r"utilities: .*the list is empty"),
        ("operator.proposal.temperature=1e-300", "1e-300 is greedy decoding"),
        ("operator.proposal.temperature=0", "greater than 0"),
    ],
)
def test_what_cannot_run_is_refused_at_the_door(override: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as refused:
        RunSettings.load(GRPO, (override,))
    assert str(refused.value).startswith(f"{GRPO} with {override}: "), "the file alone is right"


def test_characters_that_the_tokenizer_does_not_know_are_said_once(
    small: Make, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "3 5=8:"}\n{"prompt": "drei 5=8:"}\n{"prompt": "é 5=8:"}\n')
    settings = small(
        task={"kind": "jsonl", "path": str(path), "held_out": 0},
        utilities=[{"name": "correct", "kind": "overlong", "longest": 9, "buffer": 9}],
    )
    session = open_session(settings)
    examples = sorted(session.task.examples, key=lambda e: e.id)  # type: ignore[call-overload]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session.prompts(examples[:1])
    with pytest.warns(UserWarning, match=r"prompts\.jsonl:2.*'d', 'r', 'e', 'i'.*4 tokens") as seen:
        session.prompts(examples)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session.prompts(examples)
