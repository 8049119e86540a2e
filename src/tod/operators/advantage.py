"""The union of advantages, and how a batch asks one of them."""

from typing import Annotated, Any

from pydantic import Field

from tod.base import Named, SpecError
from tod.operators.advantages import (
    BatchZScore,
    GroupMean,
    GroupZScore,
    LeaveOneOut,
    LeaveOneOutZScore,
    Raw,
)
from tod.operators.batch import Batch
from tod.operators.moments import Moments
from tod.operators.token_advantages import Gae, ReturnToGo

AdvantageSpec = Annotated[
    Raw
    | GroupMean
    | LeaveOneOut
    | GroupZScore
    | LeaveOneOutZScore
    | BatchZScore
    | ReturnToGo
    | Gae,
    Field(discriminator="kind"),
    Named,
]


def is_batch_wide(advantage: Any) -> bool:
    """Whether the advantage is scaled by moments of the whole optimiser step."""
    return isinstance(advantage, BatchZScore) or getattr(advantage, "whiten", None) is not None


def by_candidate(advantage: Any, value: Any, batch: Batch) -> Any:
    """Advantages [N] of values [N]."""
    if isinstance(advantage, BatchZScore):
        moments = batch.totals.moments or Moments.of(value)
        return advantage(value, batch.contexts, moments)
    return advantage(value, batch.contexts)


def by_token(advantage: ReturnToGo | Gae, rewards: Any, batch: Batch) -> Any:
    """Advantages [M] of token rewards [M], whitened if asked."""
    raw = unwhitened(advantage, rewards, batch)
    if advantage.whiten is None:
        return raw
    return advantage.whiten(raw, batch.totals.moments or Moments.of(raw))


def unwhitened(advantage: ReturnToGo | Gae, rewards: Any, batch: Batch) -> Any:
    """Advantages [M] before whitening.

    Raises:
        SpecError: There is no critic and the advantage needs one.
    """
    if isinstance(advantage, Gae):
        if batch.critic is None:
            raise SpecError(
                "advantage gae needs a critic's value of every token and there is none. Add a "
                "critic, or use `return_to_go`, which needs none."
            )
        return advantage(rewards, batch.sequences, batch.critic)
    return advantage(rewards, batch.sequences, None)
