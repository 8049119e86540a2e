"""Candidates from completions servers, and whether those hold the weights that they should."""
