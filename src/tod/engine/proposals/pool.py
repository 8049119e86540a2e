"""A fixed pool of candidates from a file in the rollout format."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from tod.base import DataError
from tod.engine.collect import BatchEvidence, anchors_of, decoded, everywhere, scored
from tod.engine.data.load import CANDIDATES, read_pool
from tod.engine.data.task import Example, Task
from tod.engine.proposals.dataset import given_rollouts, with_end
from tod.engine.session import Session
from tod.operators import PoolProposal

_OTHER_TOKENS = (
    "the text has other tokens now than log_mu is of (`token_ids` spell another text or are more "
    "than max_new_tokens, or `length` differs, which counts the end token)"
)
_TWICE = "the same tokens stand twice in a group, and a fixed set has distinct elements"


def pool(session: Session, step: int, spec: PoolProposal) -> BatchEvidence:
    """Whole contexts of the file; utilities it records are taken, others are scored.

    Raises:
        DataError: The file cannot be read, lacks a column that is needed, or no row can be used.
    """
    if session.buffer is None:
        read = read_pool(Path(spec.path), session.settings.train.seed)
        session.buffer = _usable(session, read, spec)
    task: Task = session.buffer

    def make(examples: list[Example], numbers: Int[np.ndarray, " c"]) -> BatchEvidence:  # noqa: ARG001
        return _evidence(session, examples, spec)

    return everywhere(session, task.batch(step - 1, spec.prompts), make)


def _usable(session: Session, read: Task, spec: PoolProposal) -> Task:
    """The contexts without rows that would break the theory, said once; none of fewer than two.

    Raises:
        DataError: None is left.
    """
    sampled = spec.semantics == "sampled"
    keep = _as_recorded if sampled else _distinct
    examples, places, dropped = [], [], 0
    for number in range(len(read)):
        example = read.examples[number]
        rows = example.columns[CANDIDATES]
        kept = keep(session, rows)
        if len(kept) == len(rows):
            examples.append(example)
            continue
        places += [row["where"] for row in rows if not any(row is other for other in kept)]
        if len(kept) >= 2:
            examples.append(replace(example, columns={**example.columns, CANDIDATES: kept}))
        else:
            dropped += 1
    if not places:
        return read
    why = _OTHER_TOKENS if sampled else _TWICE
    count = f"{len(places)} rollout{'s' if len(places) > 1 else ''}"
    said = f"{spec.path}: left out {count}, the first at {places[0]}: {why}."
    if not examples:
        raise DataError(f"{said} No group of two is left. Use the model and the limit they had.")
    if session.world.main:
        also = f" {dropped} groups with fewer than two left went with them." if dropped else ""
        warnings.warn(said + also, stacklevel=2)
    return replace(read, examples=examples)


def _as_recorded(session: Session, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose log μ, if any, is of the tokens that are read.

    A text does not tell how it was cut into tokens; their ids do, or at least their number.
    """

    def same(row: dict[str, Any]) -> bool:
        if row.get("log_mu") is None:
            return True
        ids = _read(session, row)
        if row.get("token_ids") is not None:
            return ids == tuple(row["token_ids"])
        return row.get("length") in (None, len(ids))

    return [row for row in rows if same(row)]


def _distinct(session: Session, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first row of every token sequence."""
    first: dict[tuple[int, ...], dict[str, Any]] = {}
    for row in rows:
        first.setdefault(_read(session, row), row)
    return list(first.values())


def _read(session: Session, row: dict[str, Any]) -> tuple[int, ...]:
    """Tokens of a row as `given_rollouts` reads them."""
    limit = session.operator.proposal.max_new_tokens
    return tuple(_tokens(session, row)[:limit])


def _tokens(session: Session, row: dict[str, Any]) -> list[int]:
    """The recorded ids where they spell the row's text, else the tokens of the text.

    Ids of another tokenizer spell another text.
    """
    ids = row.get("token_ids")
    if ids is not None and max(ids, default=0) < len(session.tokenizer):
        text = session.tokenizer.decode(ids, skip_special_tokens=True)
        if text == row["completion"]:
            return list(ids)
    return with_end(session, row["completion"])


def _evidence(session: Session, examples: list[Example], spec: PoolProposal) -> BatchEvidence:
    groups = [example.columns[CANDIDATES] for example in examples]
    flat = [candidate for group in groups for candidate in group]
    tokens = [[_tokens(session, candidate) for candidate in group] for group in groups]
    rollouts = given_rollouts(session, examples, tokens)
    completions = decoded(session, rollouts)
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
    found = BatchEvidence(rollouts, tuple(examples), completions, utility, anchors, work)
    known = spec.semantics == "sampled" and all(c.get("log_mu") is not None for c in flat)
    log_mu = np.array([float(candidate["log_mu"]) for candidate in flat]) if known else None
    return replace(found, semantics=spec.semantics, log_mu=log_mu)
