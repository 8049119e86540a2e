"""From a ``task:`` block or a pool to examples: the split by hash, one reader for each kind."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from tod.base import DataError
from tod.engine.data import readers
from tod.engine.data.task import Example, Prompt, Task
from tod.engine.data.task_specs import (
    CountdownTask,
    DatasetsTask,
    JsonlTask,
    ParquetTask,
    ReasoningGymTask,
    SumsTask,
    TaskSpec,
)
from tod.engine.tasks import countdown, sums
from tod.engine.tasks.stream import Split
from tod.runs import RunDirectory

HELD_OUT_SEED = -1
"""The stream of held-out problems that are made on demand, whatever the seed of the run."""


def load_task(spec: TaskSpec, seed: int = 0) -> Task:
    """The examples that a ``task:`` block describes.

    A share ``held_out`` of the prompts is set apart by a hash of the prompt alone, so copies of a
    prompt are on one side, and adding rows moves none. Held-out countdown problems do not depend
    on the seed: all runs are evaluated on the same ones.

    Raises:
        DataError: No rows, a file that cannot be read (file and line named), a prompt column that
            is missing (the nearest named) or holds something else, a library not installed.
    """
    if isinstance(spec, CountdownTask | SumsTask):
        task = sums if isinstance(spec, SumsTask) else countdown
        return Task(_Problems(task, spec.split, spec.size, seed), _HeldOutProblems(task), seed)
    source, rows, apart = _rows(spec, seed)
    examples = _examples(rows, spec, source)
    if apart is not None:
        return Task(examples, _examples(apart, spec, f"{source} (held out)"), seed)
    held = [example for example in examples if _is_held_out(example.prompt, spec.held_out)]
    kept = [example for example in examples if not _is_held_out(example.prompt, spec.held_out)]
    if not kept:
        raise DataError(
            f"{source}: all of its {len(examples)} prompts fall into the held-out share of "
            f"{spec.held_out}, so none is left to train on. Set `held_out: 0`, or add rows."
        )
    return Task(kept, held, seed)


@dataclass(frozen=True)
class _Problems:
    """Problems by index: computed, not stored."""

    task: ModuleType
    split: Split
    size: int
    seed: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Example:
        drawn = self.task.problem(self.split, index, self.seed)
        return Example(drawn.prompt, drawn.columns, f"{self.split}/{index}")


@dataclass(frozen=True)
class _HeldOutProblems:
    """Different held-out problems, computed when asked for."""

    task: ModuleType

    def __getitem__(self, part: slice) -> list[Example]:
        records = self.task.prompts("held_out", part.stop, HELD_OUT_SEED)
        return [
            Example(str(record.pop("prompt")), record, f"held_out/{number}")
            for number, record in enumerate(records)
        ]


_FileOrLibrary = JsonlTask | ParquetTask | DatasetsTask | ReasoningGymTask
_Rows = Iterator[tuple[str, dict[str, Any]]]


def _rows(spec: _FileOrLibrary, seed: int) -> tuple[str, _Rows, _Rows | None]:
    """Name of the source, its rows, and the rows set apart where the spec names some."""
    if isinstance(spec, ReasoningGymTask):
        name = f"reasoning-gym {spec.name}"
        return name, readers.reasoning_gym(spec.name, spec.size, seed, spec.options), None
    if isinstance(spec, DatasetsTask):
        rows = readers.datasets(spec.name, spec.config, spec.split)
        split = spec.held_out_split
        apart = readers.datasets(spec.name, spec.config, split) if split else None
        return f"{spec.name}[{spec.split}]", rows, apart
    read: Callable[[Any], _Rows] = readers.jsonl if isinstance(spec, JsonlTask) else readers.parquet
    return str(spec.path), read(spec.path), read(spec.held_out_path) if spec.held_out_path else None


def _examples(rows: _Rows, spec: _FileOrLibrary, source: str) -> list[Example]:
    """Rows as examples; every row is looked at before the first is used."""
    column = "question" if isinstance(spec, ReasoningGymTask) else spec.prompt
    examples = []
    for where, row in rows:
        prompt = _prompt(row, column, where)
        if spec.chat and isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        columns = {name: value for name, value in row.items() if name != column}
        examples.append(Example(prompt, columns, where))
    if not examples:
        raise DataError(f"{source}: no rows, so there is nothing to train on. Check the path.")
    return examples


def _prompt(row: dict[str, Any], column: str, where: str) -> Prompt:
    """The prompt of a row, checked."""
    if column not in row:
        near = get_close_matches(column, row, n=1)
        hint = f"Did you mean `prompt: {near[0]}`? " if near else "Set `prompt:` to one of these. "
        raise DataError(f"{where}: no column {column!r}. {hint}Columns: {', '.join(sorted(row))}.")
    prompt = row[column]
    if isinstance(prompt, str) and prompt:
        return prompt
    if isinstance(prompt, list) and prompt and all(map(_is_message, prompt)):
        return prompt
    shown = repr(prompt) if len(repr(prompt)) < 80 else repr(prompt)[:77] + "..."
    raise DataError(
        f"{where}: column {column!r} holds {shown}, which is no prompt. "
        "Give text that is not empty, or a list of {'role': …, 'content': …} messages."
    )


def _is_message(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("role"), str) and "content" in item


def _is_held_out(prompt: Prompt, share: float) -> bool:
    """Whether the hash of a prompt, as a number in [0, 1), lies below ``share``."""
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True, default=str)
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") < share * 2**64


CANDIDATES = "candidates"
"""Column of an example that holds its candidates, a row each."""


def read_pool(path: Path, seed: int) -> Task:
    """The file's contexts as examples, their candidates in a column of their own.

    Raises:
        DataError: No rows, or no ``context``, ``prompt`` or ``completion`` in one.
    """
    rows = _rows_of_pool(path)
    contexts: dict[str, list[dict[str, Any]]] = {}
    for where, row in _whole_rows(rows):
        key = f"{row['step']}/{row['context']}" if row.get("step") is not None else row["context"]
        contexts.setdefault(str(key), []).append({**row, "where": where})
    if not contexts:
        raise DataError(f"{path}: no rows, so there are no rollouts. Check the path.")
    examples = [
        Example(candidates[0]["prompt"], {**candidates[0], CANDIDATES: candidates}, name)
        for name, candidates in contexts.items()
    ]
    return Task(examples, [], seed)


def _rows_of_pool(path: Path) -> readers.Rows:
    """Rows of a file, or of the rollouts that a run directory holds."""
    if not path.is_dir():
        return (
            readers.jsonl(path) if path.suffix in (".jsonl", ".ndjson") else readers.parquet(path)
        )
    parts = RunDirectory.open(path).rollouts.paths()
    return (row for part in parts for row in readers.parquet(part))


def _whole_rows(rows: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, row in rows:
        for name in ("context", "prompt", "completion"):
            if row.get(name) is None:
                raise DataError(
                    f"{where}: no {name!r}. A pool has the columns context, prompt, completion, "
                    f"utility.* and log_mu; this row has {', '.join(sorted(row))}."
                )
        yield where, row
