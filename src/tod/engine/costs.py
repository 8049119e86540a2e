"""What forwards and backwards cost: tokens and floating-point operations.

"Matched compute" is a comparison of two ledgers. Every matrix product of [m, k] by [k, n] counts
2·m·k·n; element-wise work is not counted. For one forward over ``ForwardWork`` (T positions through
the layers, Q query–key pairs, S positions with logits)

    forward  = 2·P·T + 4·A·Q + 2·d·V·S
    backward = 2·P·T + 2·P'·T + 8·A·Q + 2·d·V·S·(1 + h)

with P the matrix parameters of the layers, P' those among them that are trained, A the sum over
layers of heads × head width, d × V the output embedding and h = 1 when it is trained. With all
parameters trained, training is 6·P per token, the usual rule, plus attention and the logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tod.engine.memory import ModelSize
from tod.engine.models import plain, text_config
from tod.runs import Ledger


@dataclass(frozen=True)
class ForwardWork:
    """What one forward goes through, whatever the model.

    Attributes:
        tokens: Token positions that pass through the layers, padding included.
        pairs: Query–key pairs that attention scores, masked ones included.
        states: Positions whose next-token logits are computed.
    """

    tokens: int
    pairs: int
    states: int

    def __add__(self, other: "ForwardWork") -> "ForwardWork":
        """Two forwards together."""
        return ForwardWork(
            self.tokens + other.tokens, self.pairs + other.pairs, self.states + other.states
        )

    def __sub__(self, other: "ForwardWork") -> "ForwardWork":
        """What one forward goes through and a lesser one does not."""
        return ForwardWork(
            self.tokens - other.tokens, self.pairs - other.pairs, self.states - other.states
        )


@dataclass(frozen=True)
class ModelCost:
    """What a model costs per position, pair and state.

    Attributes:
        matrices: Parameters of the layers' matrices that act on a token (P).
        trained_matrices: Those of them that receive a gradient (P').
        attention: Σ over layers of heads × head width (A).
        head: Parameters of the output embedding (d·V), tied or not.
        head_trained: Whether it receives a gradient.
    """

    matrices: int
    trained_matrices: int
    attention: int
    head: int
    head_trained: bool

    @classmethod
    def of(cls, model: Any) -> "ModelCost":
        """Counted from a model's parameters (on any device, ``meta`` included).

        Parameters of two and more axes count, embeddings apart; of mixture experts (three axes)
        the share that acts on a token. Adapters count with their own size.
        """
        config, size = text_config(model), ModelSize.of(model)
        head = plain(model).get_output_embeddings().weight
        skipped = {id(m.weight) for m in model.modules() if type(m).__name__ == "Embedding"}
        skipped.add(id(head))
        experts = getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None)
        active = (getattr(config, "num_experts_per_tok", None) or 1) / experts if experts else 1
        total = trained = 0
        for parameter in model.parameters():
            if id(parameter) in skipped or parameter.ndim < 2:
                continue
            acting = round(parameter.numel() * (active if parameter.ndim == 3 else 1))
            total += acting
            trained += acting * parameter.requires_grad
        attention = size.layers * size.attention
        return cls(total, trained, attention, head.numel(), bool(head.requires_grad))

    def forward(self, work: ForwardWork) -> int:
        """Operations of a forward pass."""
        layers = 2 * self.matrices * work.tokens + 4 * self.attention * work.pairs
        return layers + 2 * self.head * work.states

    def training(self, work: ForwardWork, *, recomputed: bool = False) -> int:
        """Operations of a forward and a backward pass.

        Args:
            work: What the forward goes through.
            recomputed: Whether gradient checkpointing runs the layers' forward again.
        """
        layers = 2 * (self.matrices + self.trained_matrices) * work.tokens
        layers += 8 * self.attention * work.pairs
        head = 2 * self.head * work.states * (1 + self.head_trained)
        again = self.forward(ForwardWork(work.tokens, work.pairs, 0)) if recomputed else 0
        return self.forward(work) + layers + head + again


def spent(
    sampled: tuple[ModelCost, ForwardWork],
    scored: Sequence[tuple[ModelCost, ForwardWork]] = (),
    trained: Sequence[tuple[ModelCost, ForwardWork]] = (),
) -> Ledger:
    """The ledger of one step.

    Args:
        sampled: What drew the candidates, and what that needs at least: every prompt once.
        scored: Forwards without gradient, once per scoring model.
        trained: Forwards with a backward pass; the first is the policy's and its positions with
            logits are the trained tokens, others are of a critic.
    """
    sampling = float(sampled[0].forward(sampled[1]))
    scoring = float(sum(cost.forward(work) for cost, work in scored))
    training = float(sum(cost.training(work) for cost, work in trained))
    return Ledger(
        sample_tokens=sampled[1].states,
        score_tokens=sum(work.states for _, work in scored),
        train_tokens=trained[0][1].states if trained else 0,
        flops=sampling + scoring + training,
        sample_flops=sampling,
        score_flops=scoring,
        train_flops=training,
    )
