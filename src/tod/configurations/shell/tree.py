"""A script's syntax tree, by the grammar of bash."""

from collections.abc import Iterator
from functools import cache
from typing import Any

Node = Any
"""A node of the tree; the library that makes it brings no types of its own."""


@cache
def _parser() -> Any:
    import tree_sitter
    import tree_sitter_bash

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


def parse(text: str) -> Node:
    """The whole script; what the grammar cannot place is a node ``ERROR``."""
    return _parser().parse(text.encode("utf-8", "surrogatepass")).root_node


def text_of(node: Node) -> str:
    """The characters of a node."""
    return str(node.text.decode("utf-8", "surrogatepass"))


def every(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    for child in node.children:
        yield from every(child)


def words_of(nodes: list[Node]) -> list[str]:
    """The words that nodes spell: those without a space between them are one."""
    words: list[str] = []
    end = None
    for node in nodes:
        if words and node.start_byte == end:
            words[-1] += text_of(node)
        else:
            words.append(text_of(node))
        end = node.end_byte
    return words


def assigned(node: Node) -> frozenset[str]:
    """Names that something in a node gives a value."""
    found = set()
    for inner in every(node):
        if inner.type == "variable_name" and inner.parent is not None:
            of = inner.parent.type
            if of in ("variable_assignment", "for_statement", "unset_command") or (
                of == "subscript" and inner.parent.parent.type == "variable_assignment"
            ):
                found.add(text_of(inner))
        elif inner.type in ("postfix_expression", "unary_expression", "binary_expression"):
            found |= {text_of(child) for child in inner.children if _name(child)}
        elif inner.type == "command" and text_of(inner.children[0]) in _READING:
            found |= {text_of(child) for child in inner.children[1:] if child.type == "word"}
    return frozenset(found)


_READING = ("read", "mapfile", "readarray", "getopts", "let", "printf")


def _name(node: Node) -> bool:
    plain = node.type in ("variable_name", "word")
    return plain and node.parent.parent.type in ("compound_statement", "c_style_for_statement")
