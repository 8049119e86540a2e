"""Tabulates a framework's defaults by release, from its sources; nothing of them is run.

Usage: python scripts/framework_versions.py trl|verl SOURCE ... [--write]

A source is a clone of the framework's repository, of which every release's tag is read, or a wheel
of one release (`pip download --no-deps trl==1.16.0`), for releases that a clone lacks. TRL's
dataclasses are read by their syntax, with what they inherit within TRL and the literals that
`__post_init__` puts in the place of None; verl's trainer YAML is read with what it includes, as
verl itself has merged it, where a release holds that file.

Prints, by configuration class, every setting whose default decides something, with the release
from which each value holds, and every other name that some release lacks, wherever the framework
has it: of verl in any trainer's YAML, its recipes' too. `--write` puts the same into
src/tod/configurations/facts/versions/.
"""

import argparse
import ast
import re
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from tod.configurations.framework import facts, flat

OUT = Path(__file__).parent.parent / "src/tod/configurations/facts/versions"
ABSENT = "absent"
SOMEWHERE, IN_RECIPES = "somewhere", "in recipes"
"""Stand for the default of a setting that only other trainers have, or recipes of theirs, which
went into a repository of their own: such a name is never gone."""
OLDEST = {"trl": (0, 9), "verl": (0, 1)}
"""Releases before it are not read."""
NO_RELEASE = {("trl", "v0.10")}
"""Tags of which nothing was released."""
OF_OTHERS = frozenset(
    (
        *(
            "bf16",
            "learning_rate",
            "gradient_checkpointing",
            "logging_steps",
            "lr_scheduler_kwargs",
        ),
        *("use_liger_kernel", "torch_empty_cache_steps", "push_to_hub", "run_name", "world_size"),
        *("remove_unused_columns", "neftune_noise_alpha", "average_tokens_across_devices"),
        *("train_sampling_strategy", "trust_remote_code", "gradient_accumulation_steps"),
        "per_device_train_batch_size",
    )
)
"""Fields of `TrainingArguments` or `ModelConfig` that TRL's classes declare again: a file may have
them at any release."""
_PLACEMENT = re.compile(
    r"_target_|turbo|profil|transfer_queue|engine_kwargs|qat|prometheus|disaggreg|mtp|lora|ray_|"
    r"checkpoint|npu|nsight|veomni|optim|fsdp|megatron|engine|mindspeed|trace|torchtitan|teacher|"
    r"layer_name_map|^(?!actor_rollout_ref|algorithm|data|critic|trainer)\w+\."
)
"""Names of verl's that are left out: placement, measuring, and rewards, whose older settings newer
releases go on taking."""
_VERL = ("_generated_ppo_trainer.yaml", "ppo_trainer.yaml")
_NUMBERS = re.compile(r"v?(\d+(?:\.\d+)*(?:\.post\d+)?)$")


class Source(Protocol):
    """Files of one release."""

    def paths(self) -> list[str]:
        """Every file."""

    def text(self, path: str) -> str:
        """One of them."""


@dataclass(frozen=True)
class Tag:
    """A release as a tag of a clone."""

    clone: Path
    name: str

    def paths(self) -> list[str]:
        """Every file."""
        return _git(self.clone, "ls-tree", "-r", "--name-only", self.name).splitlines()

    def text(self, path: str) -> str:
        """One of them."""
        return _git(self.clone, "show", f"{self.name}:{path}")


@dataclass(frozen=True)
class Wheel:
    """A release as a wheel."""

    path: Path

    def paths(self) -> list[str]:
        """Every file."""
        with zipfile.ZipFile(self.path) as archive:
            return archive.namelist()

    def text(self, path: str) -> str:
        """One of them."""
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(path).decode("utf-8")


