"""Listwise losses: the policy's softmax over a context's candidates is fitted to the target's."""

from typing import Any, Literal

from tod.base import DataError, namespace
from tod.operators.batch import Batch, Credit, UpdateRule
from tod.operators.weighted_regression import TargetWeights, normalised

__all__ = ["Listwise"]


class Listwise(UpdateRule):
    """q = softmax(log q̃*/μ), p = softmax(log π_θ/μ): −Σ q log p, or KL(p‖q); a mean over contexts.

    Credit is −∂L/∂s_i = q_i − p_i (forward) or −p_i(log p_i − log q_i − L) (reverse). On a fixed
    set the reference is uniform in place of μ. Zero exactly where log π_θ − log b − Σηu is constant
    over the candidates; mass off them is not constrained. Forward is centred weighted regression.
    At K = 2 it is the pair loss with the soft label σ(η(U₁ − U₂)), whose optimum is finite.
    β is 1 so that η keeps one meaning.

    Source: docs/equations.md A.5; InfoNCA, 2402.05369; EXO, 2402.00856
    (equations listwise-forward, listwise-reverse)
    """

    kind: Literal["listwise"] = "listwise"
    divergence: Literal["forward", "reverse"] = "forward"
    """Cross-entropy of the target's weights, or KL from the policy's to them."""

    @property
    def needs_anchors(self) -> bool:
        """Whether credit reads anchor log-probs at all."""
        return True

    def credit(self, batch: Batch) -> Credit:
        """Credit of every token. See the class for the equation."""
        q, p = TargetWeights()(batch), self.policy_weights(batch)
        xp: Any = namespace(q)
        known = batch.contexts.spread(batch.contexts.sum(q)) > 0
        if self.divergence == "forward":
            credit: Any = q - p
        else:
            gap = self._gap(batch, known)
            loss = batch.contexts.spread(batch.contexts.sum(p * gap))
            credit = -p * (gap - loss)
        credit = xp.where(known, credit, xp.zeros_like(credit))
        return Credit(batch.sequences.spread(credit / batch.totals.contexts), None, None, credit)

    def policy_weights(self, batch: Batch) -> Any:
        """The softmax p of log π_θ − log μ within the context, [N]."""
        return normalised(self._scores(batch), batch)

    def _scores(self, batch: Batch) -> Any:
        log_mu = batch.required(
            "log_mu",
            "a listwise loss needs log μ of every rollout and it was not recorded. Record it, or "
            "declare the rollouts a fixed set.",
        )
        return batch.sequences.sum(batch.log_policy) - log_mu

    def _gap(self, batch: Batch, known: Any) -> Any:
        """The gap log p − log q, [N], nats; 0 in contexts entirely outside the support.

        Raises:
            DataError: A candidate is outside the support of the target: KL(p‖q) is infinite.
        """
        log_w: Any = batch.log_w
        xp, contexts, scores = namespace(log_w), batch.contexts, self._scores(batch)
        outside = known & (log_w == -float("inf"))
        if bool(xp.any(outside)):
            raise DataError(
                "a rollout is outside the target's support and the reverse KL to its weights is "
                "infinite. Use `divergence: forward`, or a finite penalty."
            )
        log_w = xp.where(known, log_w, xp.zeros_like(log_w))
        log_p = scores - contexts.spread(contexts.logsumexp(scores))
        return log_p - log_w + contexts.spread(contexts.logsumexp(log_w))
