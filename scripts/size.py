"""Count what the package is made of: code lines, files, names that stand twice, long functions.

Usage: python scripts/size.py [SOURCE]   (default: src/tod)

A code line holds a token that is neither a comment nor part of a docstring. YAML is counted apart.
An import circle is a cycle of modules by their import statements, those under TYPE_CHECKING and
inside functions included.
"""

import ast
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

LONGEST_BODY = 40
"""Lines of code in a function beyond which it is listed."""
IGNORED = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def code_lines(path: Path, tree: ast.Module) -> set[int]:
    """Numbers of the lines that hold code."""
    with path.open("rb") as file:
        tokens = [t for t in tokenize.tokenize(file.readline) if t.type not in IGNORED]
    lines = {line for t in tokens for line in range(t.start[0], t.end[0] + 1)}
    return lines - docstring_lines(tree)


def docstring_lines(tree: ast.Module) -> set[int]:
    """Lines of strings that stand as statements: docstrings of modules, classes, fields."""
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    return {n for text in texts for n in range(text.lineno, (text.end_lineno or 0) + 1)}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function, methods and nested ones included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def module_name(path: Path, top: Path) -> str:
    """Dotted name of a file."""
    names = [top.name, *path.relative_to(top).with_suffix("").parts]
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def imported(tree: ast.Module, known: set[str]) -> set[str]:
    """Modules of the package that a file imports, wherever the statement is."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {item.name for item in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = {f"{node.module}.{item.name}" for item in node.names}
            names |= (inner & known) or {node.module}
    return names & known


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    result: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = []
            while not component or component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                result.append(sorted(component))

    sys.setrecursionlimit(10_000)
    for node in graph:
        if node not in index:
            visit(node)
    return result


def trees_of(top: Path) -> dict[Path, ast.Module]:
    """Every file of a package, parsed."""
    paths = sorted(top.rglob("*.py"))
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def imports_of(trees: dict[Path, ast.Module], top: Path) -> dict[str, set[str]]:
    """What every module of a package imports of it, by dotted names."""
    names = {module_name(path, top): path for path in trees}
    return {name: imported(trees[path], set(names)) - {name} for name, path in names.items()}


def class_places(trees: dict[Path, ast.Module], top: Path) -> dict[str, list[str]]:
    """Files that define a class of each name at their top level."""
    places: dict[str, list[str]] = defaultdict(list)
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(top)))
    return places


def twice(names: dict[str, list[str]]) -> list[str]:
    """Names with more than one place."""
    return [
        f"  {name}: {', '.join(places)}"
        for name, places in sorted(names.items())
        if len(places) > 1
    ]


def main(source: str = "src/tod") -> None:
    """Print the totals, then the lists."""
    top = Path(source)
    trees = trees_of(top)
    paths = list(trees)
    counts = {path: len(code_lines(path, tree)) for path, tree in trees.items()}
    long = []
    stems: dict[str, list[str]] = defaultdict(list)
    for path, tree in trees.items():
        place = str(path.relative_to(top))
        if path.stem != "__init__":
            stems[path.stem].append(place)
        code = code_lines(path, tree)
        for function in functions(tree):
            first, last = function.body[0].lineno, function.end_lineno or 0
            size = len(code & set(range(first, last + 1)))
            if size > LONGEST_BODY:
                long.append(f"  {place}:{function.lineno} {function.name} {size}")
    packages = defaultdict(int)
    for path, count in counts.items():
        relative = path.relative_to(top)
        packages[relative.parts[0] if len(relative.parts) > 1 else "."] += count
    private = [p for p in paths if p.stem.startswith("_") and p.stem != "__init__"]
    yaml = sum(len(p.read_text(encoding="utf-8").splitlines()) for p in top.rglob("*.yaml"))
    lines = sum(len(p.read_text(encoding="utf-8").splitlines()) for p in paths)
    print(f"code lines {sum(counts.values())}, lines {lines}, files {len(paths)}, YAML {yaml}")
    print("by package: " + ", ".join(f"{name} {n}" for name, n in sorted(packages.items())))
    print(f"private files {len(private)}: {', '.join(str(p.relative_to(top)) for p in private)}")
    for title, rows in (
        ("file names that stand twice", twice(stems)),
        ("class names that stand twice", twice(class_places(trees, top))),
        (f"functions over {LONGEST_BODY} lines of code", long),
        ("import circles", ["  " + " <-> ".join(c) for c in circles(imports_of(trees, top))]),
    ):
        print(f"{title}: {len(rows)}")
        print("\n".join(rows), end="\n" if rows else "")


if __name__ == "__main__":
    main(*sys.argv[1:])
