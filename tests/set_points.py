"""The set point of the TOD framework, whose laws are not those of the default plan."""

from tod.arc import ArcConfig


def set_point(**settings):
    return ArcConfig(**{"plan": "set_point", **settings})
