"""What a server computes with instead of the trainer's weights, in words, and the way out."""

from tod.diagnostics.sync import SyncKind

__all__ = ["SYNC_REMEDIES", "SYNC_WORDS"]

SYNC_WORDS: dict[SyncKind, str] = {
    "noise": "the same weights",
    "temperature": "the same weights at another temperature",
    "truncated": "the same weights, unlikely tokens cut off",
    "stale": "older weights",
    "initial": "the weights that training started from",
    "partly_old": "weights that are old in part",
    "other_tokens": "another model, or another tokenizer",
    "other_prompt": "another prompt or template before the answers",
    "router": "the same weights, but its router chooses other experts for some tokens",
    "weights": "other weights, none that it was compared with",
}
"""What a server computes with, in words."""
SYNC_REMEDIES: dict[SyncKind, str] = {
    "temperature": "Give both sides one temperature.",
    "truncated": "Start it with --generation-config vllm, or ask for top_p 1.",
    "stale": "The last weight update did not reach it: repeat it, then check again.",
    "initial": "No weight update reached it: look at how weights are sent.",
    "partly_old": "Its reload left a part behind: restart it with the new weights.",
    "other_tokens": "Serve the model whose tokens these are.",
    "other_prompt": "Send token ids, not text.",
    "router": "Give both sides one precision in the router, or replay its choices.",
    "weights": "It is none that it was compared with: look at what it was started with.",
}
"""The way out of each."""
