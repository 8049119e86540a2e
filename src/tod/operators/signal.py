"""The signal: what an advantage is made of, by candidate [N] or by token [M]."""

from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Array, DataError, Groups, SpecError, constant_like, namespace, to_numpy
from tod.operators.batch import Batch
from tod.operators.pulls import KLPull, Residual


def value_of(advantage: Any, pull: Residual | KLPull | None, batch: Batch) -> Float[Array, " N"]:
    """Residual (nats), or utility or tilt, less a penalty in the reward; finite.

    Raises:
        DataError: A candidate is outside the target's support.
    """
    if isinstance(pull, Residual):
        return finite(pull.value(batch), batch)
    value = _bare(advantage, pull, batch)
    if isinstance(pull, KLPull) and pull.place == "reward":
        value = value - unit_of(advantage, batch) * pull.penalty(batch)
    return finite(value, batch)


def rewards_of(advantage: Any, pull: Residual | KLPull | None, batch: Batch) -> Float[Array, " M"]:
    """Token rewards: the candidate's value on its last token, the pull on every token.

    Raises:
        DataError: A candidate is outside the target's support.
    """
    value = advantage.baseline(finite(_bare(advantage, pull, batch), batch), batch.contexts)
    rewards = on_last(value, batch.sequences)
    if isinstance(pull, Residual):
        return rewards + pull.by_token(batch)  # type: ignore[no-any-return]
    if isinstance(pull, KLPull) and pull.place == "reward":
        return rewards - unit_of(advantage, batch) * pull.by_token(batch)  # type: ignore[no-any-return]
    return rewards


def on_last(value: Float[Array, " N"], sequences: Groups) -> Float[Array, " M"]:
    """[N] to [M]: the value on the last token of its sequence, 0 elsewhere."""
    spread = sequences.spread(value)
    last = sequences.position == np.repeat(sequences.sizes, sequences.sizes) - 1
    xp = namespace(spread)
    return xp.where(constant_like(last, spread), spread, xp.zeros_like(spread))  # type: ignore[no-any-return]


def unit_of(advantage: Any, batch: Batch) -> float:
    """One nat in the units of the advantage's value: 1, or 1/η when that is the utility.

    Raises:
        SpecError: η is 0, or another one in every context.
    """
    if not advantage.scale_free:
        return 1.0
    if not batch.sharpness:
        have = "η = 0" if batch.sharpness == 0.0 else "another η in every context"
        raise SpecError(
            f"advantage {advantage.kind!r} with a KL pull weighs the pull by 1/η and the "
            f"target has {have}: there is no such weight. Use `group_mean`."
        )
    return 1.0 / batch.sharpness


def finite(value: Float[Array, " N"], batch: Batch) -> Float[Array, " N"]:
    """The value, refused where it is not finite: no baseline can hold it.

    Raises:
        DataError: Naming the candidate.
    """
    xp = namespace(value)
    bad = ~xp.isfinite(value)
    if bool(xp.any(bad)):
        rows = np.flatnonzero(to_numpy(bad))
        context = int(batch.contexts.owner[rows[0]])
        raise DataError(
            f"the value of candidate {int(rows[0] - batch.contexts.offsets[context])} of context "
            f"{context} of {len(batch.contexts)} is {float(value[int(rows[0])])} ({rows.size} such "
            "values): a policy gradient has no finite push for a candidate outside the support. "
            "Give the constraint a finite penalty (a tilt), or use `weighted_regression`."
        )
    return value


def _bare(advantage: Any, pull: Any, batch: Batch) -> Any:
    in_nats = isinstance(pull, Residual) or not advantage.scale_free
    return batch.tilt if in_nats else batch.value
