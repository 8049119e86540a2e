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
from tod.study.processes import Failure, Tell, over_processes
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

__all__ = ["Progress", "run_study"]

Job = tuple[Arm, Path]
"""An arm and the folder that its outcome is written into."""
PRELOAD = ("tod.study.swap.arms", "tod.engine.train", "transformers.models.llama.modeling_llama")
"""What the processes of all arms import once."""


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    Attributes:
        done: Arms that are there.
        total: Arms in all.
        arm: The one that just ended; None at the start.
        seconds: Wall time of this call so far.
        failed: Why it failed; None where it did not.
        left: Seconds that the rest will take at this pace; None before the first arm.
    """

    done: int
    total: int
    arm: Arm | None
    seconds: float
    failed: str | None
    left: float | None


def run_study(
    spec: SwapSpec,
    folder: Path,
    root: Path,
    *,
    processes: int = 1,
    limit: int | None = None,
    only: Sequence[str] = (),
    progress: Callable[[Progress], None] = lambda _: None,
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
        progress: Told at the start and whenever an arm ends.

    Raises:
        RunError: Another process writes to the folder, or an outcome there is of another recipe.
        SpecError: A pattern matches no arm.
    """
    lock = DirectoryLock.acquire(folder, "study")
    try:
        arms = _matching(list(spec.arms()), only)
        return _run(spec, arms, folder, root, processes, limit, progress)
    finally:
        lock.release()


def _run(
    spec: SwapSpec,
    arms: list[Arm],
    folder: Path,
    root: Path,
    processes: int,
    limit: int | None,
    progress: Callable[[Progress], None],
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
    begin, failed = time.monotonic(), dict[str, str]()
    have = sum(outcome_path(into, arm).exists() for arm, into in jobs)
    progress(Progress(have, len(jobs), None, 0.0, None, None))
    ended = 0

    def note(job: tuple[SwapSpec, Arm, Path, Path, Path], failure: Failure | None) -> None:
        nonlocal ended
        ended += 1
        arm, error = job[1], None if failure is None else failure.said
        if failure is not None and not failure.ours:
            raise RuntimeError(f"{arm.slug}: {failure.said}\n{failure.where}")
        if error is not None:
            failed[arm.slug] = error
        seconds = time.monotonic() - begin
        left = (len(missing) - ended) * seconds / ended
        progress(Progress(have + ended - len(failed), len(jobs), arm, seconds, error, left))

    each = [(spec, arm, folder, into, root) for arm, into in missing]
    over_processes(_in_worker, each, processes, begin=one_thread, ended=note, preload=PRELOAD)
    return failed


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
