"""No bound of a test is a number that somebody typed: each is derived, or says whose it is.

What is a bound: the keywords and places of `BOUNDS`; the right side of ``|x| < bound``; and what is
added to or taken from a side of a comparison, as in ``x <= y + 1e-9`` and ``x <= y * (1 + 1e-9)``.
A name is followed to what the file assigns to it.

What may stand there (`derived`):

* exactly 0;
* a call of a function of `tolerance`, `stated` among them, whose arguments are counts and sizes;
* a name or an attribute that the file does not set to a literal: a parameter, a computed value, a
  constant of the package;
* a derived value times a number that is not smaller than `FACTOR`, or over any number (the slope by
  which an error grows); sums, roots, maxima and powers of derived values; 1/n of whole n and
  something computed; in these a name of a literal that is read elsewhere too, such as the step of a
  difference quotient;
* of ``|x| < bound`` a number of at least 1: places, steps, sizes.

Where the default of the other bound is up to 1e-5 (`halved`), both are given.

Left out: what must differ (``!= approx``), p-values, and points at which a function is looked at.
"""

import ast
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tolerance

ROOT = Path(__file__).parent
FILES = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if path.name not in ("tolerance.py", Path(__file__).name)
]
BOUNDS = {
    "approx": ({"rel", "abs"}, (1, 2)),
    "isclose": ({"rtol", "atol", "rel_tol", "abs_tol"}, (2, 3)),
    "allclose": ({"rtol", "atol"}, (2, 3)),
    "assert_allclose": ({"rtol", "atol"}, (2, 3)),
    "assert_close": ({"rtol", "atol"}, ()),
    "assert_almost_equal": ({"decimal"}, (2,)),
    "assert_approx_equal": ({"significant"}, (2,)),
    "assert_array_almost_equal": ({"decimal"}, (2,)),
    "assert_array_almost_equal_nulp": ({"nulp"}, (2,)),
    "assert_array_max_ulp": ({"maxulp"}, (2,)),
    "assertAlmostEqual": ({"places", "delta"}, (2,)),
}
"""Keywords and places of every function that compares with a tolerance."""
PASSED_ON = {"max", "min", "maximum", "minimum", "sqrt", "float", "array"}
"""Functions of bounds that are bounds; arguments of others are counts and sizes."""
BOTH = {"isclose", "allclose", "assert_close"}
"""Functions of which a missing bound is up to 1e-5: both are given."""
SIZES = {"abs", "absolute", "fabs", "norm"}
FACTOR = 1e-3
"""A smaller factor is a bound in disguise."""
OURS = {name for name in vars(tolerance) if not name.startswith("_")}


def name_of(node: ast.AST) -> str:
    """Last part of the name of what is called."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def literal(node: ast.AST) -> float | None:
    """The number that stands there."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = literal(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.BinOp) and None not in (literal(node.left), literal(node.right)):
        return float(eval(ast.unparse(node)))  # noqa: S307  # two numbers and a sign
    return None


def assignments(tree: ast.AST) -> dict[str, list[ast.expr]]:
    """What a file assigns to every name, defaults of parameters among it."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        pairs: list[tuple[ast.AST, ast.expr | None]] = []
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            pairs = [(node.target, node.value)]
        elif isinstance(node, ast.arguments):
            places = [*node.posonlyargs, *node.args]
            late = places[len(places) - len(node.defaults) :]
            pairs = [(ast.Name(a.arg), d) for a, d in zip(late, node.defaults, strict=True)]
            keywords = zip(node.kwonlyargs, node.kw_defaults, strict=True)
            pairs += [(ast.Name(a.arg), d) for a, d in keywords]
        for target, value in pairs:
            for one, its in unpacked(target, value):
                if isinstance(one, ast.Name) and its is not None:
                    found.setdefault(one.id, []).append(its)
    return found


def unpacked(target: ast.AST, value: ast.expr | None) -> list[tuple[ast.AST, ast.expr | None]]:
    """Pairs of ``a, b = x, y``."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return list(zip(target.elts, value.elts, strict=False))
    return [(target, value)]


