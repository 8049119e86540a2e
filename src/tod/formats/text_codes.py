"""Codes of texts, taken while rollouts are read: equal texts have equal codes.

Findings tell equal answers and prompts apart. Where a reader has the lines at hand it takes the
codes then, and no second pass over the files is needed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from tod.formats.jsonl import Lines, plain_text


@dataclass(frozen=True)
class WithTexts:
    """How lines are decoded with their texts.

    Attributes:
        lines: A decoder whose rows have every attribute of the rows without texts.
        prompt: What a row holds as its prompt; bytes are JSON.
        completion: What it holds as its completion.
    """

    lines: Lines
    prompt: Callable[[Any], Any]
    completion: Callable[[Any], Any]

    def in_all(self, items: Sequence[Any]) -> bool:
        """Whether rows are of the decoder's type: those of a block are of one."""
        return bool(items) and isinstance(items[0], self.lines.kind)

    def codes(self, items: Sequence[Any], digest: Callable[[str], int]) -> dict[str, Any]:
        """Codes of the rows' prompts and completions, and the completions' characters."""
        asked = [*map(self.prompt, items)]
        if isinstance(asked[0], bytes):
            known = {raw: msgspec.json.decode(raw) for raw in set(asked)}
            asked = [known[raw] for raw in asked]
        prompts, completions = _plain(asked), _plain([*map(self.completion, items)])
        told = {
            "prompt": map(digest, prompts),
            "completion": map(digest, completions),
            "characters": map(len, completions),
        }
        return {name: np.fromiter(x, np.int64, len(items)) for name, x in told.items()}


def _plain(values: list[Any]) -> list[str]:
    """Values as texts; most are."""
    return values if {*map(type, values)} == {str} else [*map(plain_text, values)]
