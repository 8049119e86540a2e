"""Running a study: arms over processes, each kept as it ends, so that it can stop and go on."""

import multiprocessing
import shutil
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from tod.base import RunError, TodError
from tod.runs import DirectoryLock
from tod.study.swap.arms import (
    Common,
    common_of,
    outcome_path,
    run_arm,
    start_of,
    start_path,
)
from tod.study.swap.outcomes import Outcome
from tod.study.swap.spec import Arm, SwapSpec

__all__ = ["Progress", "outcomes_of", "run_study"]


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
    progress: Callable[[Progress], None] = lambda _: None,
) -> dict[str, str]:
    """Run the arms that are not there yet; why those that failed did, by arm.

    Every arm is written whole as it ends. Whatever stops the study, the next call goes on with
    what is missing, on this machine or another to which the folder was copied.

    Args:
        spec: The study.
        folder: Where it is written.
        root: Folder that paths of models are relative to: that of the study's file.
        processes: Arms at a time, one core each.
        limit: Most arms to run in this call; None: all.
        progress: Told at the start and whenever an arm ends.

    Raises:
        RunError: Another process writes to the folder, or an outcome there is of another recipe.
    """
    lock = DirectoryLock.acquire(folder, "study")
    try:
        return _run(spec, folder, root, processes, limit, progress)
    finally:
        lock.release()


def _run(
    spec: SwapSpec,
    folder: Path,
    root: Path,
    processes: int,
    limit: int | None,
    progress: Callable[[Progress], None],
) -> dict[str, str]:
    arms = list(spec.arms())
    _check(arms, folder)
    shutil.rmtree(folder / "unfinished", ignore_errors=True)  # of runs that were stopped
    (folder / "arms").mkdir(parents=True, exist_ok=True)
    missing = [arm for arm in arms if not outcome_path(folder, arm).exists()][:limit]
    commons = {
        task: common_of(spec, task, folder, root)
        for task in dict.fromkeys(arm.task for arm in missing)
    }
    for arm in {start_path(folder, arm): arm for arm in missing}.values():
        start_of(arm, commons[arm.task], folder, root)
    begin, failed = time.monotonic(), dict[str, str]()
    have = sum(outcome_path(folder, arm).exists() for arm in arms)
    progress(Progress(have, len(arms), None, 0.0, None, None))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_one_thread) as pool:
        waiting = iter(missing)
        running: dict[Future[None], Arm] = {}
        ended = 0
        try:
            while True:
                for arm in islice(waiting, processes - len(running)):
                    running[pool.submit(_in_worker, spec, arm, folder, root)] = arm
                if not running:
                    return failed
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    arm, ended = running.pop(future), ended + 1
                    error = _failure(future)
                    if error is not None:
                        failed[arm.slug] = error
                    seconds = time.monotonic() - begin
                    left = (len(missing) - ended) * seconds / ended
                    count = have + ended - len(failed)
                    progress(Progress(count, len(arms), arm, seconds, error, left))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _failure(future: Future[None]) -> str | None:
    """Why an arm failed; None where it did not. What is no error of ours is raised."""
    error = future.exception()
    if error is None:
        return None
    if isinstance(error, TodError):
        return str(error)
    raise error


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


def _one_thread() -> None:
    import signal

    import torch
    import transformers

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)


def _in_worker(spec: SwapSpec, arm: Arm, folder: Path, root: Path) -> None:
    run_arm(arm, _common(spec.model_dump_json(), arm.task, folder, root), folder, root)


@lru_cache(maxsize=8)
def _common(spec: str, task: str, folder: Path, root: Path) -> Common:
    """What a task's arms are compared on, read once a process."""
    return common_of(SwapSpec.model_validate_json(spec), task, folder, root)


def outcomes_of(spec: SwapSpec, folder: Path) -> dict[str, Outcome]:
    """The outcomes that are there, by arm."""
    return {
        arm.slug: Outcome.load(outcome_path(folder, arm))
        for arm in spec.arms()
        if outcome_path(folder, arm).exists()
    }
