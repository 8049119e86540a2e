"""Where the candidates of a step come from: one module per ``source`` of the proposal."""

from tod.engine.proposals.propose import propose

__all__ = ["propose"]
