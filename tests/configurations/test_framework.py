"""The facts of every framework hang together, and are read as their file says."""

import random
from difflib import get_close_matches
from pathlib import Path

import pytest

from tod.base import SpecError, read_packaged, read_yaml
from tod.configurations import near_names
from tod.configurations.configuration import clip, log_clip
from tod.configurations.framework import Facts, Settings, decisive, facts
from tod.configurations.near_names import closest
from tod.operators import Clip, DualClip
from tolerance import printed

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


def test_bounds_of_rho_are_read_as_they_are_written() -> None:
    assert clip(0.1, 0.3, None) == Clip(low=0.1, high=0.3)
    assert clip(0.1, 0.3, 4.0) == DualClip(low=0.1, high=0.3, cap=4.0)
    narrow = log_clip(0.25, 0.5)  # e^-0.25 and e^0.5, to the digits of a table
    assert (1 - narrow.low, 1 + narrow.high) == (
        pytest.approx(0.778801, abs=printed(6), rel=0),
        pytest.approx(1.648721, abs=printed(6), rel=0),
    )


def test_the_nearest_name_is_difflibs() -> None:
    """Without trying each in full: the same name out of every framework's, or none likewise."""
    known = tuple(sorted(decisive("verl") | facts("verl").neutral))
    draw = random.Random(3)
    for _ in range(60):
        letters = list(draw.choice(known))
        for _ in range(draw.randrange(8)):
            letters[draw.randrange(len(letters))] = draw.choice("abc_.")
        name = "".join(letters)
        assert closest(name, known, 0.75) == next(
            iter(get_close_matches(name, known, n=1, cutoff=0.75)), ""
        )


def test_a_packaged_file_is_read_as_any_other() -> None:
    folder = Path(near_names.__file__).parent / "facts"
    for path in sorted(folder.rglob("*.yaml"))[::4]:
        assert read_packaged(path) == read_yaml(path)
