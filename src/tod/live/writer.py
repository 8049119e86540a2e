"""The rollout format, written step by step while something else trains."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tod.base import DataError
from tod.live.batch import LiveBatch
from tod.runs import Parts
from tod.runs.parts import ROLLOUTS


class RolloutWriter:
    """Writes ``PATH/part-*.parquet``, which every `tod` command reads.

    A step's rows may come in several pieces; they become one part when the next step begins, or
    at ``close``. Parts appear whole or not at all, so a run may be read while it is written.

    Args:
        path: A directory of its own, made by the first write.
        resume_at: Step that a resumed run goes on from: later rows are dropped. None refuses
            to write a step that is there already.

    Raises:
        DataError: ``path`` is a file.
    """

    def __init__(self, path: Path | str, *, resume_at: int | None = None) -> None:
        self.path = Path(path)
        if self.path.is_file():
            raise DataError(f"{self.path} is a file; rollouts go to a directory. Name another.")
        self._parts = Parts(self.path, ROLLOUTS)
        if resume_at is not None:
            self._parts.truncate_after(resume_at)
        self._last = self._written()
        self._step: int | None = None
        self._pending: list[LiveBatch] = []

    def append(self, step: int, batch: LiveBatch) -> None:
        """Add candidates of ``step``, which never goes back.

        Raises:
            DataError: The step was written before, or the batch does not fit the format.
        """
        if self._step is not None and step != self._step:
            self.flush()
        if self._last is not None and step <= self._last:
            raise DataError(
                f"step {step} comes after step {self._last}, which {self.path} holds already: "
                "what is written is never replaced. Go on from a step with resume_at=, or write "
                "to another directory."
            )
        self._step = int(step)
        self._pending.append(batch)

    def rows(
        self,
        step: int,
        *,
        group: Sequence[Hashable],
        prompt: Sequence[str],
        completion: Sequence[str],
        utility: Mapping[str, Any],
        log: Mapping[str, Sequence[Any]] | None = None,
        token_ids: Sequence[Any] | None = None,
    ) -> None:
        """`append` of a batch given row by row; see `LiveBatch.of`.

        Raises:
            DataError: As there, and as in `append`.
        """
        batch = LiveBatch.of(
            group=group,
            prompt=prompt,
            completion=completion,
            utility=utility,
            log=log,
            token_ids=token_ids,
        )
        self.append(step, batch)

    def flush(self) -> None:
        """Write the step at hand."""
        if self._step is None or not self._pending:
            return
        batch = LiveBatch.concatenate(self._pending)
        self._parts.write(self._step, batch.columns())
        self._last, self._step = self._step, None
        self._pending = []

    def close(self) -> None:
        """Write what is pending and flush everything to the device."""
        self.flush()
        self._parts.sync()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, also after an error: what was sampled was sampled."""
        self.close()

    def _written(self) -> int | None:
        """The last step on disk, from the names of the parts."""
        paths = self._parts.paths()
        return int(paths[-1].stem.split("-")[2]) if paths else None
