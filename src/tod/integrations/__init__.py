"""Floor 6: what other frameworks wrote, read without them."""

from tod.integrations._target import parse_target
from tod.integrations.diagnosis import Diagnosis, Shown, diagnose
from tod.integrations.gating import Gate
from tod.integrations.planning import Plan, plan
from tod.integrations.read import parse_steps, read, tier
from tod.integrations.readers import FORMATS, Format
from tod.integrations.reading import TIERS, Cannot, Reading, Source, Text

__all__ = [
    "FORMATS",
    "TIERS",
    "Cannot",
    "Diagnosis",
    "Format",
    "Gate",
    "Plan",
    "Reading",
    "Shown",
    "Source",
    "Text",
    "diagnose",
    "parse_steps",
    "parse_target",
    "plan",
    "read",
    "tier",
]
