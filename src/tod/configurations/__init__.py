"""Configuration files of any framework as points of the atlas, and comparisons of two of them."""

from tod.configurations.locate import *
from tod.configurations.point import *
