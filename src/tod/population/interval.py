"""The interval of a population quantity, and ESS_rel over the prompts, as records."""

from tod.diagnostics.population_ess import Interval, PopulationEss

__all__ = ["Interval", "PopulationEss"]
