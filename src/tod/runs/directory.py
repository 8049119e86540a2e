"""A run on disk: manifest, records, tables, checkpoints."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from tod.base import RunError
from tod.runs.atomic import explained, remove, remove_directory, sweep
from tod.runs.checkpoints import (
    checkpoint_steps,
    damaged_checkpoints,
    latest_checkpoint,
    new_checkpoint,
    prune_checkpoints,
)
from tod.runs.json_lines import JsonLines
from tod.runs.lock import NAME as LOCK
from tod.runs.lock import DirectoryLock, LockHolder, writer_of
from tod.runs.manifest import Manifest, differences
from tod.runs.records import StepRecord, validated
from tod.runs.table_parts import CONTEXTS, ROLLOUTS, Parts

__all__ = ["RunDirectory"]

MANIFEST = "manifest.json"
PURPOSE = "run"
_TABLES = (
    "steps.jsonl",
    "decisions.jsonl",
    "mismatches.jsonl",
    "contexts",
    "rollouts",
    "checkpoints",
)
_SERVED = ("adapters", "adapters.txt")
_MADE = frozenset(
    {*_TABLES, *_SERVED, "arc.jsonl", "model", "report.html", "search.json", "tensorboard"}
)
"""What a run makes beside its manifest."""


class RunDirectory:
    """``runs/NAME/``: one process writes it, anyone reads it, also while it is written.

    Attributes:
        lock: Held by ``claim``; without it, whoever made the object keeps others away.
        steps: ``steps.jsonl``, one record a step.
        decisions: ``decisions.jsonl``, the controller's.
        mismatches: ``mismatches.jsonl``, servers that drew from other weights than they were sent.
        contexts: Per-context diagnostics.
        rollouts: Candidates with their log-probs and utilities.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        part_steps: int = 1,
        lock: DirectoryLock | None = None,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.lock = lock
        self.steps = JsonLines(path / "steps.jsonl")
        self.decisions = JsonLines(path / "decisions.jsonl")
        self.mismatches = JsonLines(path / "mismatches.jsonl")
        self.contexts = Parts(path / "contexts", CONTEXTS, part_steps)
        self.rollouts = Parts(path / "rollouts", ROLLOUTS, part_steps)
        self.checkpoints = path / "checkpoints"
        self.report = path / "report.html"

    @staticmethod
    def claim(path: Path | str, *, resume: bool = False, overwrite: bool = False) -> DirectoryLock:
        """The lock of ``path``, to be taken before long preparations and held until the run ends.

        A run that was killed before its manifest was written counts as not begun: its place is
        free for a new run, and resuming it starts from the beginning.

        Args:
            path: The run's directory, which is made where it is not there.
            resume: Whether a run that is there is to go on.
            overwrite: Whether a run that is there may be replaced.

        Raises:
            RunError: Another process writes there, or the place cannot be used as asked; nothing
                in it was touched.
        """
        path = Path(path)
        _check_place(path, resume or overwrite, writer_of(path))
        lock = DirectoryLock.acquire(path, PURPOSE)
        try:
            _check_place(path, resume or overwrite, lock.earlier)
        except BaseException:
            lock.release()
            raise
        return lock

    @staticmethod
    def begun(path: Path | str) -> bool:
        """Whether a run that can be resumed is there: one that has its manifest."""
        return (Path(path) / MANIFEST).exists()

    @classmethod
    def create(
        cls,
        path: Path | str,
        manifest: Manifest,
        overwrite: bool = False,
        part_steps: int = 1,
        lock: DirectoryLock | None = None,
    ) -> Self:
        """A new run at ``path``.

        Args:
            path: Its directory; parents are made.
            manifest: What the run is.
            overwrite: Remove a run that is there. Anything else there is never removed.
            part_steps: Steps gathered in one Parquet part.
            lock: From ``claim``.

        Raises:
            RunError: Something is there already, or the place cannot be written.
        """
        path = Path(path)
        _check_place(path, overwrite, writer_of(path) if lock is None else lock.earlier)
        try:
            _clear(path)
            path.mkdir(parents=True, exist_ok=True)
            with explained(str(path / MANIFEST), lambda: "nothing yet"):
                manifest.write(path / MANIFEST)
        except OSError as error:
            raise RunError(
                f"{path} cannot be made ({error.strerror or error}). Choose another `output`."
            ) from error
        return cls(path, manifest, part_steps, lock)

    @classmethod
    def open(cls, path: Path | str, part_steps: int = 1, lock: DirectoryLock | None = None) -> Self:
        """The run at ``path``; with its lock where it is to be written.

        Raises:
            RunError: It is not a run, is damaged, or is of another schema.
        """
        path = Path(path)
        if not path.exists():
            raise RunError(f"{path}: no such run. Check the path, or list `runs/`.")
        return cls(path, Manifest.read(path / MANIFEST), part_steps, lock)

    def record(self, record: StepRecord | Mapping[str, Any]) -> None:
        """Append one step's record.

        Raises:
            DataError: It is not a record.
            RunError: The disk is full, or another process took the directory over; all earlier
                records are whole.
        """
        if self.lock is not None:
            self.lock.check()
        data = record.to_dict() if isinstance(record, StepRecord) else record
        with self._explained("steps.jsonl"):
            self.steps.append(validated(data))

    def decide(self, decision: Mapping[str, Any]) -> None:
        """Append one decision of the controller."""
        with self._explained("decisions.jsonl"):
            self.decisions.append(validated(decision))

    def mismatch(self, found: Mapping[str, Any]) -> None:
        """Append what was seen of a server that draws from other weights than it was sent."""
        with self._explained("mismatches.jsonl"):
            self.mismatches.append(validated(found))

    def write_contexts(self, step: int, columns: Mapping[str, Any]) -> None:
        """Add one step's per-context diagnostics; columns as in ``Parts.write``."""
        with self._explained("contexts"):
            self.contexts.write(step, columns)

    def write_rollouts(self, step: int, columns: Mapping[str, Any]) -> None:
        """Add one step's candidates; columns as in ``Parts.write``."""
        with self._explained("rollouts"):
            self.rollouts.write(step, columns)

    def discard_pending(self) -> None:
        """Forget rows that could not be written, for a writer that must go on without them."""
        self.contexts.discard_pending()
        self.rollouts.discard_pending()

    def sync(self) -> None:
        """Write what is pending and flush everything to the device; call it when the run ends."""
        with self._explained("records"):
            self.contexts.sync()
            self.rollouts.sync()
            self.steps.sync()
            self.decisions.sync()
            self.mismatches.sync()

    @contextmanager
    def checkpoint(self, step: int, keep: int | None = None) -> Iterator[Path]:
        """A directory to fill, which becomes the checkpoint of ``step``; then prune to ``keep``.

        All records are flushed first: a checkpoint never outlives the records before it.
        """
        self.sync()
        with self._explained(f"checkpoint step-{step}"):
            with new_checkpoint(self.checkpoints, step) as path:
                yield path
            if keep is not None:
                prune_checkpoints(self.checkpoints, keep)

    def latest_checkpoint(self) -> Path | None:
        """The newest whole checkpoint; None when there is none."""
        return latest_checkpoint(self.checkpoints)

    def check_checkpoints(self) -> str | None:
        """What is wrong with a checkpoint that is newer than the newest whole one; None: nothing.

        Raises:
            RunError: No checkpoint is whole, and one was: going on would begin anew over the
                records of what was done.
        """
        path = self.latest_checkpoint()
        latest = None if path is None else int(path.name.removeprefix("step-"))
        wrong = damaged_checkpoints(self.checkpoints)
        newer = {step: why for step, why in wrong.items() if latest is None or step > latest}
        if not newer:
            return None
        why = newer[max(newer)]
        if latest is None:
            raise RunError(
                f"{why}. No checkpoint of {self.path} is whole, so going on would begin at step 0 "
                "and write over its records. Restore the file, or remove "
                f"{self.checkpoints} to begin anew."
            )
        return f"{why}: going on from the checkpoint before it, step {latest}"

    def resume_at(self, step: int, keep: int | None = None) -> None:
        """Forget everything beyond ``step``, so that going on from it leaves no trace of a stop.

        Args:
            step: The last step that stays.
            keep: Checkpoints that stay; None: all. A stop between a checkpoint and its pruning left
                one more.
        """
        self.steps.truncate_after(step)
        self.decisions.truncate_after(step)
        self.mismatches.truncate_after(step)
        self.contexts.truncate_after(step)
        self.rollouts.truncate_after(step)
        sweep(self.path)
        if self.checkpoints.exists():
            sweep(self.checkpoints)
            for later in checkpoint_steps(self.checkpoints):
                if later > step:
                    remove_directory(self.checkpoints / f"step-{later}")
            if keep is not None:
                prune_checkpoints(self.checkpoints, keep)

    def check_recipe(
        self,
        recipe: Mapping[str, Any],
        free: tuple[str, ...] = (),
        there: Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse to continue this run with another recipe.

        Args:
            recipe: The resolved recipe that is to continue it.
            free: Dotted paths that may differ, such as ``train.steps``.
            there: The manifest's recipe with the settings that versions since have added; the
                manifest's own by default.

        Raises:
            RunError: They differ elsewhere; each path with both values.
        """
        begun = self.manifest.recipe if there is None else there
        found = [d for d in differences(begun, recipe) if not _covers(free, d[0])]
        if found:
            lines = "; ".join(f"{path}: {old!r} there, {new!r} asked" for path, old, new in found)
            raise RunError(
                f"{self.path} was started with another recipe ({lines}). Its checkpoints belong to "
                "that one: resume with it unchanged, or give this recipe another `output`."
            )

    def lengthen(self, steps: int) -> None:
        """Let the manifest say that the run has so many steps; the rest of it stays."""
        train = {**self.manifest.recipe["train"], "steps": steps}
        self.manifest = replace(self.manifest, recipe={**self.manifest.recipe, "train": train})
        with self._explained(MANIFEST):
            self.manifest.write(self.path / MANIFEST)

    def _kept(self) -> str:
        """What of the run is safe."""
        last = max((int(record["step"]) for record in self.steps.read()), default=None)
        steps = "no step" if last is None else f"records up to step {last}"
        checkpoint = self.latest_checkpoint()
        return (
            f"{steps}, {'no checkpoint' if checkpoint is None else f'checkpoint {checkpoint.name}'}"
        )

    def _explained(self, what: str) -> AbstractContextManager[None]:
        return explained(str(self.path / what), self._kept)


def _covers(free: tuple[str, ...], path: str) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in free)


def _check_place(path: Path, replaceable: bool, writer: LockHolder | None) -> None:
    """Refuse a place that holds something else than the beginning of a run.

    Args:
        path: The place.
        replaceable: Whether a run that is there may go on or be replaced.
        writer: Who held the lock and is dead.

    Raises:
        RunError: What is there, and the way out.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise RunError(f"{path} is a file; a run is a directory. Choose another `output`.")
    if RunDirectory.begun(path):
        if replaceable:
            return
        raise RunError(
            f"{path} already holds a run; it is never written over silently. Continue it with "
            "`--resume`, replace it with `--overwrite`, or name another place with `output=...`."
        )
    others = {item.name for item in path.iterdir() if not _passing(item.name)}
    unfinished = writer is not None and writer.purpose == PURPOSE
    if others - (_MADE if unfinished else set()):
        raise RunError(
            f"{path} is not empty and is not a run, so nothing in it is touched. "
            "Name another place with `output=...`."
        )


def _passing(name: str) -> bool:
    """Whether it is a lock or what an interrupted write left."""
    return name == LOCK or (name.startswith(".") and name.endswith(".tmp"))


def _clear(path: Path) -> None:
    """Remove a run, its manifest first, so that no part of it is taken for a whole one."""
    if not path.exists():
        return
    rest = [item for item in path.iterdir() if item.name not in (LOCK, MANIFEST)]
    for item in [path / MANIFEST, *rest]:
        remove(item)
