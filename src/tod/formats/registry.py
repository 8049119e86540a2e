"""All formats by name: every module of this package that has a ``FORMAT``.

A reader is a file here and its writer in the tests; no list is edited. Detection takes the first
that recognises a file, so they come by how specific they say they are, and then by name.
"""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from tod.formats.format import Format


def discovered() -> dict[str, Format]:
    """Every format by name, the most specific first.

    Raises:
        ValueError: Two modules give one name to their formats.
    """
    package = __name__.rpartition(".")[0]
    found = iter_modules([str(Path(__file__).parent)], f"{package}.")
    modules = [import_module(module.name) for module in found if module.name != __name__]
    known = [m.FORMAT for m in modules if isinstance(getattr(m, "FORMAT", None), Format)]
    known.sort(key=lambda format_: (-format_.specificity, format_.name))
    formats = {format_.name: format_ for format_ in known}
    if len(formats) < len(known):
        raise ValueError(f"formats of one name among {', '.join(f.name for f in known)}")
    return formats


FORMATS = discovered()
"""Every format that `read` knows, by the name used with ``--format``."""
