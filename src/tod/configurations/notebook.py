"""Code cells of a notebook as one script: read, never run."""

import json
from typing import Any

from tod.base import SpecError

__all__ = ["source"]


def source(text: str, where: str) -> str:
    """The code cells of a notebook in their order, as a script.

    Lines of magics and of the shell (``%pip``, ``!accelerate launch``) become comments, and a cell
    of another language (``%%bash``) becomes one altogether, so that lines keep their order.

    Args:
        text: The file.
        where: What to call it in a message.

    Raises:
        SpecError: Not JSON, no notebook, or one without code.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{where}: no notebook: not valid JSON ({error}).") from None
    cells = data.get("cells") if isinstance(data, dict) else None
    if not isinstance(cells, list):
        raise SpecError(f"{where}: no notebook: it has no list of `cells`.")
    codes = [_code(cell) for cell in cells if _is_code(cell)]
    if not any(code.strip() for code in codes):
        raise SpecError(f"{where}: a notebook without code, so there is no configuration in it.")
    return "\n".join(codes) + "\n"


def _is_code(cell: Any) -> bool:
    return isinstance(cell, dict) and cell.get("cell_type") == "code"


def _code(cell: dict[str, Any]) -> str:
    """One cell with what is no Python as comments."""
    written = cell.get("source", "")
    lines = ("".join(map(str, written)) if isinstance(written, list) else str(written)).splitlines()
    first = next((line.strip() for line in lines if line.strip()), "")
    other = first.startswith("%%") and not first.startswith(("%%time", "%%capture"))
    return "\n".join(
        f"# {line}" if other or line.lstrip().startswith(("%", "!", "?")) else line
        for line in lines
    )
