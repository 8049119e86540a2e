"""What controllers are compared with: one rule a file, each the next sharpness of a batch."""

from tod.arc.baselines.adaptive import adaptive as adaptive
from tod.arc.baselines.cosine import cosine as cosine
from tod.arc.baselines.ess_tempering import ess_tempering as ess_tempering
from tod.arc.baselines.fixed import fixed as fixed
from tod.arc.baselines.geodesic import constant_speed as constant_speed
from tod.arc.baselines.geodesic import geodesic as geodesic
