"""Rows that do not belong in training: evaluation prompts, and prompts that no answer solves."""

import numpy as np

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.codes import distinct
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy
from tod.findings.rollout_series import group_classes
from tod.findings.run import RolloutTable, TrainingRun
from tod.findings.words import per_cent, thousands

VISITS = 3
"""Steps in which a prompt must stand for something to be said of it."""
NEVER = 0.3
"""Share of the batch of prompts that were never solved that is a warning."""
WORTH = 0.05
"""Share of it that is worth a note."""
BLOCK = 5
"""Prompts that return together from which they may be a set for evaluation."""
TOGETHER = 0.9
"""Share of the steps of such a set in which each of its prompts must stand."""


class EvaluationRowsDetector(Detector):
    """Rows marked as evaluation, a set of prompts that returns at an interval, unsolved ones."""

    kind = "evaluation_rows"
    kinds = ("evaluation_rows", "never_solved")
    checks = "prompts that return"
    order = 3

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        rollouts = run.rollouts
        if rollouts is None or (rollouts.prompt is None and rollouts.evaluation is None):
            return unreadable(
                self.kind,
                "prompts are not told apart across steps",
                "rollouts with the text of their prompts",
            )
        found = [_marked(run, rollouts)]
        if rollouts.prompt is not None:
            visits = Visits(rollouts)
            if found[0] is None:
                found.append(_returning(run, rollouts, visits))
            found.append(_never_solved(rollouts, visits))
        return tuple(f for f in found if f is not None)


class Visits:
    """In which steps every prompt stands.

    Attributes:
        prompt: Position of the prompt of every group among the different ones, [G].
        step: Position of the step of every group, [G].
        pairs: Every prompt and step at which it stands, [2, V].
        count: Steps in which a prompt stands, by prompt.
    """

    def __init__(self, rollouts: RolloutTable) -> None:
        assert rollouts.prompt is not None  # noqa: S101 - the caller looked
        _, self.prompt = np.unique(rollouts.prompt, return_inverse=True)
        self.step = np.repeat(np.arange(len(rollouts.steps)), rollouts.by_step.sizes)
        steps = len(rollouts.steps)
        self.pairs = np.stack(np.divmod(distinct(self.prompt * steps + self.step), steps))
        self.count = np.bincount(self.pairs[0])


def _marked(run: TrainingRun, rollouts: RolloutTable) -> Finding | None:
    if rollouts.evaluation is None or not rollouts.evaluation.any():
        return None
    share = float(rollouts.evaluation.mean())
    first = int(rollouts.step_of_row[rollouts.evaluation][0])
    return Finding(
        "evaluation_rows",
        "warning",
        f"{per_cent(share)} of the rollouts are marked as evaluation rows.",
        Onset(None if first == int(rollouts.steps[0]) else first, first, first),
        (("evaluation rows", thousands(int(rollouts.evaluation.sum()))),),
        {"share": share},
        causes=(
            Cause(
                "same_folder",
                "evaluation rollouts are written next to those of training",
                "possible",
                "whether the trainer's batch size counts them",
            ),
        ),
        remedies=(Remedy("leave_out", "leave them out of what is read here, and of training"),),
        cost=f"{counted(len(run.steps), 'step')} read with them",
        series=("reward",),
    )


def _returning(run: TrainingRun, rollouts: RolloutTable, visits: Visits) -> Finding | None:
    """A set of prompts that stands together in steps at one interval, while others hardly do."""
    often = visits.count >= VISITS
    if int(often.sum()) < BLOCK or often.all():
        return None
    member = often[visits.pairs[0]]
    steps, count = np.unique(visits.pairs[1][member], return_counts=True)
    whole = steps[count >= TOGETHER * int(often.sum())]
    if len(whole) < VISITS or len(steps) > 0.5 * len(rollouts.steps):
        return None
    gaps = np.diff(whole)
    regular = float((gaps == np.median(gaps)).mean())
    if regular < 0.8 or int(visits.count[~often].max()) > int(visits.count[often].min()) / 2:
        return None
    rows = rollouts.groups.sizes[often[visits.prompt]].sum()
    first = int(rollouts.steps[whole[0]])
    return Finding(
        "evaluation_rows",
        "note",
        f"The same {counted(int(often.sum()), 'prompt')} return every "
        f"{counted(int(np.median(gaps)), 'step')}: an evaluation set?",
        Onset(None if whole[0] == 0 else first, first, first),
        (
            ("returning prompts", f"{int(often.sum())} in {counted(len(whole), 'step')}"),
            ("their rollouts", f"{thousands(int(rows))} of {thousands(rollouts.groups.total)}"),
        ),
        {"prompts": float(often.sum()), "steps": float(len(whole)), "rows": float(rows)},
        causes=(
            Cause(
                "evaluation",
                "evaluation rollouts stand among those of training",
                "possible",
                "whether these prompts are in the training set",
            ),
        ),
        remedies=(Remedy("leave_out", "if so, leave them out of what is read here"),),
        cost=f"{len(whole)} of {counted(len(run.steps), 'step')}",
        series=("reward",),
    )


def _never_solved(rollouts: RolloutTable, visits: Visits) -> Finding | None:
    """Prompts that return, with no answer that ever passed."""
    if not rollouts.grouped or not (rollouts.groups.sizes > 1).any():
        return None
    low, high = rollouts.range
    if not low < high:
        return None
    failed = group_classes(rollouts)["all_fail"]
    count = np.maximum(np.bincount(visits.prompt), 1)
    never = (np.bincount(visits.prompt, weights=failed) == count) & (visits.count >= VISITS)
    seen = visits.count >= VISITS
    if not never.any():
        return None
    late = rollouts.step >= rollouts.steps[len(rollouts.steps) // 2]
    share = float(never[visits.prompt][late].mean())
    if share < WORTH:
        return None
    draws = np.bincount(visits.prompt, weights=rollouts.groups.sizes)[never]
    # a prompt that passes with probability p fails n times with (1 − p)^n: 5 % at 1 − 0.05^(1/n)
    rate = 1 - 0.05 ** (1 / float(np.median(draws)))
    return Finding(
        "never_solved",
        "warning" if share >= NEVER else "note",
        f"{int(never.sum())} prompts were never solved in {int(np.median(draws))} answers each: "
        f"{per_cent(share)} of the batch.",
        None,
        (
            (
                "never solved",
                f"{int(never.sum())} of {int(seen.sum())} prompts seen {VISITS} times",
            ),
            ("their pass rate", f"below {per_cent(rate)} (95 % limit of one of them)"),
        ),
        {"prompts": float(never.sum()), "share": share, "rate": rate},
        causes=(
            Cause("too_hard", "they are too hard", "possible", "pass@64 of a stronger model"),
            Cause(
                "wrong_answer",
                "their reference answer is wrong, or the grader refuses it",
                "possible",
                "give the grader the reference answer itself",
            ),
        ),
        remedies=(
            Remedy(
                "drop_prompts",
                f"leave these {counted(int(never.sum()), 'prompt')} out",
                f"{per_cent(share)} of the samples of a step freed",
                {"share": share},
            ),
        ),
        cost=f"{thousands(float(draws.sum()))} answers",
        series=("all_fail",),
    )
