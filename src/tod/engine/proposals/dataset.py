"""Completions that nothing draws: of the task's rows, as supervised fine-tuning reads them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from tod.base import DataError, Groups
from tod.engine.collect import BatchEvidence, everywhere, scored_evidence
from tod.engine.data.task import Example
from tod.engine.rollouts import Rollouts
from tod.engine.session import Session
from tod.operators import DatasetProposal


def given_rollouts(
    session: Session, examples: Sequence[Example], tokens: Sequence[Sequence[list[int]]]
) -> Rollouts:
    """Rollouts of given completions, [C] lists of token ids; their sampler is not known.

    A completion longer than ``max_new_tokens`` is cut there and counts as truncated.
    """
    limit = session.operator.proposal.max_new_tokens
    rows = [row for group in tokens for row in group]
    kept = [row[:limit] for row in rows]
    if not all(kept):
        raise DataError(
            "a given completion has no tokens and the model no end-of-sequence token: there is "
            "nothing to learn from. Remove the row."
        )
    return Rollouts(
        prompts=tuple(session.prompts(examples)),
        contexts=Groups(np.array([len(group) for group in tokens])),
        sequences=Groups(np.array([len(row) for row in kept])),
        ids=np.concatenate([np.asarray(row, np.int64) for row in kept]),
        log_mu=None,
        truncated=np.array([len(row) > limit for row in rows]),
    )


def with_end(session: Session, text: str) -> list[int]:
    """Tokens of a completion, with an end-of-sequence token where the model has one."""
    ids = session.tokenizer(text, add_special_tokens=False)["input_ids"]
    return [*ids, *session.stop_ids[:1]]


def text_of(example: Example, column: str) -> str:
    """Text of a column, or of the last message in it.

    Raises:
        DataError: The row has no such column, or something else in it.
    """
    value: Any = example.columns.get(column)
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1].get("content")
    if not isinstance(value, str):
        known = ", ".join(sorted(example.columns)) or "none"
        raise DataError(
            f"example {example.id}: column {column!r} holds {value!r:.60}, and the proposal needs "
            f"the text of a completion there. Columns: {known}."
        )
    return value


def dataset(session: Session, step: int, spec: DatasetProposal) -> BatchEvidence:
    """One completion of every prompt, K = 1; log μ is unknown.

    Raises:
        DataError: A row has no completion in that column.
    """

    def make(examples: list[Example], numbers: Int[ndarray, " c"]) -> BatchEvidence:  # noqa: ARG001
        tokens = [[with_end(session, text_of(row, spec.completion))] for row in examples]
        rollouts = given_rollouts(session, examples, tokens)
        return scored_evidence(session, examples, rollouts)

    return everywhere(session, session.task.batch(step - 1, spec.prompts), make)
