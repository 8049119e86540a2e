"""One reader per framework; none needs torch or the framework itself."""

from tod.integrations.readers._format import Format, Probe
from tod.integrations.readers.registry import FORMATS

__all__ = ["FORMATS", "Format", "Probe"]
