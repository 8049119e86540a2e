"""Configuration files of any framework as points of the atlas, and comparisons of two of them."""

from tod.configurations.compare import Comparison, Difference, compare
from tod.configurations.detect import FRAMEWORKS
from tod.configurations.implied import EtaRule, Implied, implied
from tod.configurations.locate import locate
from tod.configurations.located import Located, composition, letters

__all__ = [
    "FRAMEWORKS",
    "Comparison",
    "Difference",
    "EtaRule",
    "Implied",
    "Located",
    "compare",
    "composition",
    "implied",
    "letters",
    "locate",
]
