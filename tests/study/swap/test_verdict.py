"""Verdicts of planted studies: the right answer, and no answer where there is none."""

import numpy as np
import pytest

from planted_conditions import condition, policies, variations
from tod.base import DataError
from tod.study.swap.checks import Flag
from tod.study.swap.condition import Condition
from tod.study.swap.held_out import held_out
from tod.study.swap.paired import against_others, pairs
from tod.study.swap.predict import observed, predict
from tod.study.swap.tables import (
    condition_table,
    control_table,
    effect_table,
    flag_table,
    held_out_table,
    markdown,
    operator_table,
    predictor_table,
)
from tod.study.swap.verdict import verdict
from tolerance import printed

NAMES = ("centred MLE", "token clip", "DPO", "CISPO")


def setting(
    rng: np.random.Generator,
    effects: list[float],
    name: str,
    role: str = "study",
    shift: float = 0.0,
    sd: float = 0.004,
    cluster: str = "sums",
    **facts: object,
) -> Condition:
    """4 seeds, 40 prompts: operator a has mean utility ``effects[a]``; the second is shifted."""
    count, seeds, prompts = len(effects), 4, 40
    ends = policies(rng, 1, count, seeds, 0.0, shared=0.8)[0]
    if shift:
        tilted = ends[1] * np.exp(shift * (np.arange(8) == 3))
        ends[1] = tilted / tilted.sum(axis=-1, keepdims=True)
    own = sd * rng.normal(size=(count, seeds, 1))
    u = np.array(effects)[:, None, None] + own + 0.3 * rng.normal(size=(1, seeds, prompts))
    made = condition(0.3 * variations(ends), u, name, cluster)
    return Condition(
        **{
            **vars(made),
            "operators": NAMES[:count],
            "start": np.zeros(prompts),
            "travel": np.full((count, seeds), 0.2),
            "diagnostics": {"ess_median": 0.3, "ess_two": float(rng.uniform())},
            "facts": {"role": role, "eta": 1.0, **facts},
        }
    )


def study(rng: np.random.Generator, known: float = 0.3, ladder: float = 0.03) -> list[Condition]:
    """Three conditions: no effect; the token clip loses .2; other policies at one utility."""
    return [
        setting(rng, [0.2] * 4, "η 1, fresh"),
        setting(rng, [0.2, 0.0, 0.2, 0.2], "η 5, refresh 64"),
        setting(rng, [0.2] * 4, "η 5, teacher", shift=6.0),
        setting(rng, [0.0, known], "η 0 and 5", "positive"),
        setting(rng, [0.0, ladder, 2 * ladder], "up", "ladder"),
        *[setting(rng, [0.2, 0.2], f"twice {i}", "negative") for i in range(6)],
    ]


def test_every_condition_has_the_right_word() -> None:
    said = verdict(study(np.random.default_rng(0)), family="study", limit=0.05)
    assert [one.word for one in said.conditions] == ["interchangeable", "apart", "apart"]
    same, clip, other = said.conditions
    assert said.tests == 18
    assert clip.parting == ("token clip",)
    assert clip.effect.adjusted < 0.05
    assert "token clip from" in clip.sentence
    assert "by −0.2" in clip.sentence or "by −0.19" in clip.sentence
    assert same.within >= same.detectable
    assert "interchangeable within" in same.sentence
    assert other.parting == ()
    assert "token clip" in other.policies[:2]
    assert "other policies" in other.sentence
    assert "Not interchangeable: apart in 2 of 3 conditions (token clip in 1)" in said.answer


def test_interchangeable_is_said_of_all() -> None:
    rng = np.random.default_rng(1)
    some = [c for c in study(rng) if c.name not in ("η 5, refresh 64", "η 5, teacher")]
    said = verdict(some)
    assert said.answer.startswith("Interchangeable: in 1 of 1 conditions, within 0.0")


def test_without_a_positive_control_there_is_no_power() -> None:
    rng = np.random.default_rng(2)
    conditions = [c for c in study(rng) if c.facts["role"] == "study"]
    said = verdict(conditions, limit=0.05)
    assert [one.word for one in said.conditions] == ["no power", "apart", "apart"]
    assert "positive control" in said.conditions[0].sentence
    assert verdict(conditions[:1]).answer.startswith("No power")


@pytest.mark.parametrize(("known", "ladder"), [(0.0, 0.03), (0.3, 0.0), (0.012, 0.03)])
def test_a_control_that_is_not_seen_leaves_no_power(known: float, ladder: float) -> None:
    """Not detected; no step detected; what must differ is as small as what is not excluded."""
    said = verdict(
        study(np.random.default_rng(3), known, ladder)[:1]
        + study(np.random.default_rng(4), known, ladder)[3:]
    )
    assert said.conditions[0].word == "no power"
    assert "interchangeable" not in said.answer.lower()


def test_policies_that_may_be_far_apart_are_undecided() -> None:
    said = verdict(study(np.random.default_rng(5)), limit=1e-4)
    assert said.conditions[0].word == "undecided"
    assert "not excluded" in said.conditions[0].sentence


def test_a_negative_control_that_fails_leaves_no_verdict() -> None:
    rng = np.random.default_rng(6)
    conditions = [c for c in study(rng) if c.facts["role"] != "negative"]
    conditions += [setting(rng, [0.2, 0.2], f"twice {i}", "negative", shift=6.0) for i in range(6)]
    said = verdict(conditions)
    assert said.answer.startswith("No verdict: one operator under two names differs in")


