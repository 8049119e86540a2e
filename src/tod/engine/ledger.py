"""The compute ledger: tokens and floating-point operations, as a value that adds up.

"Matched compute" is a comparison of two ledgers. Every matrix product of [m, k] by [k, n] counts
2·m·k·n; element-wise work is not counted. For one forward over ``Work`` (T positions through the
layers, Q query–key pairs, S positions with logits)

    forward  = 2·P·T + 4·A·Q + 2·d·V·S
    backward = 2·P·T + 2·P'·T + 8·A·Q + 2·d·V·S·(1 + h)

with P the matrix parameters of the layers, P' those among them that are trained, A the sum over
layers of heads × head width, d × V the output embedding and h = 1 when it is trained. With all
parameters trained, training is 6·P per token, the usual rule, plus attention and the logits.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from tod.base import DataError


@dataclass(frozen=True)
class Work:
    """What one forward goes through, whatever the model.

    Attributes:
        tokens: Token positions that pass through the layers, padding included.
        pairs: Query–key pairs that attention scores, masked ones included.
        states: Positions whose next-token logits are computed.
    """

    tokens: int
    pairs: int
    states: int

    def __add__(self, other: "Work") -> "Work":
        """Two forwards together."""
        return Work(
            self.tokens + other.tokens, self.pairs + other.pairs, self.states + other.states
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
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        config = inner.config.get_text_config(decoder=True)
        head = inner.get_output_embeddings().weight
        skipped = {id(m.weight) for m in model.modules() if type(m).__name__ == "Embedding"}
        skipped.add(id(head))
        experts = getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None)
        active = (getattr(config, "num_experts_per_tok", None) or 1) / (experts or 1)
        total = trained = 0
        for parameter in model.parameters():
            if id(parameter) in skipped or parameter.ndim < 2:
                continue
            size = parameter.numel()
            size = round(size * active) if parameter.ndim == 3 and experts else size
            total += size
            trained += size * parameter.requires_grad
        width = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        attention = config.num_hidden_layers * config.num_attention_heads * width
        return cls(total, trained, attention, head.numel(), bool(head.requires_grad))

    def forward(self, work: Work) -> int:
        """Operations of a forward pass."""
        layers = 2 * self.matrices * work.tokens + 4 * self.attention * work.pairs
        return layers + 2 * self.head * work.states

    def training(self, work: Work, *, recomputed: bool = False) -> int:
        """Operations of a forward and a backward pass.

        Args:
            work: What the forward goes through.
            recomputed: Whether gradient checkpointing runs the layers' forward again.
        """
        layers = 2 * (self.matrices + self.trained_matrices) * work.tokens
        layers += 8 * self.attention * work.pairs
        head = 2 * self.head * work.states * (1 + self.head_trained)
        again = self.forward(Work(work.tokens, work.pairs, 0)) if recomputed else 0
        return self.forward(work) + layers + head + again


@dataclass(frozen=True)
class Ledger:
    """Tokens and operations spent; ledgers add.

    Attributes:
        sample_tokens: Completion tokens drawn.
        score_tokens: Completion tokens scored without gradient, once per scoring model.
        train_tokens: Completion tokens with a loss, once per pass over them.
        flops: Operations carried out, padding included.
        useful_flops: Operations that the same results need without padding, every prompt once
            and causal pairs only.
    """

    sample_tokens: int = 0
    score_tokens: int = 0
    train_tokens: int = 0
    flops: int = 0
    useful_flops: int = 0

    @classmethod
    def sampled(cls, cost: ModelCost, work: Work, useful: Work) -> "Ledger":
        """The entry of sampling ``useful.states`` tokens."""
        return cls(
            sample_tokens=useful.states,
            flops=cost.forward(work),
            useful_flops=cost.forward(useful),
        )

    @classmethod
    def scored(cls, cost: ModelCost, work: Work, useful: Work) -> "Ledger":
        """The entry of scoring ``useful.states`` tokens under one model."""
        return cls(
            score_tokens=useful.states,
            flops=cost.forward(work),
            useful_flops=cost.forward(useful),
        )

    @classmethod
    def trained(
        cls, cost: ModelCost, work: Work, useful: Work, *, recomputed: bool = False
    ) -> "Ledger":
        """The entry of one forward and backward over ``useful.states`` tokens."""
        return cls(
            train_tokens=useful.states,
            flops=cost.training(work, recomputed=recomputed),
            useful_flops=cost.training(useful),
        )

    def __add__(self, other: "Ledger") -> "Ledger":
        """Both spent."""
        names = (f.name for f in fields(self))
        return Ledger(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def to_dict(self) -> dict[str, int]:
        """The fields by name, for records."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Ledger":
        """The ledger of a record.

        Raises:
            DataError: A field is missing, unknown, or not an integer >= 0.
        """
        names = {f.name for f in fields(cls)}
        if set(record) != names:
            raise DataError(
                f"a ledger has the fields {sorted(names)}, this record has {sorted(record)}. "
                "It comes from another version, or is damaged."
            )
        for name, value in record.items():
            if type(value) is not int or value < 0:
                raise DataError(
                    f"ledger field {name} is {value!r}: it counts, so it is an integer >= 0. "
                    "The record is damaged."
                )
        return cls(**record)
