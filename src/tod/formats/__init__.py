"""Rollouts of any framework, read from files without that framework and without torch."""

from tod.formats.format import FileProbe, Format
from tod.formats.gating import Gate
from tod.formats.read import parse_steps, read, tier
from tod.formats.reading import TIERS, Reading, Source, Text
from tod.formats.registry import FORMATS

__all__ = [
    "FORMATS",
    "TIERS",
    "FileProbe",
    "Format",
    "Gate",
    "Reading",
    "Source",
    "Text",
    "parse_steps",
    "read",
    "tier",
]
