"""The page's style for a piece of it inside someone else's document."""

import re
from functools import cache
from importlib.resources import files

SCOPE = "tod-card"
"""Class of the element that holds the piece: no rule reaches outside it."""
DARK = ('[data-jp-theme-light="false"]', ".vscode-dark", '[data-theme="dark"]')
LIGHT = ('[data-jp-theme-light="true"]', ".vscode-light", '[data-theme="light"]')
"""How JupyterLab, VS Code and documentation sites say which theme is on; else the system says."""
OWN = (
    ".{0} {{ margin: 4px 0; padding: 14px 18px; border-radius: 10px; max-width: 980px; }}\n"
    ".{0} .answer, .{0} .verdict {{ margin-top: 12px; }}\n"
    ".{0} .headline, .{0} .lead {{ font-size: 19px; }}\n"
)
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")


@cache
def style(used: frozenset[str]) -> str:
    """The rules of the page's style sheet that a piece needs, all of them below `SCOPE`.

    Args:
        used: Classes and names of elements in the piece.
    """
    sheet = files("tod.show.page").joinpath("style.css").read_text(encoding="utf-8")
    sheet = re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL)
    light, dark, *_ = (rule[2] for rule in _RULE.finditer(sheet) if rule[1].strip() == ":root")
    themes = [f"{mark} .{SCOPE} {{{light}}}" for mark in LIGHT]
    themes += [f"{mark} .{SCOPE} {{{dark}}}" for mark in DARK]
    rules = _RULE.sub(lambda match: _below(match, used), sheet)
    rules = re.sub(r"@media[^{]*\{\s*\}", "", rules)
    return "\n".join([re.sub(r"\n\s*\n+", "\n", rules).strip(), *themes, OWN.format(SCOPE)])


def _below(rule: re.Match[str], used: frozenset[str]) -> str:
    """A rule with its selectors below the scope; nothing where no selector can match."""
    selectors = [item.strip() for item in rule[1].split(",")]
    wanted = [_scoped(item) for item in selectors if _may_match(item, used)]
    return f"\n{', '.join(wanted)} {{{rule[2]}}}" if wanted else ""


def _scoped(selector: str) -> str:
    return f".{SCOPE}" if selector in (":root", "body") else f".{SCOPE} {selector}"


def _may_match(selector: str, used: frozenset[str]) -> bool:
    """Whether every class and element that a selector names is in the piece."""
    if selector in (":root", "body", "*"):
        return True
    plain = re.sub(r"\[[^]]*\]|::?[\w-]+(\([^)]*\))?", "", selector)
    return all(name in used for name in re.findall(r"\.?[A-Za-z][\w-]*", plain))
