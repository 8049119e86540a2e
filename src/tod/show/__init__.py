"""HTML reports and terminal tables.

Names are imported when they are first asked for: a command that prints a line needs no page.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tod.show.page.diagnosis_page import diagnosis_page, write_diagnosis
    from tod.show.page.findings_page import findings_page, write_findings
    from tod.show.page.run_data import RunView
    from tod.show.page.sources import load, load_all
    from tod.show.report import build, place, write
    from tod.show.terminal.tables import run_table, summary_panel

_HOMES = {
    "tod.show.page.diagnosis_page": ("diagnosis_page", "write_diagnosis"),
    "tod.show.page.findings_page": ("findings_page", "write_findings"),
    "tod.show.page.run_data": ("RunView",),
    "tod.show.page.sources": ("load", "load_all"),
    "tod.show.report": ("build", "place", "write"),
    "tod.show.terminal.tables": ("run_table", "summary_panel"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "RunView",
    "build",
    "diagnosis_page",
    "findings_page",
    "load",
    "load_all",
    "place",
    "run_table",
    "summary_panel",
    "write",
    "write_diagnosis",
    "write_findings",
]


def __getattr__(name: str) -> Any:
    """One of the names above, its module imported now."""
    if name not in _HOME:
        raise AttributeError(f"module 'tod.show' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