class Names(dict[str, list[ast.expr]]):
    """What a file assigns to its names, and how often each is read."""

    def __init__(self, tree: ast.AST) -> None:
        """Of a file."""
        super().__init__(assignments(tree))
        reads = (x for x in ast.walk(tree) if isinstance(x, ast.Name))
        self.read = Counter(x.id for x in reads if isinstance(x.ctx, ast.Load))

    def is_quantity(self, name: str, bound: ast.AST) -> bool:
        """Whether a literal of that name is read outside of the bound too: h of a difference."""
        inside = sum(isinstance(x, ast.Name) and x.id == name for x in ast.walk(bound))
        return self.read[name] > inside


def derived(node: ast.expr, names: Names, seen: tuple[str, ...] = (), within: Any = None) -> bool:
    """Whether a bound is one of the forms above; ``within`` is what it is part of."""
    number = literal(node)
    if number is not None:
        return number == 0

    def part(x: ast.expr) -> bool:
        return derived(x, names, seen, node if within is None else within)

    match node:
        case ast.Name(name):
            values = [] if name in seen or name in OURS else names.get(name, [])
            if within is not None and names.is_quantity(name, within):
                values = [value for value in values if literal(value) is None]
            return all(derived(value, names, (*seen, name)) for value in values)
        case ast.Call(function, arguments, _) if name_of(function) in PASSED_ON:
            return all(part(x) for x in arguments)
        case ast.BinOp(left, ast.Add() | ast.Sub(), right):
            return all((literal(x) or 0) >= 1 or part(x) for x in (left, right))
        case ast.BinOp(left, ast.Mult(), right):
            sides = [x for x in (left, right) if literal(x) is None]
            factors = [abs(literal(x) or 0) for x in (left, right) if literal(x) is not None]
            return any(map(part, sides)) and min(factors, default=1) >= FACTOR
        case ast.BinOp(left, ast.Div(), right):
            return part(left) or whole(left, right)
        case ast.BinOp(left, ast.Pow(), _) | ast.UnaryOp(_, left):
            return part(left)
        case ast.IfExp(_, one, other):
            return part(one) and part(other)
    return True


def whole(left: ast.expr, right: ast.expr) -> bool:
    """1/n and n/m of whole numbers, one of them computed."""
    parts = [x for side in (left, right) for x in ast.walk(side)]
    numbers = [x.value for x in parts if isinstance(x, ast.Constant)]
    computed = any(isinstance(x, ast.Name) for x in parts)
    return computed and all(isinstance(x, int) for x in numbers)


def slack(node: ast.expr) -> bool:
    """Whether a side of a comparison is widened: ``y + 1e-9``, ``y * (1 - 1e-9)``."""
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub(), right):
            small = [literal(x) for x in (left, right)]
            return any(x is not None and 0 < abs(x) < FACTOR for x in small) or (
                slack(left) or slack(right)
            )
        case ast.BinOp(left, ast.Mult() | ast.Div(), right):
            near = [literal(x) for x in (left, right)]
            return any(x is not None and 0 < abs(x - 1) < FACTOR for x in near) or (
                slack(left) or slack(right)
            )
    return False


def halved(node: ast.Call) -> bool:
    """Whether a library's own bound joins the given one: it may be the larger."""
    named = {k.arg for k in node.keywords}
    name = name_of(node.func)
    if name == "assert_allclose":
        return "atol" in named and "rtol" not in named and len(node.args) < 3
    whole = name == "isclose" and name_of(getattr(node.func, "value", node)) == "math"
    return name in BOTH and not whole and len(node.args) < 4 and not {"rtol", "atol"} <= named


def typed(source: str) -> Iterator[tuple[int, str]]:
    """Bounds of a file that nothing derives: (line, text)."""
    tree = ast.parse(source)
    names = Names(tree)
    different = {
        id(side)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.NotEq)
        for side in (node.left, *node.comparators)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and id(node) not in different:
            keywords, places = BOUNDS.get(name_of(node.func), (set(), ()))
            bounds = [k.value for k in node.keywords if k.arg in keywords]
            bounds += [node.args[place] for place in places if place < len(node.args)]
            if halved(node) or any(not derived(bound, names) for bound in bounds):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for less, op, more in zip(sides, node.ops, sides[1:], strict=False):
                if isinstance(op, ast.Gt | ast.GtE):
                    less, more = more, less
                if not isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
                    continue
                sized = any(
                    isinstance(x, ast.Call) and name_of(x.func) in SIZES for x in ast.walk(less)
                )
                size = literal(more)
                bound = sized and not (derived(more, names) or (size or 0) >= 1)
                if bound or slack(less) or slack(more):
                    yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_bound_is_derived(path: Path) -> None:
    assert list(typed(path.read_text(encoding="utf-8"))) == []


