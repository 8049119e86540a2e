"""A regime in words: every kind of leg, intervals of sharpness, the pool, and 80 by 24 at most."""

import pytest

from tod.show.regime_words import before, by_eta, leg_lines, pooled, regime_line, settled, stated
from tod.show.terminal.diagnosis_screen import _said


def ess(low=0.76, value=0.81, high=0.86, **more):
    return {"median": {"low": low, "value": value, "high": high}, "bound": None} | more


def leg(name, word, said=None, why=None):
    return {"leg": name, "word": word, "ess": said, "why": why}


def regime(*legs, verdict="undetermined", **more):
    return {
        "verdict": verdict,
        "legs": list(legs),
        "reasons": [],
        "eta_intervals": [],
        "point": {"coverage": None, "tail": None, "interval": None, "region": "undetermined"},
    } | more


def diagnosed(judged, source="declared", **more):
    target = {"source": source, "tilts": [{"utility": "u", "eta": 2.0}], "anchor": {"mu": 1.0}}
    return {"regime": judged, "target": target, "regime_before": None, "pool": None} | more


STABLE = leg("target_proposal", "stable", ess())
UNRECORDED = [leg("policy_proposal", "not_recorded"), leg("target_policy", "not_recorded")]


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        (None, ""),
        ({"low": 0.76, "value": 0.81, "high": 0.86}, "0.81 (0.76 to 0.86)"),
        ({"low": 0.0, "value": 0.4, "high": 0.58}, "not above 0.58"),
        ({"low": None, "value": None, "high": 0.58}, "not above 0.58"),
        ({"low": None, "value": None, "high": None}, ""),
        ({"low": 0.0, "value": 0.4, "high": 1.0}, ""),
        ({"low": 0.79, "value": None, "high": 1.0}, "at least 0.79"),
        ({"low": 0.5, "value": 0.6, "high": None}, "0.60 (0.50 to 1.00)"),
    ],
)
def test_an_interval_says_only_what_bounds_it(interval, said):
    assert stated(interval) == said


def test_every_leg_is_told_once_with_its_interval():
    said = leg_lines(regime(STABLE, *UNRECORDED))
    assert said == [
        "target/proposal stable: 0.81 (0.76 to 0.86) of the median prompt",
        "staleness not recorded",
    ]


def test_on_policy_tells_target_and_policy_once():
    declared = regime(STABLE, leg("policy_proposal", "declared"), STABLE | {"leg": "target_policy"})
    assert leg_lines(declared)[1:] == ["on-policy by declaration"]


def test_what_was_not_read_says_why():
    why = "4 prompts with a signal, of 8 that a word needs"
    tail = ess(0.0, 0.3, 0.5)
    said = leg_lines(
        regime(
            leg("target_proposal", "not_readable", ess(), why),
            leg("policy_proposal", "transition", ess(0.4, 0.5, 0.6)),
            leg("target_policy", "no_interval", tail),
        )
    )
    assert said[0] == f"target/proposal not readable: {why}"
    assert said[1] == "policy/proposal transition: 0.50 (0.40 to 0.60) of the median prompt"
    assert said[2] == "target/policy not above 0.50, without a lower end"


def test_a_reason_is_told_once():
    alike = [leg(name, "not_readable", None, "w") for name in ("target_proposal", "target_policy")]
    assert leg_lines(regime(*alike)) == [
        "target/proposal not readable: w",
        "target/policy likewise",
    ]


def test_what_does_not_apply_is_not_told():
    assert leg_lines(regime(STABLE, leg("policy_proposal", "not_applicable"))) == [
        "target/proposal stable: 0.81 (0.76 to 0.86) of the median prompt"
    ]


def at(low, high, word, verdict="undetermined"):
    return {"eta": [low, high], "verdict": verdict, "target_proposal": word}


