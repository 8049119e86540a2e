"""Which setting is better: against scipy, and Holm's correction against its definition."""

from itertools import chain, combinations

import numpy as np
import pytest
from scipy import stats

from tod.study.sweep.answer import answer
from tod.study.sweep.axis import Axis
from tod.study.sweep.compare import compare
from tod.study.sweep.ends import End, Evaluation

ETA, OPERATOR = Axis("target.eta", "eta", (1, 2)), Axis("operator", "operator", ("a", "b", "c"))


def end(values, seed, by_prompt, verdict="transition", state="done"):
    """A run that ended so."""
    known = by_prompt is not None
    last = (Evaluation(9, float(np.mean(by_prompt)), 0.01),) if known else ()
    return End(
        name=f"{values}-{seed}",
        values=tuple(values),
        seed=seed,
        state=state,
        step=9,
        steps=9,
        seconds=1.0,
        evaluations=(Evaluation(0, 0.2, 0.01), *last),
        by_prompt=None if by_prompt is None else np.asarray(by_prompt, np.float64),
        judged={"regime": {"verdict": verdict}} if known else {},
    )


def grid(seeds=4, prompts=6, shift=0.0, seed=0):
    """Ends of every combination; operator ``b`` is better by ``shift``."""
    rng = np.random.default_rng(seed)
    return [
        end((eta, name), s, rng.random(prompts) + shift * (name == "b"))
        for s in range(seeds)
        for eta in ETA.values
        for name in OPERATOR.values
    ]


def value(ends, values, seed):
    return next(e.by_prompt.mean() for e in ends if e.values == values and e.seed == seed)


def holm_by_definition(p):
    """The largest Bonferroni p of all sets of hypotheses that hold one: closed testing."""
    places = range(len(p))
    sets = list(chain.from_iterable(combinations(places, n) for n in range(1, len(p) + 1)))
    return [max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in places]


def test_pairs_are_those_of_a_paired_t_test_over_seeds():
    two = Axis("operator", "operator", ("a", "b"))
    ends = [run for run in grid() if run.values[1] != "c"]
    found = compare([ETA, two], ends)
    assert len(found.pairs) == 6
    cells = {cell.label: cell.values for cell in found.cells}
    raw = []
    for effect in found.pairs:
        a, b = ([value(ends, cells[name], s) for s in range(4)]
                for name in (effect.operator, effect.against))  # fmt: skip
        test = stats.ttest_rel(a, b)
        assert effect.difference.value == pytest.approx(np.mean(a) - np.mean(b))
        assert effect.difference.interval() == pytest.approx(tuple(test.confidence_interval(0.95)))
        assert effect.difference.p == pytest.approx(test.pvalue)
        assert effect.tests == 6
        raw.append(test.pvalue)
    assert [effect.adjusted for effect in found.pairs] == pytest.approx(holm_by_definition(raw))


def test_a_setting_by_itself_is_averaged_over_the_others():
    ends = grid(shift=0.3)
    along = compare([ETA, OPERATOR], ends).along
    assert [one.axis.name for one in along] == ["eta", "operator"]
    p = []
    for one, place in zip(along, (0, 1), strict=True):
        others = OPERATOR.values if place == 0 else ETA.values
        for effect, (v, w) in zip(one.effects, combinations(one.axis.values, 2), strict=True):
            means = [
                [np.mean([value(ends, (x, o) if place == 0 else (o, x), s) for o in others])
                 for s in range(4)]
                for x in (v, w)
            ]  # fmt: skip
            test = stats.ttest_rel(*means)
            assert effect.difference.value == pytest.approx(np.mean(means[0]) - np.mean(means[1]))
            assert effect.difference.p == pytest.approx(test.pvalue)
            assert one.means[effect.operator].value == pytest.approx(np.mean(means[0]))
            p.append(test.pvalue)
    adjusted = [effect.adjusted for one in along for effect in one.effects]
    assert adjusted == pytest.approx(holm_by_definition(p))
    assert "b" in (along[1].largest.operator, along[1].largest.against)


