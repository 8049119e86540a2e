"""The effective sample size of the population of prompts, from groups of any size."""

from tod.population.certificate import *
from tod.population.feasible import *
from tod.population.fewest import *
from tod.population.jackknife import *
from tod.population.leg_bound import *
from tod.population.leg_statistics import *
from tod.population.moments import *
from tod.population.needed import *
from tod.population.pass_counts import *
from tod.population.pass_rates import *
from tod.population.reward_counts import *
from tod.population.reward_ess import *
from tod.population.reward_values import *
from tod.population.scale_mixture import *
from tod.population.shape import *
from tod.population.weight_moments import *
from tod.population.zero_variance import *
