"""The critic: values of the states before every token, and its own optimiser.

V is a linear map of a hidden state in float32, started at zero; the states are those of its own
network, or of the policy without gradient into it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tod.engine.costs import ForwardWork
from tod.engine.distributed import World
from tod.engine.forward.log_probs import token_states
from tod.engine.rollouts import Rollouts
from tod.operators import Critic

Values = Float[np.ndarray, " _"]


class ValueFunction:
    """V and what trains it."""

    def __init__(self, spec: Critic, policy: nn.Module, network: nn.Module | None = None) -> None:
        """A value function that says 0 everywhere.

        Args:
            spec: Its settings.
            policy: The model whose states it reads where it has no network.
            network: A copy of the policy whose states it reads, and trains.
        """
        self.spec = spec
        self.network = network
        weight = next(policy.parameters())
        width = policy.get_input_embeddings().embedding_dim  # type: ignore[operator]
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        self.head = nn.Linear(width, 1, device=weight.device, dtype=dtype)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        # in groups of their own: a network in shards and a whole head are not stepped in one call
        own: list[nn.Parameter] = []
        head: list[nn.Parameter] = []
        for name, parameter in self.named.items():
            (head if name.startswith("head.") else own).append(parameter)
        self.optimiser = torch.optim.AdamW(
            [{"params": group} for group in (head, own) if group],
            lr=spec.learning_rate,
            weight_decay=0.0,
            foreach=True,
        )

    @property
    def named(self) -> dict[str, nn.Parameter]:
        """Trained parameters by name."""
        found = {f"head.{name}": p for name, p in self.head.named_parameters()}
        if self.network is not None:
            own = self.network.named_parameters()
            found |= {f"network.{name}": p for name, p in own if p.requires_grad}
        return found

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return list(self.named.values())

    def values(self, rollouts: Rollouts, policy_states: Tensor) -> tuple[Tensor, ForwardWork]:
        """V before every token [M], and the work of its own network."""
        work = ForwardWork(0, 0, 0)
        states = policy_states.detach()
        if self.network is not None:
            states, work = token_states(self.network, rollouts)
        return self.head(states.to(self.head.weight.dtype)).squeeze(-1), work

    def step(self, world: World) -> float:
        """Add gradients over processes, clip, step; the norm before clipping.

        Raises:
            ModelError: The gradient is not finite; nothing was changed.
        """
        complaint = (
            "the critic's gradient is not finite (norm {norm}): lower "
            "`auxiliary.critic.learning_rate`, or bound the reward."
        )
        return world.step(self.optimiser, self.parameters, self.spec.max_grad_norm, complaint)


@dataclass(frozen=True)
class Returns:
    """What the critic is trained on.

    Attributes:
        value: V of every token when the batch was first used, [M].
        target: R = Â + V of every token, before any whitening, [M].
    """

    value: Values
    target: Values


def value_loss(
    value: Float[Tensor, " m"], before: Values, target: Values, tokens: int, clip: float | None
) -> Tensor:
    """½·Σ_t max((V − R)², (clip(V, V_old ± ε) − R)²)/M, M tokens of the whole step.

    Args:
        value: V of some tokens, with graph.
        before: V_old of those.
        target: R of those.
        tokens: M.
        clip: ε; None for the plain square.
    """
    old, goal = _like(before, value), _like(target, value)
    loss = (value - goal) ** 2
    if clip is not None:
        loss = torch.maximum(loss, (old + (value - old).clamp(-clip, clip) - goal) ** 2)
    return 0.5 * loss.sum() / tokens


def _like(x: Any, other: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(x), dtype=other.dtype, device=other.device)