def test_only_seeds_that_both_have_are_compared():
    ends = [e for e in grid() if not (e.values == (1, "a") and e.seed in (1, 2))]
    found = compare([ETA, OPERATOR], ends)
    seeds = {(effect.operator, effect.against): effect.difference.seeds for effect in found.pairs}
    assert {n for pair, n in seeds.items() if "eta 1, a" in pair} == {2}
    assert {n for pair, n in seeds.items() if "eta 1, a" not in pair} == {4}
    effect = next(e for e in found.pairs if (e.operator, e.against) == ("eta 1, a", "eta 1, b"))
    apart = [value(ends, (1, "a"), s) - value(ends, (1, "b"), s) for s in (0, 3)]
    assert effect.difference.value == pytest.approx(np.mean(apart))


def test_one_seed_has_no_interval_and_is_told():
    found = compare([OPERATOR], [end((v,), 0, [0.1 * i]) for i, v in enumerate("abc")])
    assert all(effect.difference.interval() is None for effect in found.pairs)
    assert all(effect.adjusted is None for effect in found.pairs)
    assert found.told(found.pairs[0]) is None
    assert answer(found) == (
        "c ended best, pass@1 0.200 to 0.100 of the next; one seed cannot tell that from chance."
    )


def rows(**utilities):
    """Ends of one axis: a list of a utility a seed for every value."""
    return [
        end((name,), seed, None if x is None else [x])
        for name, values in utilities.items()
        for seed, x in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("utilities", "said"),
    [
        (
            {"a": [0.1, 0.11, 0.1], "b": [0.5, 0.51, 0.52], "c": [0.3, 0.31, 0.32]},
            "b ended best, pass@1 0.510, above all 2 others by more than seeds explain.",
        ),
        (
            {"a": [0.1, 0.11, 0.1], "b": [0.5, 0.51, 0.52]},
            "b ended best, pass@1 0.510, above the other by more than seeds explain.",
        ),
        (
            {"a": [0.1, 0.11, 0.1], "b": [0.5, 0.51, 0.52], "c": [0.2, 0.8, 0.5]},
            "b ended best, pass@1 0.510: above 1 of 2 others by more than seeds explain, "
            "not told from the rest.",
        ),
        (
            {"a": [0.1, 0.9, 0.5], "b": [0.9, 0.2, 0.5]},
            "b ended best, pass@1 0.533, but by no more than seeds explain.",
        ),
        ({"a": [0.5, 0.7], "b": [0.5, 0.7]},
         "All 2 settings end alike, pass@1 0.600: nothing differs."),
        ({"a": [0.5, 0.7]}, "Nothing differs but the seed: pass@1 0.600 ± 1.271 over 2 seeds."),
        ({"a": [0.5, 0.7], "b": [None, None]}, "Only a has ended so far: pass@1 0.600."),
        ({"a": [None], "b": [None]},
         "2 of 2 runs ended, and none was evaluated on held-out prompts."),
        ({"a": [0.4, None], "b": [None, 0.5]},
         "b ended best, pass@1 0.500 to 0.400 of the next; too few seeds have ended to tell that "
         "from chance."),
    ],
)  # fmt: skip
def test_the_answer(utilities, said):
    assert answer(compare([OPERATOR], rows(**utilities))) == said


def test_before_any_run_ended():
    waiting = [end((v,), 0, None, state="waiting") for v in "ab"]
    assert answer(compare([OPERATOR], waiting)) == "0 of 2 runs ended so far."


def test_less_the_best_has_the_sign_of_its_name():
    found = compare([OPERATOR], rows(a=[0.1, 0.2], b=[0.6, 0.6], c=[0.3, 0.3]))
    assert found.best.label == "b"
    assert found.less_best(found.best) is None
    for cell in found.ranked[1:]:
        effect = found.less_best(cell)
        assert (effect.operator, effect.against) == (cell.label, "b")
        assert effect.difference.value == pytest.approx(cell.end.value - 0.6)


def test_settings_that_do_not_differ_are_rarely_told_apart():
    repeats, wrong = 200, 0
    rng = np.random.default_rng(5)
    for _ in range(repeats):
        shared = rng.normal(size=(4, 1))
        noise = shared + rng.normal(size=(4, 4))
        ends = [end((v,), s, [noise[s, i]]) for i, v in enumerate((1, 2, 3, 4)) for s in range(4)]
        found = compare([Axis("x", "x", (1, 2, 3, 4))], ends)
        wrong += any(found.told(effect) for effect in found.pairs)
    assert stats.binomtest(wrong, repeats, 0.05, alternative="greater").pvalue > 1e-3
