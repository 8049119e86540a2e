"""Choices between candidates: a preference data set, or labels sampled from a known utility."""

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from tod.base.uniforms import row_keys, uniforms
from tod.engine.collect import BatchEvidence, drawn, everywhere, scored_evidence
from tod.engine.data.task import Example
from tod.engine.proposals.dataset import given_rollouts, text_of, with_end
from tod.engine.session import Session
from tod.operators import CHOICE, PairsProposal
from tod.operators.proposals import gumbel

LABEL_SEED = 104_729
"""Added to the run's seed, so that labels and tokens are drawn by different numbers."""


def pairs(session: Session, step: int, spec: PairsProposal) -> BatchEvidence:
    """Candidates with the utility ``preferred``: more of it is better.

    Raises:
        DataError: A row has no chosen or no rejected completion.
    """

    def make(examples: list[Example], numbers: Int[np.ndarray, " c"]) -> BatchEvidence:
        if spec.utility is None:
            return _columns(session, spec, examples)
        found = drawn(session, examples, numbers, step)
        contexts = found.rollouts.contexts
        keys = row_keys(
            session.settings.train.seed + LABEL_SEED,
            step,
            np.asarray(numbers)[contexts.owner],
            contexts.position,
        )
        noise = spec.noise_scale or session.settings.target.target.noise_scale
        score = found.utility[spec.utility] + noise * gumbel(uniforms(keys, 0))
        return replace(found, utility={**found.utility, CHOICE: score})

    return everywhere(session, session.task.batch(step - 1, spec.prompts), make)


def _columns(session: Session, spec: PairsProposal, examples: list[Example]) -> BatchEvidence:
    """Chosen and rejected of every row: a fixed set of two."""
    names = (spec.chosen, spec.rejected)
    tokens = [[with_end(session, text_of(row, name)) for name in names] for row in examples]
    rollouts = given_rollouts(session, examples, tokens)
    found = scored_evidence(session, examples, rollouts)
    chosen = np.tile([1.0, 0.0], len(examples))
    return replace(found, semantics="fixed", utility={**found.utility, CHOICE: chosen})
