"""A reference of the public names, from their docstrings: a page a package, and a list of all."""

from types import ModuleType

import tod
from documentation.pages import PAGES


def rooms() -> dict[str, dict[str, str]]:
    """Public names by the package that they live in, each with the path of what it is."""
    found: dict[str, dict[str, str]] = {}
    for name in tod.__all__:
        value = getattr(tod, name)
        home = value.__name__ if isinstance(value, ModuleType) else tod._HOME.get(name)
        if home is not None:
            found.setdefault(home, {})[name] = path_of(value, f"{home}.{name}")
    return found


def path_of(value: object, otherwise: str) -> str:
    """Where a class or a function is written, since a module may have its name."""
    if isinstance(value, ModuleType):
        return value.__name__
    if not callable(value):
        return otherwise
    return f"{value.__module__}.{value.__qualname__}"


def first_line(value: object) -> str:
    """Of the docstring of a module, a class or a function; a table has none of its own."""
    said = (value.__doc__ or "") if callable(value) or isinstance(value, ModuleType) else ""
    return said.strip().partition("\n")[0].replace("|", "\\|")


def write_reference() -> None:
    """The pages; the site puts the docstrings where they name a path."""
    (PAGES / "reference").mkdir()
    listed = ["# Reference", "", "The public names of `tod`, by the package that they live in."]
    for home, names in sorted(rooms().items()):
        page = f"{home.removeprefix('tod.')}.md"
        body = [f"# {home}", "", *(f"::: {path}\n" for path in names.values())]
        (PAGES / "reference" / page).write_text("\n".join(body), encoding="utf-8")
        listed += ["", f"## {home}", "", "| name | what it is |", "|---|---|"]
        for name, path in names.items():
            listed.append(f"| [`tod.{name}`]({page}#{path}) | {first_line(getattr(tod, name))} |")
    (PAGES / "reference/index.md").write_text("\n".join(listed) + "\n", encoding="utf-8")
