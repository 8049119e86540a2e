"""The function behind each kind of utility, all with the one signature of a reward function."""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tod.base.extras import load
from tod.engine.tasks import countdown, sums
from tod.engine.utilities.imports import load_function
from tod.engine.utilities.utility_specs import (
    CountdownUtility,
    CustomUtility,
    ExactMatchUtility,
    MathVerifyUtility,
    OverlongUtility,
    SumsUtility,
    TextUtility,
)
from tod.reranking.answers import tagged_answer

Row = Mapping[str, Any]
"""A candidate as a utility sees it: prompt, completion, text, columns."""


def score_rows(spec: TextUtility, rows: Sequence[Row]) -> list[float | None]:
    """What the utility of ``spec`` returns for some candidates; length and values unchecked.

    Args:
        spec: The utility.
        rows: Each with ``prompt`` and ``completion`` as the user wrote them (text or messages),
            ``text`` of the completion, ``columns``, and optionally token ``ids``.

    Raises:
        TypeError: A custom function returned something that is no list of numbers.
        Exception: Whatever the utility raises.
    """
    if isinstance(spec, CustomUtility):
        return _numbers(_custom(spec.target, rows))
    if isinstance(spec, OverlongUtility):
        return [overlong(len(row["ids"]), spec.longest, spec.buffer) for row in rows]
    return [_score(spec, row["prompt"], row["text"], row["columns"]) for row in rows]


def overlong(length: int, longest: int, buffer: int) -> float:
    """DAPO's punishment of a completion's length in tokens, in [−1, 0]. See `OverlongUtility`.

    Source: DAPO, 2503.14476, eq. 13 (equation overlong-penalty)
    """
    return -min(max((length - (longest - buffer)) / buffer, 0.0), 1.0)


def complaint(error: Exception) -> str:
    """Type and message of an exception; the message alone for a KeyError, which quotes it."""
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return f"{type(error).__name__}: {message}"


def _score(spec: TextUtility, prompt: Any, text: str, columns: Row) -> float:
    """Utility of one candidate, for the kinds that the package carries."""
    if isinstance(spec, CountdownUtility):
        numbers, target = _column(columns, "numbers"), _column(columns, "target")
        return countdown.check(text, numbers, target, spec.partial, spec.distance)
    if isinstance(spec, SumsUtility):
        return sums.check(text, _column(columns, "first"), _column(columns, "total"))
    if isinstance(spec, ExactMatchUtility):
        return float(text.strip() == str(_column(columns, spec.answer)).strip())
    if isinstance(spec, MathVerifyUtility):
        return _math_verify(text, str(_column(columns, spec.answer)))
    metadata = columns.get("metadata") or {}
    name = getattr(spec, "task", None) or metadata.get("source_dataset")
    if name is None:
        raise KeyError(
            "the row's metadata names no `source_dataset`; set `task:` to the name of the generator"
        )
    entry = {**columns, "question": prompt, "metadata": metadata}
    tagged = tagged_answer(text)
    return float(_gym_scorer(str(name))(text if tagged is None else tagged, entry))


def _column(columns: Row, name: str) -> Any:
    """A column that the utility cannot do without."""
    if columns.get(name) is None:
        known = ", ".join(sorted(columns)) or "none"
        raise KeyError(f"the task has no column {name!r} for this row. Columns: {known}")
    return columns[name]


def _math_verify(text: str, answer: str) -> float:
    """Verdict of math-verify; its own limits of five seconds need the main thread of a process."""
    math_verify = load("math_verify")
    gold = math_verify.parse(answer) or math_verify.parse(f"${answer}$")
    if not gold:
        raise ValueError(f"the answer {answer!r} is no mathematics that math-verify can parse")
    return float(math_verify.verify(gold, math_verify.parse(text)))


@lru_cache(maxsize=32)
def _gym_scorer(name: str) -> Callable[[str, dict[str, Any]], float]:
    """The scorer of a reasoning-gym generator."""
    return load("reasoning_gym").get_score_answer_fn(name)  # type: ignore[no-any-return]


def _custom(path: str, rows: Sequence[Row]) -> Any:
    """Call a TRL reward function: everything by keyword, columns as lists, coroutines awaited."""
    function = load_function(path)
    names = dict.fromkeys(name for row in rows for name in row["columns"])
    arguments: dict[str, Any] = {
        name: [row["columns"].get(name) for row in rows]
        for name in names
        if name not in ("prompts", "completions", "completion_ids")
    }
    arguments["prompts"] = [row["prompt"] for row in rows]
    arguments["completions"] = [row["completion"] for row in rows]
    if all(row.get("ids") is not None for row in rows):
        arguments["completion_ids"] = [row["ids"] for row in rows]
    accepted = inspect.signature(function).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values()):
        arguments = {name: value for name, value in arguments.items() if name in accepted}
    result = function(**arguments)
    return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result


def _numbers(returned: Any) -> list[float | None]:
    """What a custom function returned, as plain numbers and None."""
    if isinstance(returned, str | bytes | dict) or not hasattr(returned, "__len__"):
        raise TypeError(f"it returned {returned!r:.80}, not a list with a number per completion")
    return [None if value is None else float(value) for value in returned]


async def _awaited(result: Any) -> Any:
    return await result
