"""Utilities: what a completion is worth, by name or by a reward function of one's own."""
