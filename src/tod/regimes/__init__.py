"""Regimes: where the choice of operator matters, why, and what to turn."""

from tod.regimes.calibrate import *
from tod.regimes.classify import *
from tod.regimes.crossings import *
from tod.regimes.feasible import *
from tod.regimes.growing import *
from tod.regimes.intervals import *
from tod.regimes.largest import *
from tod.regimes.needed import *
from tod.regimes.pool import *
from tod.regimes.regime import *
from tod.regimes.thresholds import *
from tod.regimes.words import *
