"""Floor 0: what μ produced."""

from tod.candidates.candidates import POLICIES, Candidates, Labels
from tod.candidates.tokens import Tokens

__all__ = ["POLICIES", "Candidates", "Labels", "Tokens"]
