"""Completions servers that other programs run: asking them, checking what they answer."""
