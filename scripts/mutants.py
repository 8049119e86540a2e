"""Mutation testing: break one line of a theory package at a time, and see whether a test fails.

Usage: python scripts/mutants.py RESULTS.jsonl [--rooms base,arc] [--count 240] [--seed 0]

Works on a copy of the project, never on the working tree. First every test of the packages is run
once and the functions that it calls are noted. Then each mutant of the sample is tried: a child
process, forked from one that has the libraries loaded, runs the tests that call the mutated
function, those at the mirrored path first and the quickest first, until one fails. A mutant of a
line outside functions meets all tests of its package. Results are appended as they come; a second
call goes on with what is missing. A mutant survives when all these tests pass. Exits 1 below the
share that ``--least`` asks for.
"""

import argparse
import ast
import contextlib
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("base", "targets", "operators", "diagnostics", "procedure", "regimes", "arc")
EXTRA = (
    "candidates",
    "laws/test_possible_numbers.py",
    "laws/test_selection_rules.py",
    "laws/test_targets.py",
    "laws/test_trust_regions.py",
    "laws/test_updates.py",
)
"""Further tests of the packages that need neither a model nor a run."""
MEMORY = 6 << 30
"""Bytes of data that a child may hold: a mutant may make an array of any size."""


@dataclass(frozen=True)
class Mutant:
    """One changed expression.

    Attributes:
        room: Package.
        file: Path under the project.
        line: Line of the expression.
        function: Line of the innermost function that holds it, or 0.
        start: First byte of the expression.
        stop: Byte after it.
        kind: What was done.
        before: The expression.
        after: What it became.
    """

    room: str
    file: str
    line: int
    function: int
    start: int
    stop: int
    kind: str
    before: str
    after: str

    @property
    def key(self) -> str:
        """Name that stays as long as the file does up to the mutated place."""
        text = f"{self.file}:{self.line}:{self.start}:{self.before}:{self.after}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]


BINARY = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
OPPOSITE = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
NAMES = {"min": "max", "minimum": "maximum", "any": "all", "floor": "ceil", "log": "log1p"} | {
    "exp": "expm1",
    "sum": "mean",
    "low": "high",
    "before": "after",
}
NAMES |= {b: a for a, b in NAMES.items()}


SYMMETRIC = {"min", "max", "minimum", "maximum", "logaddexp"}
"""Functions of which the first two arguments may change places."""


