"""Words of a command: what YAML makes of them, and which of them is a program."""

import pytest

from tod.base import parse_yaml
from tod.configurations.shell.options import value_of
from tod.configurations.shell.recorded_programs import recorded_program

WORDS = "0 12 -3 1.5 -0.25 00.5 true False null 007 1_000 1. 10.0 [1,2] {a:1} 1:20 yes x.y-z"


@pytest.mark.parametrize("word", ["", *WORDS.split()])
def test_a_word_read_without_the_parser_is_what_the_parser_makes_of_it(word: str) -> None:
    assert repr(value_of(word)) == repr(parse_yaml(word, "here"))


def test_the_value_of_a_setting_is_no_program() -> None:
    words = ["python", "examples/math/train.py", "actor.backend=fsdp", "--config", "c.yaml"]
    there = recorded_program(words)
    assert there is not None
    assert (there[0].framework, there[1]) == ("areal", 1)
    words = ["python", "mine.py", "tool=lib/examples/run.py", "actor.backend=fsdp", "--config", "c"]
    assert recorded_program(words) is None
