"""What a completion answers, as text and as codes that votes count."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from tod.engine.tasks.countdown import tagged_answer

_BOXED = "\\boxed{"


def answer(completion: str, pattern: str | None = None) -> str | None:
    r"""The answer of a completion, blanks at its ends removed; None where there is none.

    Args:
        completion: Its text.
        pattern: Regular expression; its last match counts, or the first group of it. None takes
            the last ``<answer>…</answer>``, else the last ``\boxed{…}``, else the whole text.
    """
    if pattern is not None:
        found = list(re.finditer(pattern, completion))
        text = "" if not found else (found[-1].group(1 if found[-1].re.groups else 0) or "")
    else:
        tagged = tagged_answer(completion)
        boxed = _boxed(completion) if tagged is None else tagged
        text = completion if boxed is None else boxed
    return text.strip() or None


def answer_codes(answers: Sequence[str | None]) -> Int[np.ndarray, " N"]:
    """Codes of the answers, equal for equal text, −1 for none."""
    codes = {text: code for code, text in enumerate(dict.fromkeys(a for a in answers if a))}
    return np.array([-1 if a is None else codes[a] for a in answers], dtype=np.int64)


def _boxed(completion: str) -> str | None:
    r"""What stands in the last ``\boxed{…}``, braces inside it matched."""
    start = completion.rfind(_BOXED)
    if start < 0:
        return None
    depth, begin = 1, start + len(_BOXED)
    for place in range(begin, len(completion)):
        depth += {"{": 1, "}": -1}.get(completion[place], 0)
        if depth == 0:
            return completion[begin:place]
    return None