def test_a_flag_that_stops_leaves_no_verdict() -> None:
    flag = Flag("dead_arm", "sums, η 1, DPO, seed 2", "did not move (travel 0).")
    other = Flag("unknown", "repeat", "no arm was run twice.", stops=False)
    said = verdict(study(np.random.default_rng(0)), [other, flag])
    assert said.answer == "No verdict: sums, η 1, DPO, seed 2 did not move (travel 0)."
    assert not verdict(study(np.random.default_rng(0)), [other]).answer.startswith("No verdict")


def test_a_contrast_is_left_out_of_the_verdict() -> None:
    rng = np.random.default_rng(7)
    conditions = study(rng)
    facts = {**conditions[1].facts, "contrast": "token clip"}
    conditions[1] = Condition(**{**vars(conditions[1]), "facts": facts})
    assert verdict(conditions).conditions[1].word == "interchangeable"


def test_a_difference_that_does_not_matter_is_within() -> None:
    """Seen, and smaller than what is called a difference: it is inside what is said."""
    rng = np.random.default_rng(10)
    conditions = study(rng)[:1] + study(rng)[3:]
    conditions[0] = setting(rng, [0.2, 0.2, 0.25, 0.2], "small", sd=1e-4)
    strict, wide = verdict(conditions), verdict(conditions, matters=0.06)
    assert (strict.conditions[0].word, strict.conditions[0].parting) == ("apart", ("DPO",))
    assert (wide.conditions[0].word, wide.conditions[0].parting) == ("interchangeable", ())
    assert 0.05 < wide.conditions[0].within < 0.06


def test_the_sign_is_that_of_the_one_named() -> None:
    """The last operator is the second of all its pairs: a − d is +.2, and d is named."""
    conditions = study(np.random.default_rng(13))
    last = setting(np.random.default_rng(14), [0.2, 0.2, 0.2, 0.0], "last", sd=1e-4)
    said = verdict([last, *conditions[3:]]).conditions[0]
    assert said.parting == ("CISPO",)
    assert "apart: CISPO from" in said.sentence
    assert "by −0.2" in said.sentence


def test_policies_within_the_limit_are_not_apart() -> None:
    conditions = study(np.random.default_rng(0))
    within, over = (verdict(conditions, limit=x).conditions[2] for x in (0.5, 0.05))
    assert (within.policies, within.word) == (None, "interchangeable")
    assert over.policies[2].value > 0.05


def test_where_all_part_nobody_is_named() -> None:
    rng = np.random.default_rng(11)
    conditions = [setting(rng, [0.1, 0.2, 0.3, 0.4], "all", sd=1e-4), *study(rng)[3:]]
    said = verdict(conditions)
    assert "most pairs differ, most of all centred MLE from CISPO by −0.3" in (
        said.conditions[0].sentence
    )
    assert said.answer == "Not interchangeable: apart in 1 of 1 conditions."


def test_a_control_may_have_the_name_of_a_condition() -> None:
    rng = np.random.default_rng(12)
    conditions = study(rng)
    same = setting(rng, [0.2, 0.2], "η 5, teacher", "negative")
    said = verdict([*conditions, same], limit=0.05)
    shown = rows(condition_table([*conditions, same], said))
    assert shown == rows(condition_table(conditions, said))
    (own,) = (line for line in shown if line[1] == "η 5, teacher")
    e, icc, floor = (float(cell.split()[0].replace("−", "-")) for cell in own[3:6])
    assert icc == pytest.approx(e / (e + floor), abs=2 * printed(3) / floor)
    arms = rows(operator_table([*conditions, same], against_others(conditions[:3])))
    dashes = [line for line in arms if line[1] == "η 5, teacher" and line[4] == "–"]
    assert len(dashes) == 2


def test_controls_alone_are_no_study() -> None:
    with pytest.raises(DataError, match="but controls"):
        verdict(study(np.random.default_rng(8))[3:])


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.split("\n")]


def test_tables_hold_all_arms_in_the_order_of_their_effect() -> None:
    conditions = study(np.random.default_rng(9))
    said = verdict(conditions, limit=0.05)
    shown = rows(condition_table(conditions, said))
    assert shown[2][1] == "η 5, teacher"
    assert len(shown) == 2 + 3
    three = conditions[:3]
    arms = rows(operator_table(conditions, against_others(three)))
    assert len(arms) == 2 + 3 * 4 + 2 + 3 + 6 * 2
    assert arms[2][1:3] == ["η 5, refresh 64", "token clip"]
    effects = rows(effect_table(pairs(three, resamples=50)))
    assert effects[0][-1] == "Holm p of 18 tests"
    assert len(effects) == 2 + 18
    sizes = [abs(float(line[4].split()[0].replace("−", "-"))) for line in effects[2:]]
    assert sizes == sorted(sizes, reverse=True)
    assert all(line[5].startswith("[") for line in effects[2:])
    controls = rows(control_table(said.controls))
    assert [line[0] for line in controls[2:]] == ["positive", "ladder", "ladder", "negative"]
    assert controls[3][-1] == "smallest detected"
    seen = observed(three)
    told = rows(predictor_table(predict(seen, resamples=10, limit=0.05)))
    assert {line[0] for line in told[2:]} == {"ess_median", "ess_two", "eta", "travel", "gained"}
    assert "few clusters: 1" in told[0][2]
    judged = rows(held_out_table([held_out(seen, "ess_two")]))
    assert judged[2][-1] == "3"
    flags = [Flag("unknown", "x", "y", stops=False), Flag("dead_arm", "z", "w")]
    assert [line[0] for line in rows(flag_table(flags))[2:]] == ["dead arm", "unknown"]


def test_a_bar_in_a_cell_is_escaped() -> None:
    assert markdown(("a",), [("x|y",)]) == "| a |\n| --- |\n| x\\|y |"
