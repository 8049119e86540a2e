"""The facts of every framework hang together, and are read as their file says."""

import pytest

from tod.base import SpecError
from tod.configurations.framework import Facts, Settings, facts

FRAMEWORKS = ("trl", "verl", "openrlhf", "nemo_rl")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_is_said_of_a_setting_is_of_one_that_is_read(framework: str) -> None:
    known = facts(framework)
    read = {name for defaults in known.defaults.values() for name in defaults}
    assert {*known.when_on, *known.when_set} <= read
    assert {key.removeprefix(key.partition("Config.")[0] + "Config.") for key in known.outside} <= (
        read
    )
    assert not set(known.renamed) & read
    assert all(
        name in read or name in known.neutral or name.startswith(known.sections["all"])
        for name in known.renamed.values()
    )
    classes = {*known.defaults}
    assert {*known.own, *known.trainers.values(), *known.sections} <= classes | {"all"}
    assert not classes & set(known.elsewhere)


def test_an_older_spelling_gives_way_to_the_current_one_and_none_says_nothing() -> None:
    old, new = "vllm_importance_sampling_cap", "vllm_importance_sampling_clip_max"
    for given, expected in (
        ({old: 2.0}, 2.0),
        ({old: 2.0, new: 5.0}, 5.0),
        ({new: 5.0, old: 2.0}, 5.0),
        ({old: None}, 3.0),
    ):
        settings = Settings.of("trl", "GRPOConfig", given)
        assert (settings.number(new), settings.unknown) == (expected, ())


def test_a_damaged_file_of_facts_is_refused() -> None:
    with pytest.raises(SpecError, match="Did you mean `renamed`"):
        Facts.parse({"version": "1", "defaults": {}, "neutral": {}, "rename": {}})
