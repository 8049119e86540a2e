"""What tells runs apart, in words."""

import pytest

from tod.runs.differing import differing, in_words, labels, setting, short_names

CLIP = {"kind": "clip", "low": 0.2, "high": 0.28}


def made(eta=1.0, seed=0, region=None, name="run"):
    action = {"kind": "policy_gradient", "trust_region": region}
    return {
        "name": name,
        "output": f"runs/{name}",
        "target": {"eta": eta},
        "operator": {"action": action},
        "train": {"seed": seed},
    }


def test_names_and_places_are_no_difference():
    assert differing([made(name="a"), made(name="b")]) == []
    assert labels([made(name="a"), made(name="b")]) is None


def test_every_setting_that_some_run_has_of_its_own_is_named():
    assert differing([made(), made(eta=2.0), made(seed=1)]) == ["target.eta", "train.seed"]
    assert labels([made(), made(eta=2.0), made(seed=1)]) == [
        "eta 1, seed 0",
        "eta 2, seed 0",
        "eta 1, seed 1",
    ]


def test_two_runs_of_one_recipe_have_no_label():
    assert labels([made(), made(eta=2.0), made()]) is None


def test_more_than_a_few_differences_are_no_label():
    assert labels([made(), made(2.0, 3, CLIP)], most=2) is None
    assert labels([made(), made(2.0, 3, CLIP)]) is not None


def test_a_mapping_is_told_in_words():
    first, second = labels([made(), made(region=CLIP)])
    assert (first, second) == ("trust_region none", "trust_region clip (low 0.2, high 0.28)")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "none"),
        ([], "none"),
        ({"a": [1, None]}, "a 1, none"),
        ({"kind": "raw"}, "raw"),
        ([CLIP, False], "clip (low 0.2, high 0.28), no"),
        (3e-4, "0.0003"),
    ],
)
def test_values_in_words(value, text):
    assert in_words(value) == text


def test_a_short_name_is_no_other_settings():
    paths = ["target.eta", "arc.eta", "utilities.0", "a.b.kind", "eta"]
    assert list(short_names(paths).values()) == [
        "target.eta",
        "arc.eta",
        "utilities.0",
        "b.kind",
        "eta",
    ]


def test_a_setting_that_is_not_there_is_none():
    assert setting(made(), "target.eta") == 1.0
    assert setting(made(), "target.eta.deeper") is None
