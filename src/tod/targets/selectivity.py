"""Selectivity: the mass that the target should put on passes, which fixes η in every context."""

from typing import Annotated, Any

from jaxtyping import Float
from pydantic import Field

from tod.base import Array, DataError, Spec, namespace, to_numpy
from tod.candidates import Candidates

__all__ = ["Selectivity"]


class Selectivity(Spec):
    """η_c = max(0, logit s − logit p_c): the least tilt that gives passes the mass s.

    p_c is the pass rate under b, estimated from the context's own candidates with the weights b/μ;
    the weights of passes then add up to exactly s. A context that passes more often than s is left
    at its anchor (η = 0), and so is one where all pass or all fail: no η moves it. The floor at 0
    is ours.

    Source: Table 1 row 5; docs/equations.md B.1 (equation selectivity)
    """

    utility: str
    """Name of the verifier's score, 1 for a pass and 0 for a failure."""
    mass: Annotated[float, Field(gt=0.0, lt=1.0)]
    """s: mass of passes under the target."""

    def etas(self, candidates: Candidates, log_base: Float[Array, " N"]) -> Float[Array, " C"]:
        """η of every context, [C], nats per unit.

        Args:
            candidates: With the utility.
            log_base: log b/μ (sampled) or log b (fixed), [N], nats.

        Raises:
            DataError: A score is neither 0 nor 1.
        """
        wanted: Any = self.wanted(candidates, log_base)
        xp = namespace(wanted)
        return xp.maximum(wanted, xp.zeros_like(wanted))  # type: ignore[no-any-return]

    def wanted(self, candidates: Candidates, log_base: Float[Array, " N"]) -> Float[Array, " C"]:
        """The gap logit s − logit p_c, [C], nats: below 0 where b passes more often than s already.

        0 where all pass or all fail. Arguments and errors as in ``etas``.
        """
        contexts, passed = candidates.contexts, candidates.utilities(self.utility)
        self._binary(passed)
        xp: Any = namespace(passed)
        share = contexts.softmax(log_base)
        passes, fails = contexts.sum(share * passed), contexts.sum(share * (1 - passed))
        mixed = (passes > 0) & (fails > 0)
        one = xp.ones_like(passes)
        log_odds = xp.log(xp.where(mixed, passes, one)) - xp.log(xp.where(mixed, fails, one))
        wanted = xp.log(one * self.mass) - xp.log(one * (1 - self.mass)) - log_odds
        return xp.where(mixed, wanted, xp.zeros_like(one))  # type: ignore[no-any-return]

    def tilt(self, candidates: Candidates, log_base: Float[Array, " N"]) -> Float[Array, " N"]:
        """η_c·U, [N], nats."""
        eta = candidates.contexts.spread(self.etas(candidates, log_base))
        return eta * candidates.utilities(self.utility)  # type: ignore[no-any-return]

    def _binary(self, passed: Any) -> None:
        other = to_numpy((passed != 0) & (passed != 1)).nonzero()[0]
        if other.size:
            row = int(other[0])
            raise DataError(
                f"reward {self.utility!r} of rollout {row} is {float(passed[row])} "
                f"({other.size} such values): a selectivity needs passes (1) and failures (0), for "
                "partial credit has no pass rate. Declare η instead."
            )
