"""Rollouts of any format as the table that findings read."""

from collections.abc import Callable, Mapping
from hashlib import blake2b

import numpy as np
from jaxtyping import Float, Int

from tod.base.text import counted
from tod.diagnostics import GapProfile
from tod.findings.codes import by_appearance
from tod.findings.logged_columns import logged_columns
from tod.findings.run import RolloutTable
from tod.formats.reading import Reading, not_as_read

BEYOND = 1e30
"""Greatest reward in size: squares and sums of it are still numbers."""
TOTALS = ("reward", "score", "total", "total_reward")
"""Names of a utility that is the total of the others."""


def rollouts_of(
    reading: Reading, texts: bool = True, digest: Callable[[str], int] | None = None
) -> RolloutTable | None:
    """The rollouts that were read; None where no column holds a reward.

    Args:
        reading: What a reader of rollouts returned.
        texts: Read texts again, to tell equal completions and prompts apart by codes.
        digest: Code of a text that is the same in every process, such as `text_digest`, so that
            rollouts of several readings can be put together; small numbers if None.
    """
    if not reading.utility or not len(reading):
        return None
    rewards = {name: _finite(np.asarray(values, float)) for name, values in reading.utility.items()}
    named = next((name for name in TOTALS if name in rewards), None)
    total = np.sum(list(rewards.values()), axis=0) if named is None else rewards[named]
    parts = {name: values for name, values in rewards.items() if name != named}
    prompt, text, characters = _codes(reading, digest) if texts else (None, None, None)
    length, unit = reading.labels.length, "tokens"
    if length is None or not int(length.max(initial=0)):
        length, unit = characters, "characters"
    logged = logged_columns(reading)
    return RolloutTable(
        groups=reading.contexts,
        step=reading.steps,
        reward=total,
        rewards=parts if len(rewards) > 1 else {},
        prompt=None if prompt is None else prompt[reading.contexts.offsets[:-1]],
        input=prompt,
        text=text,
        length=length,
        truncated=logged.get("truncated"),
        advantage=logged.get("advantage"),
        lag=reading.lag,
        error=logged.get("error"),
        evaluation=logged.get("evaluation"),
        turns=logged.get("turns"),
        failed=reading.failed,
        length_unit="characters" if unit == "characters" else "tokens",
        grouped=reading.source.grouped,
    )


def gaps_of(reading: Reading) -> Mapping[int, GapProfile]:
    """Shape of log π_old − log μ by step; empty where one of them was not recorded by token."""
    return reading.profiles


def beyond(reading: Reading) -> tuple[str, ...]:
    """What to say of rewards that are too large to be computed with; nothing of others."""
    count = sum(
        int((np.abs(values[np.isfinite(values)]) > BEYOND).sum())
        for values in map(np.asarray, reading.utility.values())
    )
    return (f"{counted(count, 'reward')} beyond 1e30 in size: read as 1e30",) if count else ()


def _finite(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """A forbidden answer (−∞) counts as the smallest finite reward, 1e30 is the greatest one."""
    there = np.isfinite(values)
    if there.any() and not there.all():
        values = np.where(there, values, values[there].min())
    bounded: Float[np.ndarray, " N"] = np.clip(values, -BEYOND, BEYOND)
    return bounded


def text_digest(text: str) -> int:
    """64 bits of a text, the same in every process; of no text 0."""
    if not text:
        return 0
    data = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(data, "little", signed=True)


def coded(hashes: Int[np.ndarray, " N"], nothing: int) -> Int[np.ndarray, " N"] | None:
    """Small codes of hashes by first appearance; None where all are equal to that of no text.

    Args:
        hashes: Of texts, [N].
        nothing: The hash of no text.
    """
    return None if bool((hashes == nothing).all()) else by_appearance(hashes)


def _codes(
    reading: Reading, digest: Callable[[str], int] | None
) -> tuple[
    Int[np.ndarray, " N"] | None, Int[np.ndarray, " N"] | None, Int[np.ndarray, " N"] | None
]:
    """Codes of prompts and completions and the completions' lengths.

    By those that were taken while reading, else by a second pass over the files.
    """
    of = hash if digest is None else digest
    if reading.text_codes is not None and reading.digest is of:
        prompt, text, characters = np.ascontiguousarray(reading.text_codes.T)
        return _told(reading, prompt, text, characters, digest)
    if reading.read_texts is None or reading.file is None or reading.row is None:
        return None, None, None
    size = len(reading)
    prompt, text = np.zeros(size, np.int64), np.zeros(size, np.int64)
    characters = np.zeros(size, np.int64)
    for path, places in reading.by_file():
        places = places[np.argsort(reading.row[places], kind="stable")]
        rows = reading.row[places]
        try:
            told = [
                (row, of(asked), of(answered), len(answered))
                for row, asked, answered in reading.read_texts(path, rows.tolist())
            ]
            columns = np.array(told, dtype=np.int64).reshape(-1, 4).T
            at = places[np.searchsorted(rows, columns[0])]
            prompt[at], text[at], characters[at] = columns[1:]
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise not_as_read(path, error) from error
    return _told(reading, prompt, text, characters, digest)


def _told(
    reading: Reading,
    prompt: Int[np.ndarray, " N"],
    text: Int[np.ndarray, " N"],
    characters: Int[np.ndarray, " N"],
    digest: Callable[[str], int] | None,
) -> tuple[
    Int[np.ndarray, " N"] | None, Int[np.ndarray, " N"] | None, Int[np.ndarray, " N"] | None
]:
    """Digests as they are; codes of this process alone as small numbers."""
    if digest is not None:
        return prompt, text, characters
    nothing = hash("")
    first = reading.contexts.offsets[:-1]
    asked: Int[np.ndarray, " N"] | None
    if bool((reading.contexts.spread(prompt[first]) == prompt).all()):  # one prompt a group
        of_group = coded(prompt[first], nothing)
        asked = None if of_group is None else reading.contexts.spread(of_group)
    else:
        asked = coded(prompt, nothing)
    return asked, coded(text, nothing), characters if characters.any() else None
