"""The operator (μ, A): a proposal and the action taken on its candidates."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jaxtyping import Float

from tod.base import Array, Spec, SpecError, concrete, load_all, namespace, tagged
from tod.operators.advantages import Critic
from tod.operators.batch import Batch, Credit, UpdateRule
from tod.operators.distillation import FullVocabulary
from tod.operators.policy_gradient import EntropyBonus
from tod.operators.proposals import Proposal, ProposalSpec
from tod.operators.selection import SelectionRule

__all__ = ["Auxiliary", "NoCredit", "Operator"]


class NoCredit(UpdateRule):
    """No credit on sampled tokens: the auxiliary terms alone train the policy."""

    kind: Literal["auxiliary"] = "auxiliary"

    def credit(self, batch: Batch) -> Credit:
        """Zero for every token."""
        none: Float[Array, " M"] = namespace(batch.log_policy).zeros_like(batch.log_policy)
        advantage = namespace(batch.value).zeros_like(batch.value)
        return Credit(none, None, None, advantage)


class Auxiliary(Spec):
    """Terms of the loss that no credit on sampled tokens can express; the engine computes them."""

    distillation: FullVocabulary | None = None
    """Divergence from the teacher over the vocabulary."""
    entropy: EntropyBonus | None = None
    """Entropy bonus."""
    critic: Critic | None = None
    """Value function, for advantages that need one."""

    @property
    def any_loss(self) -> bool:
        """Whether something here has a gradient in the policy."""
        return self.distillation is not None or self.entropy is not None


load_all(__package__, [str(Path(__file__).parent)], but="operator")
if TYPE_CHECKING:
    Action = UpdateRule | SelectionRule
else:
    Action = tagged(UpdateRule, SelectionRule)
"""Any action, of training or of test time, by its ``kind``."""


class Operator(Spec):
    """The pair (μ, A): how candidates are made, and what is done with them.

    Source: TOD framework, section 4
    """

    proposal: ProposalSpec = Proposal()
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
        rules = ", ".join(rule.model_fields["kind"].default for rule in concrete(UpdateRule))
        raise SpecError(
            f"action {self.action.kind!r} selects at test time and updates no parameter. Use an "
            f"update rule to train: {rules}."
        )