def main() -> None:
    """Read every release, print the table, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("framework", choices=("trl", "verl"))
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    found = releases(args.framework, args.sources)
    read = of_trl if args.framework == "trl" else of_verl
    by_release = {version: read(source) for version, source in found.items()}
    text = document(args.framework, found, by_release)
    print(text, end="")
    if args.write:
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / f"{args.framework}.yaml").write_text(text, encoding="utf-8")


def releases(framework: str, sources: list[Path]) -> dict[str, Source]:
    """Every release of the sources, oldest first; a tag goes before a wheel."""
    found: dict[str, Source] = {}
    for path in sources:
        if path.suffix == ".whl":
            found.setdefault(path.name.split("-")[1], Wheel(path))
            continue
        for tag in _git(path, "tag").splitlines():
            match = _NUMBERS.match(tag)
            if match and (framework, tag) not in NO_RELEASE:
                found[spelled(match[1])] = Tag(path, tag)
    ordered = sorted(found, key=numbers)
    return {v: found[v] for v in ordered if numbers(v) >= OLDEST[framework]}


def spelled(version: str) -> str:
    """Three numbers at least: YAML reads two as a number."""
    return version if version.count(".") > 1 else f"{version}.0"


def numbers(version: str) -> tuple[int, ...]:
    """A version's numbers, for order; of `0.2.0.post1` 0, 2, 0, 1."""
    return tuple(map(int, version.replace("post", "").split(".")))


def of_trl(source: Source) -> dict[str, dict[str, Any]]:
    """Every field of every configuration class that we read, with its default."""
    classes = _classes(source)
    return {name: _fields(classes, name) for name in facts("trl").defaults if name in classes}


def _classes(source: Source) -> dict[str, tuple[ast.ClassDef, dict[str, Any]]]:
    """Class of TRL's: its syntax, and its module's enumerations; of one name the longest."""
    found: dict[str, tuple[ast.ClassDef, dict[str, Any]]] = {}
    for path in source.paths():
        if not re.match(r"trl/.*(config|utils)\.py$", path):
            continue
        tree = ast.parse(source.text(path))
        members = {
            f"{node.name}.{line.targets[0].id}": line.value.value
            for node in tree.body
            if isinstance(node, ast.ClassDef)
            for line in node.body
            if isinstance(line, ast.Assign)
            and isinstance(line.targets[0], ast.Name)
            and isinstance(line.value, ast.Constant)
        }
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                longest = found.get(node.name)
                if longest is None or len(longest[0].body) < len(node.body):
                    found[node.name] = (node, members)
    return found


