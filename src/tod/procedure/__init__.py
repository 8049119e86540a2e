"""Floor 2: the triple, where the three wings meet."""

from tod.procedure.procedure import (
    Procedure,
    batch_of,
    check_compatible,
    credit,
    examine,
    log_weights,
    pool_of,
    pulled_names,
    totals_of,
    utility_value,
)

__all__ = [
    "Procedure",
    "batch_of",
    "check_compatible",
    "credit",
    "examine",
    "log_weights",
    "pool_of",
    "pulled_names",
    "totals_of",
    "utility_value",
]
