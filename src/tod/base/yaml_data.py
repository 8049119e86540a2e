"""YAML as plain data: the one loader of the project, for files that may be hostile.

No code is run. Size, depth and what aliases expand to are bounded before anything walks the data:
a kilobyte of nested aliases stands for 10^9 items, and some hundred brackets exhaust the stack.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tod.base.errors import SpecError
from tod.base.text import what_is

__all__ = ["parse_yaml", "read_mapping", "read_packaged", "read_yaml"]

MOST_BYTES = 1 << 20
"""Largest text that is parsed: a recipe or configuration has some kilobytes."""
MOST_ITEMS = 100_000
"""Most scalars, lists and mappings, every alias counted as all that it stands for."""
MOST_DEPTH = 64
"""Deepest nesting."""
_MOST_DIGITS = 400
"""Longest number, characters: a double has at most 309 digits before its point."""


def read_yaml(path: Path) -> Any:
    """Plain data of a YAML file; never code.

    Raises:
        SpecError: The file is missing, unreadable, not YAML (with its line), or beyond the bounds.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MOST_BYTES + 1).decode("utf-8")
    except IsADirectoryError:
        raise SpecError(f"{path} is a directory; a recipe is a YAML file.") from None
    except FileNotFoundError:
        raise SpecError(
            f"{path}: no such file. Check the path; `tod atlas list` has names."
        ) from None
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read as UTF-8 text ({error}).") from None
    return parse_yaml(text, str(path))


def read_packaged(path: Path) -> Any:
    """Plain data of a YAML file of this package, read without bounds: half the time of `read_yaml`.

    Args:
        path: A file that came with the package, never a person's.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - a safe loader


def read_mapping(path: Path, needed: str) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Args:
        path: The file.
        needed: What belongs there, a sentence for the message.

    Raises:
        SpecError: As `read_yaml`, or it holds something else.
    """
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise SpecError(f"{path}: {what_is(data)}. {needed}")
    return data


def parse_yaml(text: str, where: str) -> Any:
    """Plain data of a YAML text.

    Args:
        text: The YAML.
        where: What holds it, for messages: a path, or an option with its value.

    Raises:
        SpecError: It is not YAML (with its line), repeats a key, or is beyond the bounds.
    """
    if len(text) > MOST_BYTES:
        raise SpecError(
            f"{where}: longer than {MOST_BYTES >> 20} MiB, which no recipe and no configuration is."
        )
    try:
        return yaml.load(text, Loader=_Bounded)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise SpecError(f"{where}: not valid YAML: {error}") from None
    except Exception as error:  # a tag on a value that it does not fit fails in many ways
        raise SpecError(
            f"{where}: not valid YAML: a value does not fit its tag ({type(error).__name__}: "
            f"{str(error)[:80]})"
        ) from None


if TYPE_CHECKING or not yaml.__with_libyaml__:
    _Safe = yaml.SafeLoader
else:
    from yaml.composer import Composer
    from yaml.constructor import SafeConstructor
    from yaml.cyaml import CParser
    from yaml.resolver import Resolver

    class _Safe(Composer, CParser, SafeConstructor, Resolver):
        """PyYAML's safe loader over the events of libyaml: the same nodes, six times as fast."""

        def __init__(self, stream: str) -> None:
            CParser.__init__(self, stream)
            for base in (Composer, SafeConstructor, Resolver):
                base.__init__(self)


class _Bounded(_Safe):
    """The safe loader with bounds; of two equal keys it refuses both."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = 0
        self.items = 0
        self.sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One node, counted with all that its aliases stand for."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        before = self.items
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self.sizes:
                raise _refused("an alias of something that holds it", mark)
            self.items += self.sizes[id(node)]
        else:
            self.depth += 1
            self.items += 1
            if self.depth > MOST_DEPTH:
                raise _refused(f"nested deeper than {MOST_DEPTH}", mark)
            node = super().compose_node(parent, index)
            self.depth -= 1
            self.sizes[id(node)] = self.items - before
        if self.items > MOST_ITEMS:
            raise _refused(f"more than {MOST_ITEMS} items, aliases written out", mark)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping whose keys differ."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                continue
            if key.value in seen:
                raise _refused(f"key {key.value!r} stands twice in one mapping", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: Any) -> int | float:
        """A number that a double could hold the size of."""
        if len(node.value) > _MOST_DIGITS:
            raise _refused(f"a number of {len(node.value)} characters", node.start_mark)
        whole = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


for _tag in ("int", "float"):
    _Bounded.add_constructor(f"tag:yaml.org,2002:{_tag}", _Bounded.construct_number)


def _refused(why: str, mark: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, why, mark)
