"""One setting in which operators of one target were run, and what is known of their ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from tod.base import DataError

__all__ = ["Condition"]


@dataclass(frozen=True, eq=False)
class Condition:
    """Operators × seeds that share target, proposal, compute and random numbers.

    Attributes:
        name: What the tables call it, such as ``η 5, refresh 64``.
        cluster: World or task: what is resampled where conditions are counted, for conditions of
            one world are no independent trials.
        operators: Names of the A operators.
        seeds: The S seeds, the same for all operators.
        distance: Distance of every final policy from every other, [A, S, A, S], in [0, 1], 0 of a
            policy from itself and symmetric.
        utility: Utility of the final policies by held-out prompt, [A, S, P].
        start: Utility before training by held-out prompt, [P]; None where it was not measured.
        travel: Distance of every final policy from the one at the start, [A, S]; None where it was
            not measured.
        distances: Further distances by name, such as ``js``, each [A, S, A, S].
        diagnostics: What a diagnosis read, by name: before training, or of all steps, as the name
            says; None where it could not be read.
        facts: What was set: ``eta``, ``refresh``, ``rate`` and the like.

    Raises:
        DataError: Shapes disagree, or distances are not symmetric.
    """

    name: str
    cluster: str
    operators: tuple[str, ...]
    seeds: tuple[int, ...]
    distance: Float[np.ndarray, "A S A S"]
    utility: Float[np.ndarray, "A S P"]
    start: Float[np.ndarray, " P"] | None = None
    travel: Float[np.ndarray, "A S"] | None = None
    distances: Mapping[str, Float[np.ndarray, "A S A S"]] = field(default_factory=dict)
    diagnostics: Mapping[str, float | None] = field(default_factory=dict)
    facts: Mapping[str, float | str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        a, s = len(self.operators), len(self.seeds)
        for name, table in {"distance": self.distance, **self.distances}.items():
            if table.shape != (a, s, a, s):
                raise DataError(
                    f"{self.name}: {name} has shape {table.shape}, and {a} operators at {s} seeds "
                    f"have {(a, s, a, s)}."
                )
            if not np.allclose(table, table.transpose(2, 3, 0, 1), equal_nan=True):
                raise DataError(f"{self.name}: {name} from one policy to another is not symmetric.")
        if self.utility.shape[:2] != (a, s) or self.utility.ndim != 3:
            raise DataError(
                f"{self.name}: the utilities have shape {self.utility.shape}, and {a} operators at "
                f"{s} seeds have {(a, s)} and one for every held-out prompt."
            )
