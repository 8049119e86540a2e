"""The contexts of a file in the rollout format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tod.base import DataError
from tod.engine.data import readers
from tod.engine.data.task import Example, Task
from tod.runs import RunDirectory

CANDIDATES = "candidates"
"""Column of an example that holds its candidates, a row each."""


def read_pool(path: Path, seed: int) -> Task:
    """The file's contexts as examples, their candidates in a column of their own.

    Raises:
        DataError: No rows, or no ``context``, ``prompt`` or ``completion`` in one.
    """
    rows = _rows(path)
    contexts: dict[str, list[dict[str, Any]]] = {}
    for where, row in _checked(rows):
        key = f"{row['step']}/{row['context']}" if row.get("step") is not None else row["context"]
        contexts.setdefault(str(key), []).append({**row, "where": where})
    if not contexts:
        raise DataError(f"{path}: no rows, so there are no candidates. Check the path.")
    examples = [
        Example(candidates[0]["prompt"], {**candidates[0], CANDIDATES: candidates}, name)
        for name, candidates in contexts.items()
    ]
    return Task(examples, [], seed)


def _rows(path: Path) -> readers.Rows:
    """Rows of a file, or of the rollouts that a run directory holds."""
    if not path.is_dir():
        return (
            readers.jsonl(path) if path.suffix in (".jsonl", ".ndjson") else readers.parquet(path)
        )
    parts = RunDirectory.open(path).rollouts.paths()
    return (row for part in parts for row in readers.parquet(part))


def _checked(rows: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, row in rows:
        for name in ("context", "prompt", "completion"):
            if row.get(name) is None:
                raise DataError(
                    f"{where}: no {name!r}. A pool has the columns context, prompt, completion, "
                    f"utility.* and log_mu; this row has {', '.join(sorted(row))}."
                )
        yield where, row
