"""Running a study: arms over processes, each kept as it ends, so that it can stop and go on."""

import fnmatch
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tod.base import RunError, SpecError
from tod.runs import DirectoryLock
from tod.study.executors import Executor, ExecutorTask, Failure, On, Tally, Tell, Work, carry_out
from tod.study.swap.arms import (
    Common,
    common_of,
    outcome_path,
    repeats_of,
    run_arm,
    start_of,
    start_path,
)
from tod.study.swap.outcomes import Outcome
from tod.study.swap.spec import Arm, SwapSpec

__all__ = ["StudyProgress", "run_study"]

Job = tuple[Arm, Path]
"""An arm and the folder that its outcome is written into."""
PRELOAD = ("tod.study.swap.arms", "tod.engine.train", "transformers.models.llama.modeling_llama")
"""What the processes of all arms import once."""


@dataclass(frozen=True)
class StudyProgress:
    """How far a study is.

    Attributes:
        done: Arms that are there.
        total: Arms in all.
        arm: The one that just ended, or is tried again; None at the start.
        seconds: Wall time of this call so far.
        failed: Why it failed; None where it did not.
        left: Seconds that the rest will take at this pace; None before the first arm.
        tally: What is under way in this call, and what was lost and tried again.
        lost: Why the worker of an arm was lost that is tried again; None otherwise.
    """

    done: int
    total: int
    arm: Arm | None
    seconds: float
    failed: str | None
    left: float | None
    tally: Tally
    lost: str | None = None


def run_study(
    spec: SwapSpec,
    folder: Path,
    root: Path,
    *,
    processes: int = 1,
    limit: int | None = None,
    only: Sequence[str] = (),
    progress: Callable[[StudyProgress], None] = lambda _: None,
    on: On | None = None,
) -> dict[str, str]:
    """Run the arms that are not there yet; why those that failed did, by arm.

    The first arm of every task is run twice, to see that it ends at the same bits.

    Every arm is written whole as it ends. Whatever stops the study, the next call goes on with
    what is missing, on this machine or another to which the folder was copied.

    Args:
        spec: The study.
        folder: Where it is written.
        root: Folder that paths of models are relative to: that of the study's file.
        processes: Arms at a time, one core each.
        limit: Most arms to run in this call; None: all.
        only: Patterns of ``task, condition, operator``, such as ``sums, η 5*``: run what matches
            one of them alone; none: all.
        progress: Told at the start, whenever an arm ends, and where one is tried again.
        on: Where, with arms at a time of its own; None: ``processes`` of this machine.

    Raises:
        RunError: Another process writes to the folder, or an outcome there is of another recipe.
        SpecError: A pattern matches no arm.
    """
    executor = (On(at_once=processes) if on is None else on).executor(folder)
    lock = DirectoryLock.acquire(folder, "study")
    try:
        arms = _matching(list(spec.arms()), only)
        return _run(spec, arms, folder, root, executor, limit, progress)
    finally:
        lock.release()


def _run(
    spec: SwapSpec,
    arms: list[Arm],
    folder: Path,
    root: Path,
    executor: Executor,
    limit: int | None,
    progress: Callable[[StudyProgress], None],
) -> dict[str, str]:
    _check(arms, folder)
    jobs = _jobs(arms, folder)
    for place in (folder, repeats_of(folder)):  # of runs that were stopped
        shutil.rmtree(place / "unfinished", ignore_errors=True)
    (folder / "arms").mkdir(parents=True, exist_ok=True)
    missing = [(arm, into) for arm, into in jobs if not outcome_path(into, arm).exists()][:limit]
    commons = {
        task: common_of(spec, task, folder, root)
        for task in dict.fromkeys(arm.task for arm, _ in missing)
    }
    for arm in {start_path(folder, arm): arm for arm, _ in missing}.values():
        start_of(arm, commons[arm.task], folder, root)
    watch = _StudyWatch(jobs, len(missing), progress)
    carry_out(
        executor,
        Work(_in_worker, one_thread, PRELOAD),
        [
            ExecutorTask(_named(arm, into, folder), (spec, arm, folder, into, root))
            for arm, into in missing
        ],
        ended=watch.ended,
        again=watch.again,
        tally=watch.tally,
    )
    return watch.tally.failed