PLANTED = (
    "assert x == pytest.approx(y, rel=1e-9)",
    "assert x == approx(y, 1e-9)",
    "assert x == approx(y, abs=1e-6 if single else 0)",
    "np.testing.assert_allclose(x, y, 1e-7)",
    "np.testing.assert_allclose(x, y, rtol=1e-9 * (1 + scale))",
    "np.testing.assert_allclose(x, y, atol=double(3) + 1e-12)",
    "np.testing.assert_allclose(x, y, atol=max(double(3), 2 * 1e-12))",
    "np.testing.assert_array_almost_equal(x, y, decimal=7)",
    "torch.testing.assert_close(x, y, rtol=0, atol=0.1)",
    "torch.testing.assert_close(x, y, rtol=double(3))",
    "assert np.allclose(x, y)",
    "np.testing.assert_allclose(x, y, atol=double(3))",
    "near = 1e-9\nassert x == approx(y, rel=near)",
    "near, far = double(3), 1e-9\nassert x == approx(y, rel=far)",
    "def f(near=1e-9):\n    assert x == approx(y, rel=near)",
    "assert abs(x - y) < 1e-12",
    "assert 1e-12 > np.abs(x - y).max()",
    "assert x <= y + 1e-9",
    "assert x <= y * (1 + 1e-9)",
    "assert z >= y - 1e-9",
    "assert x == approx(y, rel=2 / 400)",
    "tol = 1e-9\nassert x == approx(y, rel=3 * tol)",
    "assert x <= 1.0000001 * y",
)
FINE = (
    "assert x == pytest.approx(y, rel=0, abs=0)",
    "assert x == pytest.approx(y)",
    "near = 3 * double(8, size / 0.01)\nassert x == approx(y, rel=near / 1e-4)",
    "assert x == approx(y, abs=1 / 4000 / accepted)",
    "assert x == approx(y, abs=np.sqrt(double(8)) + printed(10))",
    "np.testing.assert_allclose(x, y, rtol=backend.rounding(4))",
    "assert x == approx(y, rel=stated(1e-8, 'verl adds it to the tokens'))",
    "h = 1e-5\ngot = quotient(f, h)\nassert x == approx(y, abs=0, rel=h * slope)",
    "assert abs(a - b) <= 2",
    "assert x != approx(y, rel=0.1)",
    "assert abs(x) > 1e-3",
    "assert test.pvalue < 1e-6",
    "assert f(x + 1e-9) < 0.5 <= f(x - 1e-9)",
    "assert abs(x - y) <= step * size",
)


@pytest.mark.parametrize("source", PLANTED)
def test_a_typed_bound_is_seen(source: str) -> None:
    assert len(list(typed(source))) == 1


@pytest.mark.parametrize("source", FINE)
def test_a_derived_bound_is_not(source: str) -> None:
    assert list(typed(source)) == []


def test_the_functions_give_what_their_formulas_say() -> None:
    u = 2.0**-53
    assert tolerance.unit_roundoff("float64") == u
    assert tolerance.unit_roundoff("torch.bfloat16") == 2.0**-8
    assert tolerance.rounding("float64", 4) == 4 * u / (1 - 4 * u)  # γ₄ below 36, λ√n·u above
    assert tolerance.rounding("float64", 3600) < 3600 * u * 0.11
    assert tolerance.double(4, 5.0) == 10 * tolerance.rounding("float64", 4)
    assert tolerance.rounding("float32", 1) == 2.0**-24 / (1 - 2.0**-24)
    assert tolerance.printed(3) == tolerance.significant(4) / 1 == 0.0005
    assert tolerance.chance(0.5, 100, 2.0) == 0.1
    assert tolerance.minimum("float64", 8.0, 4.0) == 2 * math.sqrt(u)
    with pytest.raises(ValueError, match="whose number"):
        tolerance.stated(1e-9, "")
