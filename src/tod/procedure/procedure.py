"""The triple (q*, (μ, A), D), and which actions go with which targets."""

from typing import Any, Self

from jaxtyping import Float
from pydantic import model_validator

from tod.base import Array, Spec
from tod.candidates import Candidates
from tod.operators import (
    KLPull,
    Operator,
    PolicyGradient,
    Preference,
    WeightedRegression,
    WithinBudget,
)
from tod.targets import Mixture, Target, TargetSpec

__all__ = ["Procedure", "check_compatible", "log_weights"]


class Procedure(Spec):
    """A post-training or inference-control procedure. Source: TOD framework, section 1."""

    target: TargetSpec
    """q*: the intended distribution."""
    operator: Operator
    """(μ, A): how candidates are made and used."""

    def __init__(self, *positional: Any, **named: Any) -> None:
        """The triple of a target and an operator, by position or by name."""
        if len(positional) > 2:
            raise TypeError(f"a procedure takes a target and an operator, not {len(positional)}")
        super().__init__(**dict(zip(("target", "operator"), positional, strict=False)), **named)

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined] # as in `Spec`

    @model_validator(mode="after")
    def _compatible(self) -> Self:
        check_compatible(self.tilt, self.operator)
        return self

    @property
    def tilt(self) -> Target:
        """The target in its general form."""
        return self.target.target

    @property
    def anchors_needed(self) -> frozenset[str]:
        """Policies whose log-probs the action reads (diagnostics may profit from more).

        Terms that cancel symbolically are not among them.
        """
        action = self.operator.action
        if isinstance(action, PolicyGradient):
            if action.pull is None:
                return frozenset()
            if isinstance(action.pull, KLPull):
                return frozenset(pulled_names(self.tilt))
            return frozenset(self.tilt.names)
        if not action.needs_anchors:
            return frozenset()
        preferring = isinstance(action, Preference)
        return frozenset(self.tilt.names) if preferring else self.tilt.needs()


def check_compatible(target: Target, operator: Operator) -> None:
    """Refuse an action that the target gives nothing finite, or no single weight.

    Raises:
        ValueError: With the reason and the way out.
    """
    action, anchor = operator.action, target.anchor
    if isinstance(action, Preference) and target.selectivity is not None:
        raise ValueError(
            "a preference loss has one β = 1/(sη), and a selectivity has another η in every "
            "prompt. Declare eta, or use `listwise`"
        )
    budgeted = isinstance(action, WeightedRegression) and isinstance(action.weights, WithinBudget)
    if budgeted and not any(tilt.eta for tilt in target.tilts):
        raise ValueError(
            "weights kl_budget find the η of the target's rewards, and the target declares none "
            "with an eta above 0. Declare one (its size is not read), or use weights `target`"
        )
    if not isinstance(action, PolicyGradient):
        return
    if target.support:
        raise ValueError(
            f"support {list(target.support)} is a hard constraint, and a policy gradient "
            "has no finite push for a rollout outside the support. Give the constraint a "
            "finite penalty (a tilt), or use weighted_regression"
        )
    mixed = isinstance(anchor, Mixture) and len(anchor.weights) > 1
    if mixed and action.reads_tokens_of_the_anchor:
        raise ValueError(
            f"the anchor mixes {', '.join(target.names)} arithmetically, which no sum over "
            "tokens expresses, and the action pulls token by token. Use a geometric anchor, "
            "or a residual by rollout"
        )
    if target.selectivity is not None and action.weighs_by_sharpness:
        raise ValueError(
            f"advantage {action.advantage.kind!r} with a KL pull weighs the pull by 1/η, and a "
            "selectivity has another η for every prompt. Use `group_mean`, or declare eta"
        )


def log_weights(target: Target, candidates: Candidates) -> Float[Array, " N"]:
    """The weights log w = log q̃*/μ, [N], nats. See `Target.log_weights`."""
    return target.target.log_weights(candidates)


def pulled_names(target: Target) -> tuple[str, ...]:
    """Anchors that a KL pull draws to: all but π_old and μ, which the trust region minds."""
    if isinstance(target.anchor, Mixture):
        return ()
    return tuple(name for name in target.names if name not in ("old", "mu"))
