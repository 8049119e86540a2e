"""The effective sample size of the population of prompts, from groups of any size."""

from tod.population.interval import *
