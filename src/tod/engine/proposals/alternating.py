"""Whole steps of the policy's draws among whole steps of the data: GKD's share λ, 2306.13649."""

from dataclasses import replace

import numpy as np

from tod.base.uniforms import row_keys, uniforms
from tod.engine.collect import BatchEvidence, collect
from tod.engine.proposals.dataset import dataset
from tod.engine.session import Session
from tod.operators import AlternatingProposal, DatasetProposal

COIN_SEED = 32_452_843
"""Added to the run's seed: whose turn a step is."""


def alternating(session: Session, step: int, spec: AlternatingProposal) -> BatchEvidence:
    """The model's draws with the log μ they were drawn with, or as many completions of the data.

    Those are a fixed set: one a prompt, of an unknown density.

    Raises:
        UtilityError: A utility failed or returned nonsense.
        DataError: A prompt does not fit, or a row has no completion.
    """
    if drawn_at(session.settings.train.seed, step, spec.on_policy):
        return collect(session, step)
    given = DatasetProposal(
        source="dataset",
        completion=spec.completion,
        prompts=spec.prompts * spec.size,
        max_new_tokens=spec.max_new_tokens,
        temperature=spec.temperature,
    )
    return replace(dataset(session, step, given), semantics="fixed")


def drawn_at(seed: int, step: int, share: float) -> bool:
    """Whether a step is the model's: a coin of probability λ that follows from (seed, step)."""
    here = np.zeros(1, dtype=np.int64)
    return bool(uniforms(row_keys(seed + COIN_SEED, step, here, here), 0)[0] < share)
