"""Running a sweep: its missing runs over processes, each going on from its last checkpoint."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tod.engine.running import Events
from tod.engine.settings import MAY_DIFFER, RunSettings, read_today
from tod.engine.train import train
from tod.runs import DirectoryLock, RunDirectory
from tod.study.executors import ExecutorTask, Failure, On, Tally, Tell, Work, carry_out
from tod.study.sweep.compare import Comparison
from tod.study.sweep.document import SweepDocument
from tod.study.sweep.ends import state_of
from tod.study.sweep.grid import PlannedRun, SweepGrid
from tod.study.sweep.plan import plan_of

__all__ = ["SweepProgress", "missing_of", "run_sweep", "step_of"]

PRELOAD = ("tod.engine.train", "transformers.models.llama.modeling_llama")
"""What the processes of all runs import once."""
FAILED = "failed"
"""Folder of what errors said in full."""


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is.

    Attributes:
        done: Runs that are there, with the share of those under way.
        total: Runs in all.
        run: Name of the one that just ended, or is tried again; None otherwise.
        failed: Why it failed; None where it did not.
        left: Seconds that the rest of this call will take; None before the first step.
        tally: What is under way in this call, and what was lost and tried again.
        lost: Why the worker of a run was lost that is tried again; None otherwise.
    """

    done: float
    total: int
    run: str | None
    failed: str | None
    left: float | None
    tally: Tally = field(default_factory=Tally)
    lost: str | None = None


@dataclass(frozen=True)
class _Job:
    """A run that is to be done, as it is sent to a process."""

    name: str
    recipe: Mapping[str, Any]
    threads: int
    allow_imports: bool


@dataclass
class _Pace:
    """Steps of the runs of this call.

    Attributes:
        total: Runs of the sweep.
        have: Those that were there before.
        steps: Steps that every run of this call has, by its name.
        first: The step that it goes on from.
        at: The step that it is at, of those that began.
        over: Whether it ended well, of those that ended.
    """

    total: int
    have: int
    steps: dict[str, int]
    first: dict[str, int]
    at: dict[str, int] = field(default_factory=dict)
    over: dict[str, bool] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float | None:
        """Seconds at the pace so far; None before the first step."""
        made = sum(self.at[name] - self.first[name] for name in self.at)
        rest = sum(
            steps - self.at.get(name, self.first[name])
            for name, steps in self.steps.items()
            if name not in self.over
        )
        return rest * (time.monotonic() - self.began) / made if made > 0 else None

    @property
    def done(self) -> float:
        """Runs that are there, with the share of those under way."""
        under_way = [self.at[name] / self.steps[name] for name in self.at if name not in self.over]
        return self.have + sum(self.over.values()) + sum(under_way)


def run_sweep(
    grid: SweepGrid,
    folder: Path,
    *,
    processes: int = 1,
    limit: int | None = None,
    threads: int = 1,
    allow_imports: bool = False,
    progress: Callable[[SweepProgress], None] = lambda _: None,
    on: On | None = None,
) -> tuple[SweepDocument, Comparison]:
    """Do the runs that are missing, and write ``sweep.json`` with how all stand; what they say.

    A finished run stays; one that was cut short goes on from its last checkpoint and ends at the
    same bits as if nothing had happened; one that failed is tried again. A run that fails does not
    stop the others. A run whose worker is lost goes on in another one, a bounded number of times.

    Args:
        grid: The runs.
        folder: Where they are written.
        processes: Runs at a time. One is done in this process.
        limit: Most runs to do in this call; None: all.
        threads: Threads of every run; a run repeats bit for bit at the same number alone.
        on: Where, with runs at a time and threads of its own; None: ``processes`` of this machine.
        allow_imports: Whether utilities may be imported from the person's own code.
        progress: Told at the start, at every step, and whenever a run ends.

    Raises:
        RunError: The folder holds another sweep, or another process writes to it.
        MissingPackage: Ray or submitit is not installed.
        KeyboardInterrupt: After Ctrl-C, when the steps under way were finished and saved.
    """
    on = On(at_once=processes, threads=threads) if on is None else on
    executor = on.executor(folder, here=True)
    lock = DirectoryLock.acquire(folder, "sweep")
    try:
        document = plan_of(grid, folder)
        document.write(folder)
        missing = missing_of(grid, folder)
        jobs = [
            _Job(run.name, run.settings(folder).plain(), on.threads, allow_imports)
            for run in missing[:limit]
        ]
        watch = _SweepWatch(document, folder, jobs, len(grid.runs) - len(missing), progress)
        try:
            carry_out(
                executor,
                Work(_in_worker, quiet, PRELOAD),
                [ExecutorTask(job.name, job) for job in jobs],
                ended=watch.ended,
                told=watch.step,
                again=watch.again,
                tally=watch.tally,
                patient=True,
            )
        finally:
            found = watch.document.compared(folder)
            document = watch.document.concluded(found)
            document.write(folder)
        return document, found
    finally:
        lock.release()


