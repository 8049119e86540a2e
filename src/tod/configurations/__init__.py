"""Configuration files of any framework as points of the atlas, and comparisons of two of them."""

from tod.configurations.implied_target import EtaRule, Implied, implied
from tod.configurations.locate import compare, locate, side
from tod.configurations.point import Located, composition, letters
from tod.configurations.recognise import FRAMEWORKS

__all__ = [
    "FRAMEWORKS",
    "EtaRule",
    "Implied",
    "Located",
    "compare",
    "composition",
    "implied",
    "letters",
    "locate",
    "side",
]
