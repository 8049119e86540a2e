"""Candidates that are there already, put out by rules: answers, curves, a verdict; no torch."""
