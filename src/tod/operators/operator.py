"""The operator (μ, A): a proposal and the action taken on its candidates."""

from typing import Annotated

from pydantic import Field

from tod.base import Spec, SpecError
from tod.operators.auxiliary import Auxiliary, NoCredit
from tod.operators.listwise import Listwise
from tod.operators.policy_gradient import PolicyGradient
from tod.operators.preference import Preference
from tod.operators.proposals import AnyProposal, Proposal
from tod.operators.selection_rules import AnySelectionRule
from tod.operators.weighted_regression import WeightedRegression

UpdateRule = PolicyGradient | WeightedRegression | Preference | Listwise | NoCredit
"""Actions of training: they have ``credit``."""

Action = Annotated[UpdateRule | AnySelectionRule, Field(discriminator="kind")]


class Operator(Spec):
    """The pair (μ, A). Source: TOD framework, section 4."""

    proposal: AnyProposal = Proposal()
    """μ: what generates candidates."""
    action: Action
    """A: what is done with them: an update of parameters, or a selection at test time."""
    auxiliary: Auxiliary = Auxiliary()
    """Terms of the loss that no credit expresses."""

    @property
    def update(self) -> UpdateRule:
        """The action as an update rule.

        Raises:
            SpecError: The action selects.
        """
        if isinstance(self.action, UpdateRule):
            return self.action
        raise SpecError(
            f"action {self.action.kind!r} selects at test time and updates no parameter. Use an "
            "update rule to train: policy_gradient, weighted_regression, preference, listwise, "
            "auxiliary."
        )