class _SweepWatch:
    """Writes down what became of every run, and tells whoever watches."""

    def __init__(
        self,
        document: SweepDocument,
        folder: Path,
        jobs: list[_Job],
        have: int,
        progress: Callable[[SweepProgress], None],
    ) -> None:
        names = {job.name for job in jobs}
        self.document = replace(
            document,
            runs=[replace(r, failed=None) if r.name in names else r for r in document.runs],
        )
        self.folder, self.progress, self.tally = folder, progress, Tally()
        self.pace = _Pace(
            len(document.runs),
            have,
            steps={job.name: int(job.recipe["train"]["steps"]) for job in jobs},
            first={job.name: step_of(folder / job.name) for job in jobs},
        )
        self._tell(None, None)

    def step(self, job: _Job, step: int) -> None:
        """A run is at this step."""
        self.pace.first[job.name] = min(self.pace.first[job.name], step)
        self.pace.at[job.name] = step
        self._tell(None, None)

    def again(self, job: _Job, why: str) -> None:
        """The worker of a run was lost, and it is tried again."""
        self._tell(job.name, None, lost=why)

    def ended(self, job: _Job, failure: Failure | None) -> None:
        """A run ended, and why it failed; None where it did not."""
        self.pace.over[job.name] = failure is None
        if failure is None:
            self._tell(job.name, None)
            return
        said = " ".join(failure.said.split())
        self.document = replace(
            self.document,
            runs=[
                replace(run, state="failed", failed=said) if run.name == job.name else run
                for run in self.document.runs
            ],
        )
        if failure.where:
            (self.folder / FAILED).mkdir(exist_ok=True)
            (self.folder / FAILED / f"{job.name}.txt").write_text(failure.where, "utf-8")
        self.document.write(self.folder)
        self._tell(job.name, said)

    def _tell(self, run: str | None, failed: str | None, lost: str | None = None) -> None:
        pace = self.pace
        made = SweepProgress(pace.done, pace.total, run, failed, pace.left, self.tally, lost)
        self.progress(made)


def quiet() -> None:
    """Train without bars of libraries in this process."""
    import transformers

    transformers.utils.logging.disable_progress_bar()


def _in_worker(job: _Job, tell: Tell) -> None:
    _run_one(job, tell)


def _run_one(job: _Job, tell: Callable[[int], None]) -> None:
    """One run, from where it stands, on the threads that it is to have."""
    import torch

    settings = RunSettings.parse(dict(job.recipe), job.name)
    before = torch.get_num_threads()
    torch.set_num_threads(job.threads)
    try:
        train(
            settings,
            resume=RunDirectory.begun(settings.directory),
            allow_imports=job.allow_imports,
            events=Events(record=lambda record: tell(record.step), resumed=tell),
        )
    finally:
        torch.set_num_threads(before)


def missing_of(grid: SweepGrid, folder: Path) -> list[PlannedRun]:
    """The runs that did not end, in their order.

    Raises:
        RunError: A run of another recipe is there.
    """
    return [run for run in grid.runs if not _done(run, folder)]


def _done(run: PlannedRun, folder: Path) -> bool:
    """Whether a run is there, whole, and of this recipe.

    Raises:
        RunError: A run of another recipe is there.
    """
    path, steps = folder / run.name, int(run.recipe["train"]["steps"])
    if not RunDirectory.begun(path):
        return False
    there = RunDirectory.open(path)
    asked, begun = run.settings(folder).plain(), read_today(there.manifest.recipe)
    there.check_recipe(asked, free=MAY_DIFFER, there=begun)
    return state_of(path, steps, list(there.steps.read())) == "done"


def step_of(path: Path) -> int:
    """The step that a run goes on from: that of its last checkpoint."""
    latest = RunDirectory.open(path).latest_checkpoint() if RunDirectory.begun(path) else None
    return 0 if latest is None else int(latest.name.removeprefix("step-"))
