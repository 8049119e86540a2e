"""Completions of the task's rows: supervised fine-tuning and what builds on it."""

from jaxtyping import Int
from numpy import ndarray

from tod.engine.collect import Evidence, everywhere, scored_evidence
from tod.engine.data import Example
from tod.engine.proposals.given import given_rollouts, text_of, texts_as_read, with_end
from tod.engine.session import Session
from tod.operators import DatasetProposal


def dataset(session: Session, step: int, spec: DatasetProposal) -> Evidence:
    """One completion of every prompt, K = 1; log μ is unknown.

    Raises:
        DataError: A row has no completion in that column.
    """

    def make(examples: list[Example], numbers: Int[ndarray, " c"]) -> Evidence:  # noqa: ARG001
        tokens = [[with_end(session, text_of(row, spec.completion))] for row in examples]
        rollouts = given_rollouts(session, examples, tokens)
        return scored_evidence(session, examples, rollouts, texts_as_read(session, rollouts))

    return everywhere(session, session.task.batch(step - 1, spec.prompts), make)
