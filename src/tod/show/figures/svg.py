"""HTML and SVG as values: what is not known to be markup is escaped, always.

A plain ``str`` child is text and is escaped; only what these functions return is ``Html`` and
goes in as it is. So a prompt cannot become markup by anyone's forgetfulness.
"""

import math
from html import escape

from tod.base.text import visible

_VOID = frozenset({"meta", "link", "br", "hr"})


class Html(str):
    """Text that is markup already, for templates too."""

    __slots__ = ()

    def __html__(self) -> "Html":
        """The markup itself."""
        return self


def text(value: object) -> Html:
    """Escaped text; control, bidirectional-override and surrogate characters become visible."""
    if isinstance(value, Html):
        return value
    return Html(escape(visible(str(value)), quote=True))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """One element. ``class_`` is ``class``; ``_`` in a name is ``-``; None and False are left out.

    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    words = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{words}>")
    return Html(f"<{name}{words}>{join(children)}</{name}>")


def join(children: object) -> Html:
    """Children one after the other; None is nothing, and lists are opened."""
    if children is None:
        return Html("")
    if isinstance(children, list | tuple):
        return Html("".join(join(child) for child in children))
    return text(children)


def number(value: float) -> str:
    """A coordinate: at most two decimals, no trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = {"view_box": "viewBox", "path_length": "pathLength"}.get(
        key, key.rstrip("_").replace("_", "-")
    )
    if value is True:
        return f" {name}"
    shown = number(value) if isinstance(value, float) else value
    return f' {name}="{text(shown)}"'
