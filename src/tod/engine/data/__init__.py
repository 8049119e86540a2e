"""Prompts of a run: what a recipe's ``task:`` block says, as batches addressed by step."""
