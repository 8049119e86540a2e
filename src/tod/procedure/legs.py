"""The three legs of the overlap by prompt, of an action's batch, where a run keeps nothing else."""

from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import to_numpy
from tod.diagnostics.kernel import per_context
from tod.operators.batch import Batch

__all__ = ["LEGS", "legs_of"]

LEGS = ("target_proposal", "policy_proposal", "target_policy")


def legs_of(batch: Batch) -> dict[str, Float[np.ndarray, " C"]]:
    """ESS_rel of q*/μ, π/μ and q*/π by prompt, each in [0, 1]; NaN where one is not known.

    As `tod.examine` measures them, without classes, intervals and summaries.

    Args:
        batch: With log μ and log π before the update.

    Source: derived: see `tod.diagnostics.overlap`
    """
    log_mu: Any = batch.log_mu
    log_r = batch.sequences.sum(batch.log_policy) - log_mu
    columns = per_context(batch.contexts, batch.log_w, log_r=log_r)  # type: ignore[arg-type]
    columns["target_proposal"] = columns["ess"] / batch.contexts.sizes
    return {name: np.minimum(to_numpy(columns[name]), 1.0) for name in LEGS}
