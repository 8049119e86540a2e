"""Anchors b: geometric mixtures (exponents over names) and arithmetic ones (weights over names)."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from jaxtyping import Float
from pydantic import Discriminator, Field, FiniteFloat, Tag

from tod.base import Array, Spec, SpecError, namespace
from tod.candidates import Candidates

__all__ = ["Anchor", "Mixture", "PolicyName"]

PolicyName = Literal["mu", "old", "ref", "teacher", "policy"]
Share = Annotated[FiniteFloat, Field(gt=0.0)]


class Mixture(Spec):
    """b = Σ_j λ_j·π_j at the level of sequences: normalised if Σλ = 1, union of the supports.

    Nothing cancels against μ symbolically: every component's log-probs are needed. Mixing locally,
    token by token, is another distribution.

    Source: docs/equations.md B.4 (equation mixture-anchor)
    """

    kind: Literal["mixture"] = "mixture"
    weights: dict[PolicyName, Share] = Field(min_length=1)
    """Weight λ_j > 0 of every policy."""

    def log_prob(self, candidates: Candidates, why: str) -> Float[Array, " N"]:
        """The anchor log Σ_j λ_j π_j(y_i), [N], nats; −∞ only where every component is.

        Raises:
            MissingLogProbs: A component's log-probs were not recorded.
        """
        total: Any = None
        for name, weight in self.weights.items():
            term = candidates.log_prob(name, why) + math.log(weight)
            total = term if total is None else namespace(term).logaddexp(total, term)
        return total  # type: ignore[no-any-return]


Exponents = Annotated[dict[PolicyName, FiniteFloat], Field(min_length=1)]


def _which(value: object) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return "exponents" if kind is None else "mixture"


Anchor = Annotated[
    Annotated[Exponents, Tag("exponents")] | Annotated[Mixture, Tag("mixture")],
    Discriminator(_which),
]
"""``{ref: 1.0}``: exponents of b ∝ Π_j π_j^{ρ_j}, flat if all are 0.
``{kind: mixture, weights: …}``: Σ_j λ_j π_j."""


def at_ref() -> dict[PolicyName, float]:
    """The usual anchor, b = π_ref."""
    return {"ref": 1.0}


def names_of(anchor: dict[PolicyName, float] | Mixture) -> tuple[str, ...]:
    """Policies the anchor is made of; exponents of zero are not among them."""
    if isinstance(anchor, Mixture):
        return tuple(anchor.weights)
    return tuple(name for name, rho in anchor.items() if rho != 0.0)


def letters(anchor: dict[PolicyName, float] | Mixture) -> str:
    """The anchor in letters: ``π_old^0.75·π_ref^0.25`` or ``(0.5·π_old + 0.5·π_ref)``.

    Nothing where every exponent is 0: b is flat.
    """
    if isinstance(anchor, Mixture):
        return "(" + " + ".join(f"{w:.3g}·π_{name}" for name, w in anchor.weights.items()) + ")"
    return "·".join(
        f"π_{name}" if rho == 1.0 else f"π_{name}^{rho:.3g}"
        for name, rho in anchor.items()
        if rho != 0.0
    )


def powers(anchor: dict[PolicyName, float] | Mixture, over_mu: bool) -> dict[str, float]:
    """Exponents by name of b, or of b/μ; a mixture of one is that policy.

    Raises:
        SpecError: The anchor is a mixture of several policies, which has no exponents.
    """
    if isinstance(anchor, Mixture):
        if len(anchor.weights) > 1:
            raise SpecError(
                f"the anchor mixes {', '.join(anchor.weights)} arithmetically: a sum has no "
                "exponents. Use a geometric anchor, or an action that reads log q*/μ as a whole."
            )
        exponents = dict.fromkeys(map(str, anchor.weights), 1.0)
    else:
        exponents = {str(name): rho for name, rho in anchor.items()}
    if over_mu:
        exponents["mu"] = exponents.get("mu", 0.0) - 1.0
    return {name: rho for name, rho in exponents.items() if rho != 0.0}


def renamed(
    anchor: dict[PolicyName, float] | Mixture, same: Mapping[str, str]
) -> dict[str, Any] | Mixture:
    """The anchor with some names read as others; what cancels to nothing is dropped."""
    merged: dict[str, float] = {}
    for name, weight in (anchor.weights if isinstance(anchor, Mixture) else anchor).items():
        read_as = same.get(name, name)
        merged[read_as] = merged.get(read_as, 0.0) + weight
    if isinstance(anchor, Mixture):
        return anchor.revised(weights=merged)
    return {name: rho for name, rho in merged.items() if rho != 0.0}
