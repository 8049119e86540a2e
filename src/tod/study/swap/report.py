"""What a study says, put together: the answer, tables, and the same as plain data."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tod.study.swap.checks import Flag
from tod.study.swap.condition import Condition
from tod.study.swap.controls import role_of
from tod.study.swap.held_out import ThresholdTest, held_out
from tod.study.swap.paired import Effect, against_others, pairs
from tod.study.swap.phase import Phase, phases
from tod.study.swap.predict import Predictor, direction_of, observed, predict
from tod.study.swap.subset import without_contrast
from tod.study.swap.tables import (
    condition_table,
    control_table,
    effect_table,
    flag_table,
    held_out_table,
    operator_table,
    phase_table,
    predictor_table,
)
from tod.study.swap.verdict import StudyVerdict, verdict

__all__ = ["SCHEMA", "StudyReport", "report_of"]

SCHEMA = "tod.swap/1"
FEWEST = 6
"""Conditions below which nothing is said of what foretells: any order of three is a perfect one."""
JUDGED = 6
"""Predictors whose thresholds are judged on the other half."""


@dataclass(frozen=True, eq=False)
class StudyReport:
    """A study's conditions with everything that is said of them.

    Attributes:
        conditions: All, controls among them.
        said: The verdict.
        pairs: Every pair of operators of every condition, paired utility.
        others: Every operator against the mean of the others.
        predictors: What foretells operators that end apart, the best first; None where there are
            too few conditions to tell.
        judged: Thresholds of the best, fitted on one half of the clusters, judged on the other.
        limit: E above which operators are apart.
    """

    conditions: tuple[Condition, ...]
    said: StudyVerdict
    pairs: tuple[Effect, ...]
    others: tuple[Effect, ...]
    predictors: tuple[Predictor, ...] | None
    judged: tuple[ThresholdTest, ...]
    limit: float

    @property
    def phases(self) -> list[Phase]:
        """What was foreseen of the study's conditions against what they became."""
        own = [without_contrast(c) for c in self.conditions if role_of(c) == "study"]
        return phases(own, self.said.conditions, self.limit)

    def markdown(self, title: str, command: str) -> str:
        """The report as Markdown, the answer first, then tables.

        Args:
            title: Of the page.
            command: What made it.
        """
        said = self.said
        own = [c for c in self.conditions if role_of(c) == "study"]
        controls = [c for c in self.conditions if role_of(c) != "study"]
        sections = [
            ("Conditions", condition_table(own, said)),
            ("Foreseen and seen", phase_table(self.phases, self.limit)),
            ("Controls", control_table(said.controls)),
            ("Operators", operator_table(own, self.others)),
            ("Operators of the controls", operator_table(controls, [])),
            ("Pairs", effect_table(self.pairs)),
        ]
        if self.predictors is not None:
            sections.append(
                (f"What foretells E over {self.limit:g}", predictor_table(self.predictors))
            )
            sections.append(("Thresholds on the other half", held_out_table(self.judged)))
        if said.flags:
            sections.append(("What does not hold", flag_table(said.flags)))
        head = f"# {title}\n\n{said.answer}\n\nMade by `{command}`.\n"
        return head + "".join(f"\n## {name}\n\n{text}\n" for name, text in sections if text)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, `SCHEMA`."""
        return {
            "schema": SCHEMA,
            "answer": self.said.answer,
            "tests": self.said.tests,
            "limit": self.limit,
            "conditions": [_plain(c, v) for c, v in self._with_verdicts()],
            "phases": [asdict(phase) for phase in self.phases],
            "pairs": [asdict(effect) for effect in self.pairs],
            "others": [asdict(effect) for effect in self.others],
            "predictors": None
            if self.predictors is None
            else [asdict(one) for one in self.predictors],
            "held_out": [asdict(one) for one in self.judged],
            "flags": [asdict(flag) for flag in self.said.flags],
        }

    def _with_verdicts(self) -> list[tuple[Condition, Any]]:
        by_name = {(v.cluster, v.condition): v for v in self.said.conditions}
        return [
            (c, by_name.get((c.cluster, c.name)) if role_of(c) == "study" else None)
            for c in self.conditions
        ]


def report_of(
    conditions: Sequence[Condition],
    flags: Sequence[Flag] = (),
    *,
    limit: float = 0.1,
    what: str = "utility",
) -> StudyReport:
    """Everything that is said of a study; utilities are corrected over all pairs of a task.

    Args:
        conditions: All, controls among them.
        flags: What does not hold of its arms.
        limit: E above which operators are apart.
        what: What utility is called.

    Raises:
        DataError: There is no condition but controls, or one has fewer than two seeds.
    """
    own = [without_contrast(c) for c in conditions if role_of(c) == "study"]
    said = verdict(conditions, flags, limit=limit, what=what, family="cluster")
    predictors: tuple[Predictor, ...] | None = None
    judged: tuple[ThresholdTest, ...] = ()
    if len(own) >= FEWEST and all(len(condition.operators) > 1 for condition in own):
        seen = observed(own)
        known = {name: x for name, x in seen.values.items() if _foretells(name)}
        seen = replace(seen, values=known)
        predictors = tuple(predict(seen, limit=limit))
        best = [one.name for one in predictors if one.auroc.value is not None][:JUDGED]
        judged = tuple(held_out(seen, name, limit=limit) for name in best)
    return StudyReport(
        tuple(conditions),
        said,
        tuple(pairs(own, family="cluster")),
        tuple(against_others(own, family="cluster")),
        predictors,
        judged,
        limit,
    )


def _foretells(name: str) -> bool:
    """Whether it is known beforehand which side of a figure foretells operators that part."""
    try:
        direction_of(name)
    except ValueError:
        return False
    return True


def _plain(condition: Condition, said: Any) -> dict[str, Any]:
    """A condition without its tables of distances."""
    return {
        "name": condition.name,
        "cluster": condition.cluster,
        "role": role_of(condition),
        "operators": list(condition.operators),
        "seeds": list(condition.seeds),
        "utility": condition.utility.mean(axis=-1).tolist(),
        "travel": None if condition.travel is None else condition.travel.tolist(),
        "diagnostics": dict(condition.diagnostics),
        "facts": dict(condition.facts),
        "verdict": None
        if said is None
        else {"word": said.word, "excess": asdict(said.excess), "sentence": said.sentence},
    }
