"""Old name of `tod.formats`, `tod.diagnosis` and `tod.live`; it goes away in version 0.3."""

from typing import Any
from warnings import warn

from tod import diagnosis, formats


def __getattr__(name: str) -> Any:
    """The same object under its new home."""
    warn(f"tod.integrations.{name} has moved: import it from tod", DeprecationWarning, stacklevel=2)
    for home in (formats, diagnosis):
        if hasattr(home, name):
            return getattr(home, name)
    raise AttributeError(f"module 'tod.integrations' has no attribute {name!r}")