def changes(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """What an expression may become: (kind, expression)."""
    yield from changed_operators(node)
    match node:
        case ast.IfExp(test, body, orelse):
            yield "swapped branches", ast.IfExp(test, orelse, body)
        case ast.Constant(bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(int() as value):
            yield "off by one", ast.Constant(value + 1)
        case ast.Constant(float() as value):
            yield "constant", ast.Constant(value * 2 if value else 1.0)
        case ast.Call(function, [first, second, *rest], keywords) if (
            not any(isinstance(x, ast.Starred) for x in (first, second))
            and ast.unparse(function).split(".")[-1] not in SYMMETRIC
        ):
            yield "swapped arguments", ast.Call(function, [second, first, *rest], keywords)
        case ast.Attribute(value, str() as name) if name in NAMES:
            yield "neighbour", ast.Attribute(value, NAMES[name])
        case ast.Name(str() as name, ast.Load()) if name in NAMES:
            yield "neighbour", ast.Name(NAMES[name], ast.Load())


def changed_operators(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The same with another operator."""
    match node:
        case ast.BinOp(left, op, right) if type(op) in BINARY:
            yield "arithmetic", ast.BinOp(left, BINARY[type(op)](), right)
        case ast.Compare(left, [op], right):
            if type(op) in BOUNDARY:
                yield "boundary", ast.Compare(left, [BOUNDARY[type(op)]()], right)
            yield "comparison", ast.Compare(left, [OPPOSITE[type(op)]()], right)
        case ast.BoolOp(op, values):
            other = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield "boolean", ast.BoolOp(other, values)
        case ast.UnaryOp(ast.Not(), operand):
            yield "dropped not", operand
        case ast.UnaryOp(ast.USub(), operand) if not isinstance(operand, ast.Constant):
            yield "dropped minus", operand


def computing(node: ast.AST) -> list[ast.AST] | None:
    """The part of a statement that computes, where that is not all of it; else None."""
    match node:
        case (
            ast.FunctionDef(args=arguments, body=body)
            | ast.AsyncFunctionDef(args=arguments, body=body)
        ):
            late = [x for x in arguments.kw_defaults if x is not None]
            return [*arguments.defaults, *late, *body]
        case ast.Raise() | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return []
        case ast.With(body=body):  # `np.errstate(over="ignore")` does not compute
            return list(body)
        case ast.If(test=test, orelse=orelse) if "TYPE_CHECKING" in ast.unparse(test):
            return list(orelse)  # the rest is for type checkers alone
    return None


def expressions(node: ast.AST, function: int = 0) -> Iterator[tuple[ast.expr, int]]:
    """Every expression that computes, with the line of its function; no text and no annotation."""
    own = computing(node)
    if own is not None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = min([node.lineno, *(x.lineno for x in node.decorator_list)])
        for child in own:
            yield from expressions(child, function)
        return
    if isinstance(node, ast.expr):
        yield node, function
    skipped = {"annotation", "returns", "decorator_list", "bases", "keywords", "type_params"}
    if not isinstance(node, ast.ClassDef):
        skipped -= {"keywords"}
    for name, value in ast.iter_fields(node):
        if name not in skipped:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from expressions(child, function)


def mutants_of(room: str, path: Path) -> list[Mutant]:
    """Every mutant of one file."""
    data = path.read_bytes()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    result = []
    for node, function in expressions(ast.parse(data)):
        start = starts[node.lineno - 1] + node.col_offset
        stop = starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[operator]
        before = data[start:stop].decode()
        for kind, other in changes(node):
            after = ast.unparse(ast.fix_missing_locations(other))
            place = str(path.relative_to(ROOT))
            result.append(
                Mutant(room, place, node.lineno, function, start, stop, kind, before, after)
            )
    return result


def sample(rooms: list[str], count: int, seed: int) -> list[Mutant]:
    """``count`` mutants, as many of each package as its share of all, at least 20; by seed."""
    every = {
        room: [
            m for p in sorted((ROOT / "src/tod" / room).rglob("*.py")) for m in mutants_of(room, p)
        ]
        for room in rooms
    }
    total = sum(map(len, every.values()))
    chosen = []
    for room, mutants in every.items():
        wanted = min(len(mutants), max(20, round(count * len(mutants) / total)))
        chosen += random.Random(f"{seed} {room}").sample(mutants, wanted)  # noqa: S311
    return chosen


class Calls:
    """Pytest plugin: which functions of the package every test calls, and how long it takes."""

    def __init__(self, source: Path) -> None:
        """Functions of the files under ``source``."""
        self.source = f"{source}{os.sep}"
        self.seen: set[Any] = set()
        self.tests: dict[str, dict[str, Any]] = {}
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a failure."""
        if report.failed:
            self.failed.append(f"{report.nodeid}\n{report.longreprtext[-2000:]}")

    def profile(self, frame: Any, event: str, _: Any) -> None:
        """Note a call."""
        if event == "call":
            self.seen.add(frame.f_code)

    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> None:  # noqa: ARG002
        """Begin a test."""
        self.seen = set()
        self.start = time.perf_counter()
        sys.setprofile(self.profile)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """End a test."""
        sys.setprofile(None)
        own = [code for code in self.seen if code.co_filename.startswith(self.source)]
        places = {(code.co_filename[len(self.source) :], code.co_firstlineno) for code in own}
        calls = sorted(f"src/tod/{name}:{line}" for name, line in places)
        self.tests[nodeid] = {"seconds": time.perf_counter() - self.start, "calls": calls}


class Chosen:
    """Pytest plugin: run the chosen tests only, in their order, and keep the name of a failure."""

    def __init__(self, tests: list[str]) -> None:
        """Names of the tests."""
        self.order = {name: place for place, name in enumerate(tests)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Select and sort."""
        items[:] = [item for item in items if item.nodeid in self.order]
        items.sort(key=lambda item: self.order[item.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep the first failure."""
        if report.failed and not self.failed:
            self.failed = report.nodeid


class Quick:
    """Pytest plugin: a failing example is enough, it need not be the smallest one."""

    def pytest_sessionstart(self) -> None:
        """Change the profile that conftest has loaded."""
        from hypothesis import Phase, settings

        phases = [Phase.explicit, Phase.generate]
        settings.register_profile("quick", settings.default, phases=phases, database=None)
        settings.load_profile("quick")


def in_child(work: Path, arguments: list[str], plugin: Any, seconds: float) -> tuple[int, Any]:
    """Exit code of pytest in a forked child, and what the plugin tells; −1 after ``seconds``."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.setpgid(0, 0)  # its own group, but the session and so the priority of this process
        os.chdir(work)
        sys.dont_write_bytecode = True
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        sys.path[:0] = [str(work / "src")]
        os.environ |= {"PYTHONPATH": str(work / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        import pytest

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            options = [
                "-p",
                "no:cacheprovider",
                "-p",
                "no:xdist",
                "-q",
                "--tb=no",
                "--assert=plain",
                *arguments,
            ]
            code = int(pytest.main(options, plugins=[plugin, Quick()]))
        told = plugin.failed or getattr(plugin, "tests", "")
        with os.fdopen(write, "w") as pipe:
            json.dump([code, told], pipe)
        os._exit(0)
    os.close(write)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(child, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.waitpid(child, 0)
    return tuple(json.loads(text)) if text else (-1, "")  # type: ignore[return-value]


def copied(work: Path) -> None:
    """The tracked files of the project, with bytecode of the sources as they are."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, work / name)
    subprocess.run([sys.executable, "-m", "compileall", "-q", work / "src"], check=True)


def called_by(work: Path, rooms: list[str], store: Path) -> dict[str, dict[str, Any]]:
    """Functions that every test calls; kept beside the results until a file changes."""
    folders = [f"tests/{name}" for name in (*rooms, *EXTRA) if (work / "tests" / name).exists()]
    files = sorted(p for top in ("src", "tests") for p in (work / top).rglob("*.py"))
    state = hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest() + " ".join(folders)
    if store.is_file():
        known = json.loads(store.read_text())
        if known["state"] == state:
            return known["tests"]  # type: ignore[no-any-return]
    tests: dict[str, Any] = {}
    for folder in folders:
        print(f"running {folder} once", flush=True)
        code, told = in_child(work, [folder], Calls(work / "src/tod"), 3600)
        if code not in (0, 5):
            sys.exit(f"{folder} fails without any mutant (pytest exit code {code}): {told}")
        tests |= told
    store.write_text(json.dumps({"state": state, "tests": tests}))
    return tests


def nearest(mutant: Mutant, tests: dict[str, dict[str, Any]]) -> list[str]:
    """Tests that call the mutated function: mirrored path, then package, then the others."""
    mirrored = mutant.file.replace("src/tod/", "tests/").rsplit("/", 1)
    file, folder = f"{mirrored[0]}/test_{mirrored[1]}", f"{mirrored[0]}/"
    place = f"{mutant.file}:{mutant.function}"
    near = [
        name
        for name, known in tests.items()
        if (place in known["calls"] if mutant.function else name.startswith(folder))
    ]
    far = {name: (not name.startswith(file)) + (not name.startswith(folder)) for name in near}
    return sorted(near, key=lambda name: (far[name], tests[name]["seconds"]))


def tried(mutant: Mutant, tests: dict[str, dict[str, Any]], work: Path) -> dict[str, Any]:
    """The mutant's fate."""
    path = work / mutant.file
    data = path.read_bytes()
    broken = data[: mutant.start] + f"({mutant.after})".encode() + data[mutant.stop :]
    chosen = nearest(mutant, tests)
    begin = time.perf_counter()
    result, killer = "survived", ""
    try:
        compile(broken, mutant.file, "exec")
        path.write_bytes(broken)
        shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
        usual = sum(tests[name]["seconds"] for name in chosen)
        if chosen:
            files = list(dict.fromkeys(name.split("::")[0] for name in chosen))
            code, killer = in_child(work, ["-x", *files], Chosen(chosen), 30 + 5 * usual)
            result = "survived" if code == 0 else "timeout" if code == -1 else "killed"
    except SyntaxError:
        result = "killed"
    finally:
        path.write_bytes(data)
    spent = round(time.perf_counter() - begin, 2)
    tests_run = len(chosen)
    return (
        asdict(mutant)
        | {"key": mutant.key, "result": result}
        | {
            "killer": killer,
            "tests": tests_run,
            "seconds": spent,
        }
    )


def table(rows: list[dict[str, Any]]) -> tuple[str, float]:
    """Counts by package, the survivors, and the share that was killed."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        counts[row["room"]][row["result"]] += 1
    lines = ["package      mutants  killed  survived"]
    total: Counter[str] = Counter()
    for room, by in sorted(counts.items()):
        total += by
        lines.append(f"{room:12} {by.total():7} {by.total() - by['survived']:7} {by['survived']:9}")
    alive = total["survived"]
    share = 1 - alive / max(total.total(), 1)
    lines.append(
        f"{'all':12} {total.total():7} {total.total() - alive:7} {alive:9}  {share:.1%} killed"
    )
    for row in rows:
        if row["result"] == "survived":
            short = " ".join(row["before"].split()), " ".join(row["after"].split())
            lines.append(
                f"{row['file']}:{row['line']}  {short[0]}  ->  {short[1]}  ({row['tests']})"
            )
    return "\n".join(lines), share


def main() -> int:
    """Sample, try what is missing, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--rooms", default=",".join(ROOMS))
    parser.add_argument("--count", type=int, default=280)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--least", type=float, default=0.95)
    options = parser.parse_args()
    rooms = options.rooms.split(",")
    mutants = sample(rooms, options.count, options.seed)
    known: dict[str, dict[str, Any]] = {}
    if options.results.is_file():
        rows = map(json.loads, options.results.read_text(encoding="utf-8").splitlines())
        known = {row["key"]: row for row in rows}
    import hypothesis  # noqa: F401  # loaded once, before every fork
    import mpmath  # noqa: F401
    import pydantic  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder).resolve()
        copied(work)
        missing = [m for m in mutants if m.key not in known]
        store = options.results.with_suffix(".calls.json")
        tests = called_by(work, rooms, store) if missing else {}
        for number, mutant in enumerate(missing, 1):
            row = known[mutant.key] = tried(mutant, tests, work)
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            place = f"{mutant.file}:{mutant.line}"
            print(
                f"{number}/{len(missing)} {row['result']:9}{row['seconds']:6.1f} s {place}",
                flush=True,
            )
    text, share = table([known[m.key] for m in mutants])
    print(text)
    return int(share < options.least)


if __name__ == "__main__":
    sys.exit(main())
