"""What a forward costs: parameters and floating-point operations, for the compute ledger."""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class TokenFlops:
    """Floating-point operations of a forward, by what they are spent on.

    Attributes:
        body: Per token through the layers: 2 per weight of every matrix.
        head: Per token whose logits are computed: 2 × hidden × vocabulary.
        attention: Per pair of a query and a position it attends to: 4 × heads × head dimension,
            summed over the layers with attention.
        window: Positions a token attends to at most, where every layer has a window; else None.
    """

    body: float
    head: float
    attention: float
    window: int | None = None

    def forward(self, tokens: int, pairs: float, heads: int | None = None) -> float:
        """Cost of a forward of ``tokens`` tokens.

        Args:
            tokens: Tokens that pass the layers.
            pairs: Attended (query, position) pairs over all tokens; ``causal_pairs`` counts them.
            heads: Tokens whose logits are computed; None: all.
        """
        logits = tokens if heads is None else heads
        return self.body * tokens + self.head * logits + self.attention * pairs

    def training(self, tokens: int, pairs: float, heads: int | None = None) -> float:
        """Cost of forward and backward: the backward costs two forwards (Kaplan et al. 2020)."""
        return 3.0 * self.forward(tokens, pairs, heads)

    def __call__(self, context: int = 0) -> float:
        """Cost of one token that attends to ``context`` positions, logits included."""
        return self.forward(1, context)


def causal_pairs(length: int, past: int = 0) -> float:
    """Attended pairs of ``length`` tokens after ``past`` others: each sees all up to itself."""
    return length * past + length * (length + 1) / 2


def parameter_counts(model: Any) -> dict[str, int]:
    """Number of parameters: ``total`` (tied ones once), ``trainable``, and ``embedding``."""
    embedding = model.get_input_embeddings().weight
    parameters = list(model.parameters())
    return {
        "total": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "embedding": embedding.numel(),
    }


def flops_per_token(model: Any) -> TokenFlops:
    """What a token costs: 2 per multiply-add with every weight matrix, plus attention.

    Looking up embeddings costs nothing; a head tied to them costs its matrix. Experts stored as
    [experts, in, out] count by the share that a token uses. Norms, activations and rotations are
    left out (order 1 % of small models). Attention counts QK' and AV; a sliding window is not
    subtracted from the attended pairs, that is the caller's count.
    """
    head = model.get_output_embeddings()
    head_weight = None if head is None else head.weight
    lookups = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    config = model.config.get_text_config(decoder=True)
    used = getattr(config, "num_experts_per_tok", None)
    body = 0.0
    for parameter in model.parameters():
        if parameter.ndim < 2 or id(parameter) in lookups or parameter is head_weight:
            continue
        share = min(1.0, used / parameter.shape[0]) if used and parameter.ndim == 3 else 1.0
        body += 2.0 * parameter.numel() * share
    heads = getattr(config, "num_attention_heads", None) or 0
    wide = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else 0)
    window = getattr(config, "sliding_window", None)
    types = set(getattr(config, "layer_types", None) or ())
    return TokenFlops(
        body=body,
        head=0.0 if head_weight is None else 2.0 * head_weight.numel(),
        attention=4.0 * config.num_hidden_layers * heads * wide,
        window=int(window) if window and types == {"sliding_attention"} else None,
    )
