"""Whether operators are interchangeable: a sentence a condition, and one for the study."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tod.base import DataError
from tod.base.text import plainly
from tod.study.swap.checks import Flag
from tod.study.swap.condition import Condition
from tod.study.swap.controls import Controls, controls_of, role_of
from tod.study.swap.estimate import Estimate
from tod.study.swap.excess import excess_of_pairs, mean_excess
from tod.study.swap.holm import holm
from tod.study.swap.paired import Effect, Family, pairs, parting
from tod.study.swap.subset import without_contrast

__all__ = ["ConditionVerdict", "StudyVerdict", "verdict"]

Word = Literal["interchangeable", "apart", "undecided", "no power"]


@dataclass(frozen=True)
class ConditionVerdict:
    """What a condition says of its operators.

    Attributes:
        cluster: World or task.
        condition: Its name.
        word: ``interchangeable``: no pair differs and differences from ``within`` on are excluded;
            ``apart``: a pair differs in utility, or ends at other policies; ``undecided``: none
            does, and policies apart by more than the limit are not excluded; ``no power``: none
            does, and the study would not have seen it.
        within: The difference in utility from which on none is left; None where nothing bounds it.
        detectable: The smallest step that the task's ladder detected.
        parting: Operators without which no pair differs, the first first.
        effect: The largest pair that differs, else the largest; None without a pair.
        excess: E, mean over pairs.
        policies: The pair of operators that ends furthest apart, with its E and adjusted p, where
            it is over the limit; None where none is.
        sentence: All of it in words.
    """

    cluster: str
    condition: str
    word: Word
    within: float | None
    detectable: float | None
    parting: tuple[str, ...]
    effect: Effect | None
    excess: Estimate
    policies: tuple[str, str, Estimate, float] | None
    sentence: str


@dataclass(frozen=True)
class StudyVerdict:
    """What a study says.

    Attributes:
        answer: The first line: are they interchangeable?
        conditions: One a condition of the study, in its order.
        tests: Tests of pairs in utility that were corrected together, the largest family.
        controls: What its controls show.
        flags: What does not hold of its arms.
    """

    answer: str
    conditions: tuple[ConditionVerdict, ...]
    tests: int
    controls: Controls
    flags: tuple[Flag, ...]


def verdict(
    conditions: Iterable[Condition],
    flags: Sequence[Flag] = (),
    *,
    family: Family = "study",
    level: float = 0.05,
    limit: float = 0.1,
    matters: float = 0.0,
    what: str = "utility",
) -> StudyVerdict:
    """Say of every condition of a study whether its operators are interchangeable.

    A pair differs in utility where its p after Holm's correction is at most ``level`` and the
    difference is one that matters, and in its policies where E is over ``limit`` with such a p
    (Holm over all pairs of all conditions). No pair differs and the task's positive control was
    detected: interchangeable within x, the largest of the detectable effect and the ends of all
    pairs' intervals. If x is as large as what the positive control changed, there is no power
    after all.

    Args:
        conditions: Of the study with its controls, told apart by their role.
        flags: What does not hold of its arms. One that stops the study leaves no verdict.
        family: What Holm's correction of utilities runs over.
        level: Chance of a false difference in a family; intervals cover 1 − level.
        limit: E above which policies are apart.
        matters: Smallest difference in utility that is called one: in exact worlds, where seeds
            hardly differ, every pair differs by something.
        what: What utility is called, such as ``pass@1``.

    Raises:
        DataError: There is no condition but controls, or a condition has fewer than two seeds.
    """
    every = list(conditions)
    study = [without_contrast(c) for c in every if role_of(c) == "study"]
    if not study:
        raise DataError("no condition but controls: there is nothing to say of operators.")
    controls, effects = controls_of(every), pairs(study, family=family)
    policies = _policies(study, level, limit)
    verdicts = []
    for condition, others in zip(study, policies, strict=True):
        own = [
            e for e in effects if (e.cluster, e.condition) == (condition.cluster, condition.name)
        ]
        large = [e if abs(e.difference.value) >= matters else replace(e, adjusted=1.0) for e in own]
        verdicts.append(_judged(condition, large, others, controls, level, limit, what))
    tests = max((effect.tests for effect in effects), default=0)
    answer = _answer(verdicts, controls, [f for f in flags if f.stops], what)
    return StudyVerdict(answer, tuple(verdicts), tests, controls, tuple(flags))


def _policies(
    study: Sequence[Condition], level: float, limit: float
) -> list[tuple[str, str, Estimate, float] | None]:
    """For every condition the pair that is furthest over the limit with an adjusted p in level."""
    tables = [excess_of_pairs(condition) for condition in study]
    flat = [(place, *names, e) for place, table in enumerate(tables) for names, e in table.items()]
    largest: list[tuple[str, str, Estimate, float] | None] = [None] * len(study)
    for (place, a, b, e), p in zip(flat, holm([x[-1].p for x in flat]), strict=True):
        before = largest[place]
        further = before is None or e.value > before[2].value
        if p is not None and p <= level and e.value > limit and further:
            largest[place] = (a, b, e, p)
    return largest


def _judged(
    condition: Condition,
    effects: Sequence[Effect],
    policies: tuple[str, str, Estimate, float] | None,
    controls: Controls,
    level: float,
    limit: float,
    what: str,
) -> ConditionVerdict:
    apart = [e for e in effects if e.adjusted is not None and e.adjusted <= level]
    names = parting(effects, level)
    largest = max(apart or effects, key=lambda e: abs(e.difference.value), default=None)
    excess, detectable = mean_excess(condition), controls.detectable(condition.cluster)
    known, within = controls.known_effect(condition.cluster), _within(effects, detectable, level)
    ends = excess.interval(1 - level)
    word: Word = "interchangeable"
    if apart or policies is not None:
        word = "apart"
    elif known is None or within is None or within >= known:
        word = "no power"
    elif ends is None or ends[1] > limit:
        word = "undecided"
    made = ConditionVerdict(
        cluster=condition.cluster,
        condition=condition.name,
        word=word,
        within=within,
        detectable=detectable,
        parting=names,
        effect=largest,
        excess=excess,
        policies=policies,
        sentence="",
    )
    said = _sentence(made, known, limit, what)
    return ConditionVerdict(**{**vars(made), "sentence": said})


def _within(effects: Sequence[Effect], detectable: float | None, level: float) -> float | None:
    """The largest difference that is left: of the intervals' ends and of what can be seen.

    All pairs lie inside ± that by an intersection of tests, which needs no correction (Berger
    1982).
    """
    intervals = [e.difference.interval(1 - level) for e in effects]
    if not intervals or detectable is None:
        return None
    ends = [abs(end) for interval in intervals if interval is not None for end in interval]
    return max(*ends, detectable) if len(ends) == 2 * len(intervals) else None


def _sentence(made: ConditionVerdict, known: float | None, limit: float, what: str) -> str:
    where = f"{made.cluster}, {made.condition}"
    excess = f"E {_with_interval(made.excess)}"
    if made.word == "apart":
        return f"{where}: apart: {_difference(made, what)}; {excess}."
    if made.word == "interchangeable":
        return (
            f"{where}: interchangeable within {plainly(made.within)} {what} (smallest step "
            f"detected: {plainly(made.detectable)}); {excess}."
        )
    if made.word == "undecided":
        return (
            f"{where}: undecided: no pair differs in {what}, and policies further apart than E "
            f"{limit:g} are not excluded; {excess}. More seeds would tell."
        )
    if known is None:
        why = "the positive control was not detected or not run"
    elif made.detectable is None:
        why = "no step of the ladder was detected, or it was not run"
    elif made.within is None:
        why = "there are too few seeds for an interval"
    else:
        why = (
            f"a difference of {plainly(made.within)} {what} is not excluded, and the positive "
            f"control changed {plainly(known)}"
        )
    return f"{where}: no power: {why}; {excess}."


def _difference(made: ConditionVerdict, what: str) -> str:
    """Which operator from which, and by how much."""
    said = []
    effect = made.effect
    if made.parting and effect is not None:
        if len(made.parting) == 1 and made.parting[0] in (effect.operator, effect.against):
            first = made.parting[0]
            sign = 1.0 if first == effect.operator else -1.0
            other = effect.against if first == effect.operator else effect.operator
            said.append(_by(first, other, sign * effect.difference.value, effect.adjusted, what))
        else:
            value = effect.difference.value
            pair = _by(effect.operator, effect.against, value, effect.adjusted, what)
            said.append(f"{_who(made.parting)}, most of all {pair}")
    if made.policies is not None:
        a, b, e, p = made.policies
        said.append(f"{a} and {b} end at other policies, E {plainly(e.value)} (Holm {_p(p)})")
    return "; ".join(said)


def _who(names: Sequence[str]) -> str:
    """Up to two by name: of more no operator is the one that parts."""
    return f"{' and '.join(names)} part from the rest" if len(names) <= 2 else "most pairs differ"


def _by(first: str, other: str, value: float, p: float | None, what: str) -> str:
    return f"{first} from {other} by {_signed(value)} {what} (Holm {_p(p)})"


def _answer(
    verdicts: Sequence[ConditionVerdict], controls: Controls, stops: Sequence[Flag], what: str
) -> str:
    """The first line of the study."""
    if stops:
        more = f", and {len(stops) - 1} more" if len(stops) > 1 else ""
        return f"No verdict: {stops[0].name} {stops[0].said.rstrip('.')}{more}."
    chance = controls.negative.chance
    if controls.negative.holds is False and chance is not None and chance <= 0.05:
        return (
            f"No verdict: one operator under two names differs in {len(controls.negative.outside)} "
            f"of {controls.negative.inside + len(controls.negative.outside)} conditions, first "
            f"{controls.negative.outside[0]}: what is seen is not the operators'."
        )
    counts, total = Counter(v.word for v in verdicts), len(verdicts)
    widest = max((v.within or 0.0 for v in verdicts if v.word == "interchangeable"), default=0.0)
    if counts["interchangeable"] == total:
        return (
            f"Interchangeable: in {total} of {total} conditions, within {plainly(widest)} {what}."
        )
    if counts["no power"] == total:
        return f"No power: in none of {total} conditions would a difference have been seen."
    if not counts["apart"]:
        rest = _listed(counts, ("interchangeable", "undecided", "no power"))
        return f"No difference seen in {total} conditions: {rest}."
    names = Counter(name for v in verdicts if len(v.parting) <= 2 for name in v.parting)
    who = ", ".join(f"{name} in {n}" for name, n in names.most_common(3))
    rest = _listed(counts, ("interchangeable", "undecided", "no power"))
    first = f"Not interchangeable: apart in {counts['apart']} of {total} conditions"
    return f"{first}{f' ({who})' if who else ''}{f'; {rest}' if rest else ''}."


def _listed(counts: Counter[Word], words: Sequence[Word]) -> str:
    return ", ".join(f"{word} in {counts[word]}" for word in words if counts[word])


def _with_interval(x: Estimate, level: float = 0.95) -> str:
    ends = x.interval(level)
    shown = "" if ends is None else f" [{_decimals(ends[0])}, {_decimals(ends[1])}]"
    return f"{_decimals(x.value)}{shown}"


def _decimals(x: float) -> str:
    return f"{x:.3f}"


def _signed(x: float) -> str:
    return f"{x:+.3g}".replace("-", "−")


def _p(p: float | None) -> str:
    if p is None:
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p {p:.2g}"
