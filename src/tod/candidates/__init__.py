"""Candidates: what the proposal μ produced, with log-probs, rewards and tokens."""

from tod.candidates.candidates import POLICIES, Candidates, Labels
from tod.candidates.tokens import Tokens

__all__ = ["POLICIES", "Candidates", "Labels", "Tokens"]