def _named(arm: Arm, into: Path, folder: Path) -> str:
    """What the task of an arm is called: its slug, and that it is the second time."""
    return arm.slug if into == folder else f"{arm.slug} (repeat)"


class _StudyWatch:
    """Tells whoever watches what became of every arm.

    Attributes:
        tally: What becomes of the arms of this call.
    """

    def __init__(
        self, jobs: Sequence[Job], missing: int, progress: Callable[[StudyProgress], None]
    ) -> None:
        self.tally, self.progress = Tally(), progress
        self._begin, self._missing, self._total = time.monotonic(), missing, len(jobs)
        self._have = sum(outcome_path(into, arm).exists() for arm, into in jobs)
        self._tell(None)

    def again(self, job: tuple[SwapSpec, Arm, Path, Path, Path], why: str) -> None:
        """The worker of an arm was lost, and it is tried again."""
        self._tell(job[1], lost=why)

    def ended(self, job: tuple[SwapSpec, Arm, Path, Path, Path], failure: Failure | None) -> None:
        """An arm ended.

        Raises:
            RuntimeError: By an error that this package does not raise on purpose.
        """
        if failure is not None and failure.where and not failure.ours:
            raise RuntimeError(f"{job[1].slug}: {failure.said}\n{failure.where}")
        self._tell(job[1], failed=None if failure is None else failure.said)

    def _tell(self, arm: Arm | None, failed: str | None = None, lost: str | None = None) -> None:
        tally, seconds = self.tally, time.monotonic() - self._begin
        ended = tally.finished + len(tally.failed)
        left = (self._missing - ended) * seconds / ended if ended else None
        done = self._have + tally.finished
        self.progress(StudyProgress(done, self._total, arm, seconds, failed, left, tally, lost))


def _matching(arms: list[Arm], patterns: Sequence[str]) -> list[Arm]:
    """The arms that one of the patterns matches; all where there is none.

    Raises:
        SpecError: A pattern matches none.
    """
    names = [f"{arm.task}, {arm.condition}, {arm.operator}" for arm in arms]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise SpecError(
                f"{pattern!r} matches no run of the study. A run is called like {names[0]!r}; * "
                "stands for any text."
            )
    return [
        arm
        for arm, name in zip(arms, names, strict=True)
        if not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ]


def _jobs(arms: list[Arm], folder: Path) -> list[Job]:
    """Every arm, and after the first of each task the same again into another folder."""
    jobs: list[Job] = []
    repeated = set[str]()
    for arm in arms:
        jobs.append((arm, folder))
        if arm.task not in repeated:
            jobs.append((arm, repeats_of(folder)))
            repeated.add(arm.task)
    return jobs


def _check(arms: list[Arm], folder: Path) -> None:
    """Refuse a folder whose outcomes are of another study.

    Raises:
        RunError: An outcome there is of another recipe, or two arms have one name.
    """
    if len({arm.slug for arm in arms}) < len(arms):
        raise RunError(
            "two arms of the study have one file name: names of conditions and operators differ "
            "in signs alone. Rename one."
        )
    for arm in arms:
        path = outcome_path(folder, arm)
        if path.exists() and Outcome.load(path).facts["recipe"] != arm.hashed:
            raise RunError(
                f"{path}: of another recipe than the study now says for {arm.slug}. Write the "
                "new study into another folder, or remove the outcome and it runs again."
            )


def one_thread() -> None:
    """Make a fresh process ready to train: one thread, no bars of libraries."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)


def _in_worker(job: tuple[SwapSpec, Arm, Path, Path, Path], _tell: Tell) -> None:
    spec, arm, folder, into, root = job
    run_arm(arm, _common(spec.model_dump_json(), arm.task, folder, root), into, root)


@lru_cache(maxsize=8)
def _common(spec: str, task: str, folder: Path, root: Path) -> Common:
    """What a task's arms are compared on, read once a process."""
    return common_of(SwapSpec.model_validate_json(spec), task, folder, root)
