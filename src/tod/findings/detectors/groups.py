"""Groups that are none: ids that tell every rollout apart, or groups that mix prompts."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.codes import bounded, distinct
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Certainty, Finding, Onset, Remedy, Severity
from tod.findings.run import RolloutTable, TrainingRun
from tod.findings.words import number, per_cent, thousands

SHARE = 0.5
"""Share of the prompts that must stand in several groups of one step."""
MIXED = (0.01, 0.95)
"""Share of groups with several inputs: below, a few odd rows; above, inputs that never repeat."""


@dataclass(frozen=True)
class Split:
    """How often one input stands in several groups of one step.

    Attributes:
        inputs: Inputs, counted by step.
        split: Those in two groups or more.
        groups: Median number of groups of these.
        rows: Median number of rollouts of these.
        alone: Share of groups of one rollout.
    """

    inputs: int
    split: int
    groups: float
    rows: float
    alone: float


class GroupsDetector(Detector):
    """The same input n times in a step under different ids; groups with several inputs."""

    kind = "groups"
    kinds = ("broken_groups", "mixed_groups", "repeated_prompts")
    checks = "groups"
    order = 1

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        rollouts = run.rollouts
        if rollouts is None or rollouts.input is None:
            return unreadable(
                self.kind, "no texts of prompts", "rollouts with the text of their prompts"
            )
        if not rollouts.grouped:
            return unreadable(self.kind, "the files hold no group ids", "ids of the prompts")
        mixed = tuple(_mixed(run, rollouts))
        return mixed or tuple(_split(run, rollouts))


def split_inputs(rollouts: RolloutTable) -> Split:
    """Inputs by step that stand in several groups. Needs the inputs' codes."""
    assert rollouts.input is not None  # noqa: S101 - the caller looked
    step, code, group, size = _inputs_of_groups(rollouts)
    key = step * (int(code.max(initial=0)) + 1) + code
    _, place = np.unique(key, return_inverse=True)
    rows = np.bincount(place, weights=size)
    groups = np.bincount(distinct(place * len(rollouts.groups) + group) // len(rollouts.groups))
    several = groups > 1
    return Split(
        len(rows),
        int(several.sum()),
        float(np.median(groups[several])) if several.any() else 1.0,
        float(np.median(rows[several])) if several.any() else 1.0,
        float((rollouts.groups.sizes == 1).mean()),
    )


def _inputs_of_groups(rollouts: RolloutTable) -> tuple[np.ndarray, ...]:
    """Step, input, group and rollouts of every input of a group.

    Where no group mixes inputs there is one a group; else every rollout stands by itself.
    """
    assert rollouts.input is not None  # noqa: S101 - the caller looked
    code, groups = bounded(rollouts.input), rollouts.groups
    first = code[groups.offsets[:-1]]
    steps = np.arange(len(rollouts.steps))
    if bool((groups.spread(first) == code).all()):
        step = np.repeat(steps, rollouts.by_step.sizes)
        return step, first, np.arange(len(groups)), groups.sizes
    step = np.repeat(steps, rollouts.rows_of_step.sizes)
    return step, code, groups.owner, np.ones(len(code))


def _split(run: TrainingRun, rollouts: RolloutTable) -> Iterator[Finding]:
    split = split_inputs(rollouts)
    if split.split < SHARE * split.inputs:
        return
    first = int(rollouts.steps[0])
    share = per_cent(split.split / split.inputs)
    evidence = [
        ("prompts in several groups", f"{share} of {thousands(split.inputs)} (counted by step)"),
        ("rollouts of such a prompt", f"{number(split.rows)} in {number(split.groups)} groups"),
    ]
    if split.alone < SHARE:  # whole groups that repeat: a prompt drawn twice is no fault
        yield Finding(
            "repeated_prompts",
            "note",
            f"{share} of the prompts stand in {number(split.groups)} groups of one step.",
            None,
            tuple(evidence),
            {"share": split.split / split.inputs, "groups": split.groups},
            causes=(
                Cause(
                    "drawn_again",
                    "prompts are drawn more than once a step, or a group is cut into pieces",
                    "possible",
                    "the group size of the configuration",
                ),
            ),
        )
        return
    evidence.append(("groups of one rollout", per_cent(split.alone)))
    used = _advantage_words(rollouts)
    if used:
        evidence.append(("logged advantages", used))
    stated = run.expected.get("samples_per_prompt")
    proven = isinstance(stated, int) and stated > 1 and stated == round(split.rows)
    severity: Severity = "critical" if used.startswith("all 0") else "warning"
    certainty: Certainty = "fact" if proven else "likely"
    yield Finding(
        "broken_groups",
        severity,
        f"The group ids are broken: each prompt stands {number(split.rows)} times in a step, "
        "each under its own id.",
        Onset(None, first, first),
        tuple(evidence),
        {"share": split.split / split.inputs, "rows": split.rows, "alone": split.alone},
        causes=_why_split(certainty, used),
        remedies=(
            Remedy("ids", "give all rollouts of a prompt one id: the prompt's own"),
            Remedy("group_by_text", "to read these files: tell prompts apart by their text"),
        ),
        cost="" if used else "no group statistic of these files is readable",
        series=("reward",),
    )


def _why_split(certainty: Certainty, used: str) -> tuple[Cause, ...]:
    ids = Cause(
        "ids_by_rollout",
        "every rollout gets an id of its own"
        + (", in the file only: the trainer had its groups" if used.startswith("not 0") else ""),
        certainty,
        "" if certainty == "fact" else "the group size of the configuration",
    )
    if certainty == "fact":
        return (ids,)
    lone = Cause(
        "drawn_again", "prompts are drawn several times with K = 1", "possible", ids.decide
    )
    return (ids, lone)


def _advantage_words(rollouts: RolloutTable) -> str:
    """Whether singletons have an advantage, in words; empty where none is logged."""
    if rollouts.advantage is None:
        return ""
    alone = rollouts.groups.spread(rollouts.groups.sizes == 1)
    known = rollouts.advantage[alone & np.isfinite(rollouts.advantage)]
    if not len(known):
        return ""
    share = float((known != 0).mean())
    return "all 0: nothing is learned" if share == 0 else f"not 0 in {per_cent(share)} of them"


def _mixed(run: TrainingRun, rollouts: RolloutTable) -> Iterator[Finding]:
    assert rollouts.input is not None  # noqa: S101 - the caller looked
    several = rollouts.groups.sizes > 1
    if not several.any():
        return
    unlike = np.asarray(rollouts.groups.max(rollouts.input)) > np.asarray(
        rollouts.groups.min(rollouts.input)
    )
    share = float(unlike[several].mean())
    if share < MIXED[0]:
        return
    steps = rollouts.step[several & unlike]
    first = int(steps[0])
    onset = Onset(None if first == int(rollouts.steps[0]) else first, first, first)
    # inputs that are all different hold more than a prompt; prompts that return were mixed up
    step = np.repeat(np.arange(len(rollouts.steps)), rollouts.rows_of_step.sizes)
    inputs = bounded(rollouts.input)
    different = len(distinct(step * (int(inputs.max()) + 1) + inputs))
    alike = share > MIXED[1] and different > MIXED[1] * rollouts.groups.total
    yield Finding(
        "mixed_groups",
        "warning" if alike else "critical",
        f"{per_cent(share)} of the groups hold several prompts: their baselines mix them.",
        onset,
        (
            ("groups with several prompts", f"{thousands(int((several & unlike).sum()))}"),
            ("steps", f"{len(np.unique(steps))} of {len(rollouts.steps)}"),
        ),
        {"share": share},
        causes=(
            Cause(
                "order",
                "rollouts were sorted or packed apart from their ids",
                "possible" if alike else "likely",
                "the prompts of one group",
            ),
            Cause(
                "more_in_the_input",
                "the input holds more than the prompt (turns, time, tools)",
                "likely" if alike else "possible",
                "the prompts of one group",
            ),
        ),
        remedies=(Remedy("compare_prompts", "compare the prompts of one group"),),
        cost=f"{len(np.unique(steps))} of {counted(len(run.steps), 'step')}",
        series=("reward",),
    )
