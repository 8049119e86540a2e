"""The operator (μ, A): a proposal and the action taken on its candidates."""

from typing import Annotated

from pydantic import Field

from tod.base import Spec
from tod.operators.listwise import Listwise
from tod.operators.policy_gradient import PolicyGradient
from tod.operators.preference import Preference
from tod.operators.proposal import Proposal
from tod.operators.weighted_regression import WeightedRegression

Action = Annotated[
    PolicyGradient | WeightedRegression | Preference | Listwise, Field(discriminator="kind")
]


class Operator(Spec):
    """The pair (μ, A). Source: TOD framework, section 4."""

    proposal: Proposal = Proposal()
    """μ: what generates candidates."""
    action: Action
    """A: what is done with them."""