def test_words_by_sharpness_are_those_of_the_leg_whatever_the_policy():
    intervals = [at(0, 1.2, "stable"), at(1.2, 2.9, "transition"), at(2.9, 9, "not_readable")]
    said = "target/proposal stable for eta <= 1.2, transition to 2.9, not readable above"
    assert by_eta(intervals) == said
    judged = regime(STABLE, *UNRECORDED, eta_intervals=intervals)
    line = regime_line(diagnosed(judged, "assumed"))
    assert line == f"Regime at eta = 2 (assumed): {said}; staleness not recorded."
    assert settled(judged) == ""


def test_neighbours_of_one_word_are_one_interval():
    intervals = [
        at(0, 1, "stable", "swap_stable"),
        at(1, 2, "stable", "transition"),
        at(2, 3, "dominated"),
    ]
    assert by_eta(intervals) == "target/proposal stable for eta <= 2, dominated above"
    assert by_eta(intervals[:2]) == "target/proposal stable for every eta tried (up to 2)"


def test_intervals_of_an_older_document_are_of_its_verdict():
    old = [{"eta": [0, 1], "verdict": "swap_stable"}, {"eta": [1, 4], "verdict": "undetermined"}]
    assert by_eta(old) == "stable for eta <= 1, not readable above"
    assert by_eta([]) == ""


def test_the_guarantee_comes_first_and_the_verdict_has_its_name():
    judged = regime(
        leg("target_proposal", "stable", ess(bound=0.79)),
        leg("policy_proposal", "dominated", ess(0.1, 0.2, 0.25)),
        verdict="operator_dominated",
    )
    line = regime_line(diagnosed(judged))
    assert line.startswith(
        "Regime at eta = 2: operator-dominated; every prompt is at least 0.79 by the reward"
    )
    assert "policy/proposal dominated: 0.20 (0.10 to 0.25)" in line


def test_what_no_leg_sees_is_told():
    why = "40 of 64 prompts are zero-variance groups"
    kinds = [("low_leg", "target/proposal: 0.5"), ("zero_information", why)]
    reasons = [{"why": w, "remedy": "", "kind": kind} for kind, w in kinds]
    line = regime_line(diagnosed(regime(STABLE, verdict="transition", reasons=reasons)))
    assert line.endswith(f"; {why}.")


def test_the_pool_and_what_came_before_are_named():
    early = regime(STABLE, *UNRECORDED, steps=[1, 8])
    data = diagnosed(
        regime(leg("target_proposal", "not_readable", None, "no prompt with a signal")),
        pool={"first": 9, "last": 20, "policy_first": 12},
        regime_before=early,
    )
    assert pooled(data) == "steps 9 to 20 pooled, the policy's legs from 12"
    assert before(data).startswith("Steps 1-8: target/proposal stable: 0.81 (0.76 to 0.86)")
    line = regime_line(data)
    assert "no prompt with a signal (steps 9 to 20 pooled" in line
    assert line.endswith(
        "Steps 1-8: target/proposal stable: 0.81 (0.76 to 0.86) of the median prompt."
    )
    assert before(diagnosed(regime(), regime_before=early | {"steps": [3, 3]})).startswith(
        "Step 3:"
    )


def test_one_step_names_no_pool():
    assert pooled(diagnosed(regime(), pool={"first": 3, "last": 3, "policy_first": 3})) == ""


def test_a_document_of_0_1_has_a_line():
    old = {"verdict": "transition", "reasons": [{"why": "w", "remedy": "r"}], "eta_intervals": []}
    data = {"regime": old, "target": diagnosed(old)["target"]}
    assert regime_line(data) == "Regime at eta = 2: transition; w."


def test_without_a_reward_it_says_what_is_needed():
    assert "needs a reward" in regime_line({"regime": regime(), "target": None})


def test_the_verbose_screen_tells_what_the_reasons_do_not():
    judged = regime(STABLE, leg("policy_proposal", "transition", ess(0.4, 0.5, 0.6)))
    data = diagnosed(judged, pool={"first": 1, "last": 4, "policy_first": 1})
    assert list(_said(data)) == [
        "Target/proposal stable: 0.81 (0.76 to 0.86) of the median prompt.",
        "Steps 1 to 4 pooled.",
    ]
