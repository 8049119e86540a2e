"""Floor 2: the triple, where the three wings meet."""

from tod.procedure.procedure import (
    Procedure,
    batch_of,
    credit,
    examine,
    log_weights,
    pulled_names,
    utility_value,
)

__all__ = [
    "Procedure",
    "batch_of",
    "credit",
    "examine",
    "log_weights",
    "pulled_names",
    "utility_value",
]
