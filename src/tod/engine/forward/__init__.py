"""The forward pass of training and scoring: flat tokens in, one number per token out."""

from tod.engine.forward.head import Head
from tod.engine.forward.index import Index
from tod.engine.forward.layout import LAYOUTS, Layout, choose, refusal
from tod.engine.forward.log_probs import (
    LogProbs,
    scored_log_probs,
    token_log_probs,
    token_states,
    token_statistics,
)
from tod.engine.forward.micro_batches import context_tokens, micro_batches
from tod.engine.forward.model_parts import logits

__all__ = [
    "LAYOUTS",
    "Head",
    "Index",
    "Layout",
    "LogProbs",
    "choose",
    "context_tokens",
    "logits",
    "micro_batches",
    "refusal",
    "scored_log_probs",
    "token_log_probs",
    "token_states",
    "token_statistics",
]
