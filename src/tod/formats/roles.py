"""Which columns of a table play which role.

Roles: ``context``, ``step``, ``candidate``, ``answer``, ``length``, ``lag`` (versions behind the
trainer), ``drawn_from`` (``mu`` or ``target``), ``prompt``, ``completion``, ``utility.<name>``,
``log_<policy>`` (sums over a sequence, nats) and ``log_<policy>_tokens``. Of nested rollouts also
``tokens`` (a list, whose size is the length, or a count) and what findings read: ``advantage``,
``truncated``, ``error``, ``evaluation``, ``turns``.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path

import msgspec

from tod.base import DataError, SpecError
from tod.candidates import POLICIES

LOGS = tuple(f"log_{name}" for name in POLICIES)
TEXTS = ("prompt", "completion")
WORDS = {"reward": "utility", "text": "completion"}
"""Other words for roles."""
NEAR = {
    "score": "utility",
    "scores": "utility",
    "prompt_id": "context",
    "group": "context",
    "group_id": "context",
    "uid": "context",
    "response": "completion",
    "output": "completion",
    "logp": "log_mu",
    "logprob": "log_mu",
    "logprobs": "log_mu",
    "old_log_probs": "log_old",
    "ref_log_prob": "log_ref",
    "label": "answer",
    "ground_truth": "answer",
    "iteration": "step",
}
"""What frameworks call a column → the role that it most likely plays, for messages."""
ROLES = ("context", "step", "candidate", *TEXTS, "length", "answer", "lag", "drawn_from")


@dataclass(frozen=True)
class Roles:
    """Which column plays which role."""

    columns: Mapping[str, str]

    @property
    def utilities(self) -> dict[str, str]:
        """Column by utility."""
        known = self.columns.items()
        return {r.removeprefix("utility."): c for r, c in known if r.startswith("utility.")}

    @property
    def logs(self) -> dict[str, str]:
        """Column of sequence sums by policy."""
        return {r[4:]: c for r, c in self.columns.items() if r in LOGS}

    @property
    def tokens(self) -> dict[str, str]:
        """Column of token lists by policy."""
        return {r[4:-7]: c for r, c in self.columns.items() if r.endswith("_tokens")}

    def check(self, path: Path, there: Collection[str]) -> None:
        """Refuse a file that lacks a column.

        Raises:
            DataError: With the names that are there.
        """
        for role, column in self.columns.items():
            if column not in there:
                word = "utility" if role.startswith("utility.") else role
                close = get_close_matches(column, list(there), 1)
                right = close[0] if close else "COLUMN"
                raise DataError(
                    f"{path}: no column {column!r} for {word}. It holds "
                    f"{', '.join(list(there)[:16]) or 'nothing'}. Name the right one, for instance "
                    f"--map {word}={right}."
                )
        if self.grouping not in self.columns:
            raise DataError(f"{path}: no column of groups. Name one: --map context=COLUMN.")

    def column(self, role: str) -> str | None:
        """The column of a role, or None."""
        return self.columns.get(role)

    @property
    def grouping(self) -> str:
        """The role that tells contexts apart: ``context``, or the text of the prompt."""
        return "context" if "context" in self.columns else "prompt"


def spelt(mapping: Mapping[str, str]) -> dict[str, str]:
    """What a person wrote, each role by its own word: ``reward.NAME`` is ``utility.NAME``.

    Raises:
        SpecError: Two words name one role.
    """
    roles: dict[str, str] = {}
    words: dict[str, str] = {}
    for word, column in mapping.items():
        first, dot, rest = word.partition(".")
        role = WORDS.get(first, first) + dot + rest
        if role in roles:
            raise SpecError(
                f"--map: {words[role]!r} and {word!r} name one role. Give one of them; a second "
                f"reward has a name of its own: {word}.NAME=COLUMN."
            )
        roles[role], words[role] = column, word
    return roles


def label_of(key: object) -> str | None:
    """A context by its key, or a digest of what is no key: an object; None where it is unknown."""
    if isinstance(key, str):
        return key
    return named(key) if isinstance(key, int) else digest(key)


def named(key: int) -> str | None:
    """A whole number as a label; None beyond 63 bits."""
    return None if key.bit_length() > 63 else str(key)


def digest(key: object) -> str | None:
    """A short label of a text or an object; None where it is unknown or beyond 63 bits."""
    if key is None or (isinstance(key, int) and key.bit_length() > 63):
        return None
    text = key.encode("utf-8", "replace") if isinstance(key, str) else msgspec.json.encode(key)
    return blake2b(text, digest_size=8).hexdigest()
