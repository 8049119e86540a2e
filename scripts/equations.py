"""Make docs/equations.md: every equation, its source, the function that computes it, its test.

Usage: python scripts/equations.py [--check]

Equations stand in docs/equations.yaml. A docstring under src/tod names one by a line
``Source: ... (equation NAME)``. With ``--check`` nothing is written: exit 1 if the page is stale.
"""

import ast
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "tod"
PAGE = ROOT / "docs" / "equations.md"
SECTIONS = {
    "0": "Aggregation of tokens",
    "1": "The triple",
    "2": "Targets",
    "4": "Operators",
    "5": "Regimes",
    "6": "The controller",
    "A.1": "Supervised fine-tuning",
    "A.2": "Weighted likelihood",
    "A.3": "Rejection fine-tuning",
    "A.4": "Preference losses",
    "A.5": "Listwise losses",
    "A.6": "PPO with a critic",
    "A.7": "GRPO",
    "A.8": "Dr. GRPO",
    "A.9": "DAPO",
    "A.10": "GSPO",
    "A.11": "SAPO",
    "A.12": "CISPO",
    "A.13": "FSPO",
    "A.14": "GMPO",
    "A.15": "Corrections of the sampler's mismatch",
    "A.16": "RLOO",
    "A.17": "REINFORCE++",
    "A.18": "On-policy distillation",
    "A.19": "KL to the reference, entropy",
    "A.20": "Test time",
    "A.21": "Sequential Monte Carlo",
    "B.1": "Target families",
    "B.2": "Two anchors",
    "B.3": "Several utilities, constraints",
    "B.4": "Mixtures",
    "B.5": "Teachers",
    "B.7": "Finite candidates",
    "B.8": "What was truly sampled",
    "C.1": "Effective sample size",
    "C.2": "Its family",
    "C.3": "Needed sample size",
    "C.4": "Finite K",
    "C.5": "Coverage",
    "C.6": "Tails",
    "C.7": "Pareto-smoothed importance sampling",
    "C.8": "Drift and gaps",
    "C.9": "Surrogates for long sequences",
    "C.10": "Operator-side metrics",
    "C.11": "Quantiles over prompts",
    "C.12": "Overlap of three",
    "D.2": "Derivatives",
    "D.1": "Fixed rules of control",
    "D.3": "Feasible sharpness",
    "D.4": "KL budget",
}
NOT_COMPUTED = {
    "D.1": "fixed rules for a KL coefficient (adaptive KL, penalty, Lagrangian)",
}
MARK = re.compile(r"\(equations? ([\w-]+(?:,\s+[\w-]+)*)\)")


@dataclass(frozen=True)
class Equation:
    """One row of docs/equations.yaml."""

    name: str
    section: str
    """0 to 6: the framework's own; A operators, B targets, C diagnostics, D controllers."""
    equation: str
    source: str
    file: str
    """Where the layout says that it is, relative to src/tod."""
    test: str
    """``path::function`` of the test against an independent value, relative to tests."""


def equations() -> dict[str, Equation]:
    """The registry, by name."""
    rows = yaml.safe_load((ROOT / "docs" / "equations.yaml").read_text(encoding="utf-8"))
    return {row["name"]: Equation(**row) for row in rows}


def marked() -> dict[str, list[tuple[str, str]]]:
    """Equation name -> (file relative to src/tod, name of the function or class)."""
    places: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, text in docstrings(ast.parse(path.read_text(encoding="utf-8"))):
            for found in MARK.findall(" ".join(text.split())):
                for equation in re.split(r",\s+", found):
                    places[equation].append((str(path.relative_to(PACKAGE)), name))
    return dict(places)


def docstrings(tree: ast.Module, prefix: str = "") -> list[tuple[str, str]]:
    """Qualified name and docstring of the module, its classes and its functions."""
    rows = [("", ast.get_docstring(tree) or "")] if not prefix else []

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                name = f"{prefix}{node.name}"
                rows.append((name, ast.get_docstring(node) or ""))
                visit(node.body, f"{name}.")

    visit(tree.body, prefix)
    return rows


def page() -> str:
    """The table as Markdown."""
    places = marked()
    lines = [
        "# Equations",
        "",
        "Made by `python scripts/equations.py` from `docs/equations.yaml` and the docstrings;",
        "a test holds both against each other. Units are nats. Docstrings cite a section as",
        "`docs/equations.md A.4`. Not computed yet:",
        "",
        *(f"* {name}: {text}." for name, text in NOT_COMPUTED.items()),
    ]
    section = None
    for row in equations().values():
        if row.section != section:
            section = row.section
            lines += ["", f"## {section} {SECTIONS[section]}", ""]
            lines += ["| name | equation | source | function | test |", "|---|---|---|---|---|"]
        functions = ", ".join(
            f"[`{name or file}`](../src/tod/{file})" for file, name in places.get(row.name, [])
        )
        test = row.test.split("::")
        text = row.equation.replace("|", "\\|")
        lines.append(
            f"| {row.name} | {text} | {row.source} | {functions} | "
            f"[`{test[-1]}`](../tests/{test[0]}) |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or compare it."""
    text = page()
    if "--check" in sys.argv[1:]:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(equations())} equations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
