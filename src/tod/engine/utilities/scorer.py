"""Scoring of a batch: every utility on every candidate, in workers where the spec says so."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tod.base import SpecError, UtilityError
from tod.base.extras import require
from tod.engine.data.task import Example
from tod.engine.utilities.functions import Row, complaint, score_rows
from tod.engine.utilities.imports import load_function
from tod.engine.utilities.places import Places, combined_none, finite
from tod.engine.utilities.utility_specs import CustomUtility, TextUtility
from tod.engine.utilities.worker import UtilityFailed, Worker, WorkerDied, WorkerTimeout

Scores = dict[str, npt.NDArray[np.float64]]


class Scorer:
    """The utilities of a run, with the worker processes that some of them live in.

    Workers start at the first batch and stay until `close`; use it as a context manager.
    """

    def __init__(self, specs: Sequence[TextUtility], allow_imports: bool = False) -> None:
        """Check the specs and find every custom function before anything is sampled.

        Raises:
            SpecError: No utility, two of one name, or an import path that is not allowed, cannot
                be imported or names no function.
            MissingPackage: The library of a utility is not installed.
        """
        names = [spec.name for spec in specs]
        if not specs:
            raise SpecError("utilities: the list is empty, so nothing is optimised. Name one.")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SpecError(f"utilities: the name {twice[0]!r} is used twice. Rename one of them.")
        for spec in specs:
            if isinstance(spec, CustomUtility):
                if not allow_imports:
                    raise SpecError(
                        f"reward {spec.name!r} runs the code at {spec.target!r}, and a recipe "
                        "may not decide that by itself. Pass --allow-imports (allow_imports=True) "
                        "if you trust it."
                    )
                load_function(spec.target)
            if spec.library is not None:
                require(spec.library)
        self._specs = tuple(specs)
        self._workers: dict[str, list[Worker]] = {}

    def score(
        self,
        examples: Sequence[Example],
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]] | None = None,
    ) -> Scores:
        """Utilities of a batch, by name.

        Args:
            examples: The example of each candidate, [N]; the candidates of a context adjacent.
            completions: Text of each candidate, [N].
            completion_ids: Tokens of each candidate, for custom functions that want them.

        Returns:
            An array [N] for each utility, finite throughout. Where a custom function returns None
            (not applicable) beside other utilities that apply, its value is 0: it adds nothing
            to the tilt, as in TRL.

        Raises:
            UtilityError: A utility raised, hung, returned a wrong length, NaN, an infinity, or
                None for a candidate that no utility scores; utility, prompt, candidate named.
        """
        rows = _rows(examples, completions, completion_ids)
        places = Places([example.id for example in examples], rows)
        scores = {spec.name: self._score_one(spec, rows, places) for spec in self._specs}
        return combined_none(scores, places)

    def close(self) -> None:
        """Kill the workers; safe to repeat."""
        for worker in [worker for pool in self._workers.values() for worker in pool]:
            worker.close()
        self._workers.clear()

    def __enter__(self) -> Self:
        """The scorer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _score_one(
        self, spec: TextUtility, rows: Sequence[Row], places: Places
    ) -> list[float | None]:
        """Values of one utility, [N], checked."""
        if not rows:
            return []
        values: list[float | None] = []
        for call, outcome in self._outcomes(spec, rows, places):
            if isinstance(outcome, WorkerTimeout) and spec.on_timeout is not None:
                outcome = [spec.on_timeout] * len(call)
            if isinstance(outcome, Exception):
                raise UtilityError(places.failure(spec, call, outcome)) from outcome
            values += finite(spec.name, outcome, call, places)
        return values

    def _outcomes(
        self, spec: TextUtility, rows: Sequence[Row], places: Places
    ) -> Iterator[tuple[range, Any]]:
        """Each call, as a range of rows, with what came of it: values or an exception."""
        if spec.workers == 0:
            calls = [range(len(rows))] if isinstance(spec, CustomUtility) else _singly(rows)
            for call in calls:
                try:
                    yield call, score_rows(spec, [rows[i] for i in call])
                except Exception as error:
                    yield call, UtilityFailed(complaint(error))
            return
        whole = isinstance(spec, CustomUtility)
        calls = places.parts(spec.workers) if whole else _singly(rows)
        pool = self._workers.setdefault(spec.name, [])
        pool += [Worker() for _ in range(min(spec.workers, len(calls)) - len(pool))]
        yield from zip(calls, _in_workers(spec, rows, calls, pool), strict=True)


def score(
    specs: Sequence[TextUtility],
    examples: Sequence[Example],
    completions: Sequence[str],
    allow_imports: bool = False,
) -> Scores:
    """Score one batch and end the workers; `Scorer` keeps them for the next batch."""
    with Scorer(specs, allow_imports) as scorer:
        return scorer.score(examples, completions)


def _singly(rows: Sequence[Row]) -> list[range]:
    """One call a candidate, so that a failure has a name."""
    return [range(i, i + 1) for i in range(len(rows))]


def _in_workers(
    spec: TextUtility, rows: Sequence[Row], calls: Sequence[range], pool: list[Worker]
) -> list[Any]:
    """Outcomes of the calls, in order; a worker that hung or died is replaced in the pool.

    One thread a worker, each taking the next call when it is done with the last, until one fails.
    """
    outcomes: list[Any] = [None] * len(calls)
    waiting, lock, failed = iter(range(len(calls))), threading.Lock(), threading.Event()

    def work(slot: int) -> None:
        while not failed.is_set():
            with lock:
                number = next(waiting, None)
            if number is None:
                return
            try:
                part = [rows[i] for i in calls[number]]
                outcomes[number] = pool[slot].call(spec, part, spec.timeout_seconds)
            except (WorkerTimeout, WorkerDied) as error:
                outcomes[number] = error
                pool[slot].close()
                pool[slot] = Worker()
                if spec.on_timeout is None or isinstance(error, WorkerDied):
                    failed.set()
            except UtilityFailed as error:
                outcomes[number] = error
                failed.set()

    with ThreadPoolExecutor(len(pool)) as threads:
        list(threads.map(work, range(len(pool))))
    return [WorkerDied("not called") if o is None else o for o in outcomes]


def _rows(
    examples: Sequence[Example],
    completions: Sequence[str],
    completion_ids: Sequence[Sequence[int]] | None,
) -> list[Row]:
    """Candidates as utilities see them: completions are messages where prompts are."""
    ids = [None] * len(completions) if completion_ids is None else completion_ids
    return [
        {
            "prompt": example.prompt,
            "completion": text
            if isinstance(example.prompt, str)
            else [{"role": "assistant", "content": text}],
            "text": text,
            "columns": example.columns,
            "ids": tokens,
        }
        for example, text, tokens in zip(examples, completions, ids, strict=True)
    ]
