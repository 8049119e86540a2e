"""A fixed pool of candidates from a file in the rollout format."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from tod.base import DataError
from tod.engine.collect import Evidence, anchors_of, everywhere, scored
from tod.engine.data import Example, Task, readers
from tod.engine.proposals.given import given_rollouts, texts_as_read
from tod.engine.session import Session
from tod.operators import PoolProposal
from tod.runs import RunDirectory

_CANDIDATES = "candidates"


def pool(session: Session, step: int, spec: PoolProposal) -> Evidence:
    """Whole contexts of the file; utilities it records are taken, others are scored.

    Raises:
        DataError: The file cannot be read, or lacks a column that is needed.
    """
    if session.buffer is None:
        session.buffer = read_pool(Path(spec.path), session.settings.train.seed)
    task: Task = session.buffer

    def make(examples: list[Example], numbers: Int[np.ndarray, " c"]) -> Evidence:  # noqa: ARG001
        return _evidence(session, examples, spec)

    return everywhere(session, task.batch(step - 1, spec.prompts), make)


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
        Example(candidates[0]["prompt"], {**candidates[0], _CANDIDATES: candidates}, name)
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


def _evidence(session: Session, examples: list[Example], spec: PoolProposal) -> Evidence:
    groups = [example.columns[_CANDIDATES] for example in examples]
    texts = [[candidate["completion"] for candidate in group] for group in groups]
    flat = [candidate for group in groups for candidate in group]
    rollouts = given_rollouts(session, examples, texts)
    completions = texts_as_read(session, rollouts)
    recorded = {
        name: np.array([float(candidate[f"utility.{name}"]) for candidate in flat])
        for name in (utility.name for utility in session.settings.utilities)
        if all(candidate.get(f"utility.{name}") is not None for candidate in flat)
    }
    missing = {utility.name for utility in session.settings.utilities} - set(recorded)
    utility, judged = scored(session, examples, rollouts, completions) if missing else ({}, {})
    utility |= recorded
    anchors, work = anchors_of(session, rollouts)
    work |= judged
    found = Evidence(rollouts, tuple(examples), completions, utility, anchors, work)
    known = spec.semantics == "sampled" and all(c.get("log_mu") is not None for c in flat)
    log_mu = np.array([float(candidate["log_mu"]) for candidate in flat]) if known else None
    return replace(found, semantics=spec.semantics, log_mu=log_mu)
