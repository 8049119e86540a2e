"""Utilities that models on servers give: asked once a candidate, unknown where nothing comes."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import ModelError, SpecError
from tod.engine.utilities.utility_specs import JudgeUtility
from tod.serving.client import Client, Unavailable
from tod.serving.completions import answered_text, scored_text
from tod.serving.pool import NoServer, answers

REMEMBERED = 200_000
"""Judgements at most: a text whose judgement is among them is not asked again."""
_NAME = re.compile(r"\{([A-Za-z_]\w*)\}")
_DIGITS = r"[-+]?\d+(?:\.\d+)?"
_NUMBER = re.compile(rf"(?P<value>{_DIGITS})(?:\s*(?:/|\b(?:out\s+)?of\b)\s*(?P<whole>{_DIGITS}))?")


class Judges:
    """The judges of a run, with the connections to their servers and what they said."""

    def __init__(self, specs: Sequence[JudgeUtility]) -> None:
        """Make the connections; nothing is asked yet."""
        self.specs = tuple(specs)
        self.why: dict[str, str] = {}
        self._said: dict[tuple[str, str], float] = {}
        self._clients = {
            spec.name: [Client(url, timeout=spec.timeout, key=spec.key) for url in spec.server]
            for spec in specs
        }

    def close(self) -> None:
        """End the connections."""
        for clients in self._clients.values():
            for client in clients:
                client.close()

    def score(
        self, spec: JudgeUtility, rows: Sequence[Mapping[str, Any]]
    ) -> Float[np.ndarray, " N"]:
        """Utility of every candidate, NaN where it is unknown; ``why`` has the last reason.

        A question that was answered before is not asked again, neither in the batch nor later.

        Args:
            spec: The judge.
            rows: Columns of every candidate's row, its ``prompt`` and its ``completion``.

        Raises:
            SpecError: The question names a column that a row lacks.
        """
        texts = [question(spec, row) for row in rows]
        keys = {text: (spec.name, text) for text in texts}
        told = {text: self._said[key] for text, key in keys.items() if key in self._said}
        fresh = self._ask(spec, sorted(keys.keys() - told.keys()))
        if len(self._said) + len(fresh) > REMEMBERED:
            self._said.clear()
        self._said |= {keys[text]: value for text, value in fresh.items()}
        told |= fresh
        return np.array([told.get(text, math.nan) for text in texts])

    def _ask(self, spec: JudgeUtility, texts: Sequence[str]) -> dict[str, float]:
        """What servers say of some texts; one that fails is not in it."""
        told: dict[str, float] = {}

        def one(client: Client, text: str) -> None:
            try:
                told[text] = judged(client, spec, text)
            except Unavailable:
                raise
            except ModelError as error:
                self.why[spec.name] = str(error)

        # where it scores, one at a time: vLLM 0.32 with adapters stops for good at two on a CPU
        at_once = spec.in_flight if spec.options is None else 1
        try:
            answers(self._clients[spec.name], texts, one, in_flight=at_once, patience=spec.patience)
        except NoServer as error:
            self.why[spec.name] = " ".join(error.lost) or str(error)
        return dict(told)  # a late answer changes nothing any more


def question(spec: JudgeUtility, row: Mapping[str, Any]) -> str:
    """The text that the judge reads of a candidate.

    Raises:
        SpecError: It names a column that the row lacks.
    """

    def of(match: re.Match[str]) -> str:
        if match[1] not in row:
            known = ", ".join(sorted(map(str, row)))
            raise SpecError(
                f"utilities.{spec.name}.question names {{{match[1]}}}, and the rows have {known}."
            )
        return str(row[match[1]])

    return _NAME.sub(of, spec.question)


def judged(client: Client, spec: JudgeUtility, text: str) -> float:
    """What one server makes of one question.

    Raises:
        Unavailable: It did not answer.
        ModelError: It does not say what was asked.
    """
    if spec.options is not None:
        told = [scored_text(client, spec.model, text + option) for option in spec.options]
        return of_options(told, list(spec.options.values()))
    assert spec.scale is not None  # noqa: S101 - one of both is given
    said = answered_text(client, spec.model, text, spec.longest)
    return on_scale(said, spec.scale)


def of_options(told: Sequence[tuple[list[int], list[float]]], values: Sequence[float]) -> float:
    """Σ_j v_j p_j / Σ_j p_j, p_j = exp Σ_t log p over the tokens in which the options differ.

    Args:
        told: Of the question with every option: its tokens, and log-probs of all but the first.
        values: The utility of every option, v.

    Raises:
        ModelError: Two options are the same tokens to the judge, or one is the begin of another.

    Source: definition of an expectation over options (equation judge)
    """
    shared = 0
    while all(len(ids) > shared and ids[shared] == told[0][0][shared] for ids, _ in told):
        shared += 1
    if any(len(ids) <= shared for ids, _ in told):
        raise ModelError(
            "an option of the judge is the begin of another one in its tokens, or the same: "
            "give options that differ."
        )
    # log-prob of token t stands at t − 1; the first token of a text has none
    scores = np.array([sum(log_probs[max(shared - 1, 0) :]) for _, log_probs in told])
    shares = np.exp(scores - scores.max())
    return float(shares @ np.asarray(values) / shares.sum())


def on_scale(said: str, scale: tuple[float, float]) -> float:
    """The last number in a text, from the first end of the scale, 0, to the second, 1.

    ``7/10``, ``7 of 10`` and ``7 out of 10`` are the number 7 where 10 is the scale's upper end;
    shares of another number are of a scale that nobody asked for.

    Raises:
        ModelError: There is none, or it is not on the scale.
    """
    low, high = scale
    found = list(_NUMBER.finditer(said))
    value = math.nan
    if found:
        shared = found[-1]["whole"] is None or float(found[-1]["whole"]) == max(scale)
        value = float(found[-1]["value"]) if shared else math.nan
    if not min(scale) <= value <= max(scale):
        raise ModelError(f"the judge said {said[:80]!r}: no number from {low:g} to {high:g} in it.")
    return (value - low) / (high - low)
