"""What a utility may return, and the complaint that names the prompt and the candidate."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tod.base import UtilityError
from tod.engine.utilities.functions import Row
from tod.engine.utilities.utility_specs import TextUtility
from tod.engine.utilities.worker import WorkerDied, WorkerTimeout


class Places:
    """Where each candidate of a batch stands: its context, and its number in it."""

    def __init__(self, ids: Sequence[str], rows: Sequence[Row]) -> None:
        """Adjacent candidates with one id are one context."""
        self._starts = [i for i in range(len(ids)) if i == 0 or ids[i] != ids[i - 1]]
        self._ids, self._rows = ids, rows

    def parts(self, count: int) -> list[range]:
        """At most ``count`` ranges of whole contexts, of nearly equal numbers of contexts."""
        contexts = len(self._starts)
        count = min(count, contexts)
        cuts = [self._starts[contexts * part // count] for part in range(count)]
        return [range(a, b) for a, b in zip(cuts, [*cuts[1:], len(self._ids)], strict=True)]

    def name(self, row: int) -> str:
        """``rollout 5 of 16 of prompt 3 of 32 (train/17), prompt '…', completion '…'``."""
        context = sum(start <= row for start in self._starts) - 1
        start = self._starts[context]
        end = [*self._starts, len(self._ids)][context + 1]
        return (
            f"rollout {row - start + 1} of {end - start} of prompt {context + 1} "
            f"of {len(self._starts)} ({self._ids[row]}), "
            f"prompt {_short(self._rows[row]['prompt'])}, "
            f"completion {_short(self._rows[row]['text'])}"
        )

    def names(self, call: range) -> str:
        """The candidates of a call: the one, or how many and the first."""
        first = self.name(call[0])
        return first if len(call) == 1 else f"{len(call)} rollouts, the first being {first}"

    def failure(self, spec: TextUtility, call: range, error: Exception) -> str:
        """The message for a call that came to nothing."""
        about = self.names(call)
        if isinstance(error, WorkerTimeout):
            return (
                f"reward {spec.name!r} did not answer within {spec.timeout_seconds:g} s for "
                f"{about}; its worker was killed. Raise `timeout_seconds`, or give such "
                "rollouts a value with `on_timeout`."
            )
        if isinstance(error, WorkerDied):
            return (
                f"reward {spec.name!r}: its worker process ended ({error}) while it scored "
                f"{about}. Set `workers: 0` to see the failure in the run's own process."
            )
        return (
            f"reward {spec.name!r} raised {error} — for {about}. Correct the row or the function."
        )


def finite(
    name: str, values: Sequence[float | None], call: range, places: Places
) -> list[float | None]:
    """The values of a call, one each and none of them NaN or infinite.

    Raises:
        UtilityError: Otherwise, with the candidate and what was returned.
    """
    if len(values) != len(call):
        raise UtilityError(
            f"reward {name!r} returned {len(values)} values for {len(call)} rollouts "
            f"({places.names(call)}). It must return one number per completion, in their order."
        )
    for row, value in zip(call, values, strict=True):
        if value is not None and not math.isfinite(value):
            raise UtilityError(
                f"reward {name!r} returned {value} for {places.name(row)}. A target cannot be "
                "tilted by it: return a finite number, or None where the reward does not apply."
            )
    return list(values)


def combined_none(
    scores: Mapping[str, Sequence[float | None]], places: Places
) -> dict[str, npt.NDArray[np.float64]]:
    """Scores as arrays [N], with 0 for "not applicable" where another utility applies.

    Raises:
        UtilityError: No utility applies to a candidate: its target would be the anchor by accident.
    """
    for row, values in enumerate(zip(*scores.values(), strict=True)):
        if all(value is None for value in values):
            raise UtilityError(
                f"{_listed(scores)} returned None (not applicable) for {places.name(row)}, so "
                "nothing scores it. Return a number, or add a reward that applies to such rows."
            )
    return {
        name: np.array([0.0 if value is None else value for value in values], dtype=np.float64)
        for name, values in scores.items()
    }


def _listed(scores: Mapping[str, object]) -> str:
    names = ", ".join(map(repr, scores))
    return f"reward {names}" if len(scores) == 1 else f"rewards {names}"


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
