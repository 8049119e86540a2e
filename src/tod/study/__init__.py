"""Exact finite worlds, in which everything that is claimed can be added up."""