def _fields(classes: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Fields of a class with their defaults, over those that it inherits within TRL."""
    node, members = classes[name]
    fields: dict[str, Any] = {}
    for base in node.bases:
        if getattr(base, "id", None) in classes:
            fields |= _fields(classes, base.id)
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            fields[line.target.id] = _default(line.value, members)
        if isinstance(line, ast.FunctionDef) and line.name == "__post_init__":
            fields |= dict(_put_for_none(line, fields))
    return fields


def _default(node: ast.expr | None, members: Mapping[str, Any]) -> Any:
    """A field's default; a text for what its syntax does not say."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "field":
        given = {word.arg: word.value for word in node.keywords}
        if "default" in given:
            return _default(given["default"], members)
        factory = given.get("default_factory")
        node = factory.body if isinstance(factory, ast.Lambda) else factory
        if getattr(node, "id", "") in ("list", "dict"):
            return [] if node.id == "list" else {}  # type: ignore[union-attr]
    if node is None:
        return None
    shown = ast.unparse(node)
    if shown in members:
        return members[shown]
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return f"computed: {shown}"
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _put_for_none(
    function: ast.FunctionDef, fields: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """What ``if self.x is None: self.x = …`` puts there, where that is a literal."""
    for node in function.body:
        if not (isinstance(node, ast.If) and len(node.body) == 1):
            continue
        match = re.fullmatch(r"self\.(\w+) is None", ast.unparse(node.test))
        line = node.body[0]
        if match and isinstance(line, ast.Assign) and fields.get(match[1], "") is None:
            named = ast.unparse(line.targets[0]) == f"self.{match[1]}"
            if named and isinstance(line.value, ast.Constant):
                yield match[1], line.value.value


def of_verl(source: Source) -> dict[str, dict[str, Any]]:
    """Every key of the trainer's YAML, flat, with its default; of an interpolation its text."""
    paths = set(source.paths())
    path = next(f"verl/trainer/config/{n}" for n in _VERL if f"verl/trainer/config/{n}" in paths)
    data = yaml.safe_load(source.text(path))
    elsewhere = {
        name: IN_RECIPES if path.startswith("recipe") else SOMEWHERE
        for path in sorted(paths, reverse=True)
        if re.match(r"(verl/trainer/config|recipe/.*config)/(?!sft)\w*trainer\w*\.yaml$", path)
        for name, _ in _leaves(yaml.safe_load(source.text(path)) or {})
    }
    return {"ppo": {**elsewhere, **dict(_leaves(data)), **flat(data)}}


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def document(
    framework: str,
    found: Mapping[str, Source],
    by_release: Mapping[str, dict[str, dict[str, Any]]],
) -> str:
    """The table as YAML."""
    from_wheels = [v for v, source in found.items() if isinstance(source, Wheel)]
    read = "the release's tag" + (f"; {', '.join(from_wheels)} its wheel" if from_wheels else "")
    lines = [
        f"# {framework}: defaults by release, written by scripts/framework_versions.py.",
        "# A value holds from the release it stands at until the next one of its row; `absent`:",
        "# there is no such setting from there on. Facts, no code of theirs.",
        *_wrapped(f"read from: {read}", "# "),
        *_wrapped(f"releases: {' '.join(found)}", "", "  "),
    ]
    older = set(facts(framework).renamed)
    read_here = {m: {*rows, *older} for m, rows in facts(framework).defaults.items()}
    methods = {method: None for rows in by_release.values() for method in rows}
    lines.append("defaults:")
    for method in methods:
        lines.append(f"  {method}:")
        rows = _rows(method, by_release)
        for name in sorted(read_here[method] & set(rows)):
            cells = ", ".join(f"{v}: {_cell(value)}" for v, value in rows[name])
            lines += _wrapped(f"{name}: {{{cells}}}", "    ", "      ")
    lines += ["# releases that have a name, of every name that not all have"]
    lines.append("names:")
    for method in methods:
        lines.append(f"  {method}:")
        by_span: dict[str, list[str]] = {}
        for name, cells in sorted(_rows(method, by_release, somewhere=True).items()):
            if name not in OF_OTHERS and not _PLACEMENT.search(name):
                by_span.setdefault(_spans(cells, method, by_release), []).append(name)
        for span in sorted(set(by_span) - {""}):
            lines.append(f"    '{span}': >-")
            lines += _wrapped(" ".join(by_span[span]), "      ")
    return "\n".join(lines) + "\n"


def _rows(
    method: str, by_release: Mapping[str, Any], somewhere: bool = False
) -> dict[str, list[tuple[str, Any]]]:
    """Of every name of a method: (release, value from there on), changes alone.

    Args:
        method: The method.
        by_release: Everything that was read.
        somewhere: Whether a name that only other programs have counts.
    """
    having = [v for v, rows in by_release.items() if method in rows]
    names = {name for v in having for name in by_release[v][method]}
    found: dict[str, list[tuple[str, Any]]] = {}
    for name in names:
        cells: list[tuple[str, Any]] = []
        for version in having:
            value = by_release[version][method].get(name, ABSENT)
            value = ABSENT if value in (SOMEWHERE, IN_RECIPES) and not somewhere else value
            if not cells or repr(cells[-1][1]) != repr(value):
                cells.append((version, value))
        found[name] = cells
    return found


def _spans(cells: list[tuple[str, Any]], method: str, by_release: Mapping[str, Any]) -> str:
    """Releases that have a name, ``first..last first..``; empty if all have it."""
    if IN_RECIPES in (value for _, value in cells):
        return next(f"{version}.." for version, value in cells if value != ABSENT)
    there: list[tuple[str, bool]] = []
    for version, value in cells:
        if not there or there[-1][1] != (value != ABSENT):
            there.append((version, value != ABSENT))
    if len(there) == 1:
        return ""
    having = [v for v, rows in by_release.items() if method in rows]
    said = []
    for place, (version, has) in enumerate(there):
        if has:
            end = there[place + 1][0] if place + 1 < len(there) else ""
            said.append(f"{version}..{having[having.index(end) - 1] if end else ''}")
    return " ".join(said)


def _cell(value: Any) -> str:
    shown = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n")
    return shown.strip()


def _wrapped(text: str, indent: str, more: str | None = None) -> list[str]:
    """Lines of at most 100 columns."""
    import textwrap

    later = indent if more is None else more
    return textwrap.wrap(
        text,
        100,
        initial_indent=indent,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _git(clone: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", clone, *words], check=True, capture_output=True)
    return done.stdout.decode("utf-8")


if __name__ == "__main__":
    main()
