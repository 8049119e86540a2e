"""The batch of a step, whatever its proposal."""

from typing import assert_never

from tod.engine.collect import BatchEvidence, collect
from tod.engine.proposals.alternating import alternating
from tod.engine.proposals.dataset import dataset
from tod.engine.proposals.dynamic import dynamic
from tod.engine.proposals.mixture import mixture
from tod.engine.proposals.pairs import pairs
from tod.engine.proposals.pool import pool
from tod.engine.proposals.replay import replay
from tod.engine.session import Session
from tod.operators import (
    AlternatingProposal,
    DatasetProposal,
    MixtureProposal,
    PairsProposal,
    PoolProposal,
    Proposal,
    ReplayProposal,
)


def propose(session: Session, step: int) -> BatchEvidence:
    """Candidates of ``step`` with their utilities and anchors' log-probs, in every process.

    Raises:
        UtilityError: A utility failed or returned nonsense.
        DataError: A prompt does not fit, or a row lacks what the proposal reads.
    """
    spec = session.operator.proposal
    match spec:
        case Proposal():
            return collect(session, step) if spec.dynamic is None else dynamic(session, step, spec)
        case DatasetProposal():
            return dataset(session, step, spec)
        case PairsProposal():
            return pairs(session, step, spec)
        case ReplayProposal():
            return replay(session, step, spec)
        case MixtureProposal():
            return mixture(session, step, spec)
        case AlternatingProposal():
            return alternating(session, step, spec)
        case PoolProposal():
            return pool(session, step, spec)
        case _:
            assert_never(spec)
