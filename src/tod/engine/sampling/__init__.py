"""Sampling candidates: exact log μ, counter-based random numbers, no batch-size dependence."""
