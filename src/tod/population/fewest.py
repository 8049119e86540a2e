"""How many groups it takes to say anything of a population."""

__all__ = ["FEWEST_GROUPS"]

FEWEST_GROUPS = 8
"""Groups with a signal from which a population is read: the smallest n whose distribution-free 90 %
interval of the median excludes the two extremes."""
