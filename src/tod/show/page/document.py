"""A page as one file: a template with escaped text, a policy that lets nothing else run."""

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

from tod.base.text import counted, fixed, large, percent, plainly, visible
from tod.runs.differing import in_words
from tod.runs.facts import by_block
from tod.show.figures.onsets import glyph
from tod.show.figures.svg import Html, number
from tod.show.words import verdict_words

CERTAINTIES = {"fact": "certain", "likely": "likely", "possible": "possible"}
SEVERITIES = {"critical": "Critical", "warning": "Warning", "note": "Note"}
"""How people write the certainty of a cause and the severity of a finding."""


def document(
    template: str, title: str, data: object = None, *, styles: tuple[str, ...] = (), **values: Any
) -> Html:
    """A whole file.

    Args:
        template: Name of the template.
        title: Of the window.
        data: What the script reads; None for a page without a script.
        styles: Style sheets that this page alone needs.
        values: What the template shows: text, which is escaped, and figures, which are markup.
    """
    css = "".join(map(_asset, ("style.css", *styles)))
    script = "" if data is None else _asset("script.js")
    allowed = f"style-src '{_digest(css)}'" + (f"; script-src '{_digest(script)}'" * bool(script))
    policy = f"default-src 'none'; {allowed}; img-src data:; base-uri 'none'; form-action 'none'"
    page = _environment().get_template(template)
    text = page.render(
        title=title,
        policy=Html(policy),
        css=Html(css),
        script=Html(script),
        data=Html(_json(data)),
        **values,
    )
    return Html(text + "\n")


def rendered(template: str, **values: Any) -> Html:
    """A piece of a page by its template, escaped as a page is."""
    return Html(_environment().get_template(template).render(**values))


@cache
def _environment() -> Any:
    """The templates: every text is escaped, a name that nobody gives is an error."""
    import yaml
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("tod.show.page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"certainties": CERTAINTIES, "severities": SEVERITIES}
    made.filters |= {
        "by_block": by_block,
        "coordinate": number,
        "counted": counted,
        "fixed": fixed,
        "glyph": glyph,
        "large": large,
        "opened": opened,
        "percent": percent,
        "plainly": plainly,
        "rows_of": rows_of,
        "verdict": verdict_words,
        "yaml": lambda data: yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=88),
    }
    return made


def opened(text: str) -> str:
    """A sentence with a capital; a setting or a path at its start stays as it is written."""
    word = text.split(" ", 1)[0]
    return text if any(mark in word for mark in "._=/") else text[:1].upper() + text[1:]


def _shown(value: Any) -> Any:
    """Text without characters that hide or reorder; nothing for what is not there."""
    if value is None:
        return ""
    return value if hasattr(value, "__html__") else visible(str(value))


def rows_of(environment: dict[str, Any]) -> list[tuple[str, str]]:
    """Versions, hardware and the like as rows of name and text; what is not known is left out."""
    return [
        (key, ", ".join(f"{n} {in_words(v)}" for n, v in value.items() if v is not None))
        if isinstance(value, dict)
        else (key, in_words(value))
        for key, value in environment.items()
    ]


def _json(data: object) -> str:
    """JSON that no HTML parser takes for anything else."""
    dumped = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return dumped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return files("tod.show.page").joinpath(name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode()
