"""A reading: candidates, where they came from, and what their files do not allow anyone to know."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import DataError, Unknown
from tod.candidates import Candidates
from tod.diagnostics import GapProfile, GapSums
from tod.formats.columns import Rejection
from tod.formats.gating import Gate, Gated, gated

if TYPE_CHECKING:
    import polars as pl

TIERS = {
    "A": "sampler, old and reference log-probs: every target and every leg",
    "B": "sampler and one more policy: targets anchored there, and the policy's legs",
    "C": "sampler log-probs only: targets anchored at the proposal",
    "D": "rewards only: targets q* ∝ mu·exp(eta U), taken on trust",
    "E": "no rewards: no target can be weighed",
}


@dataclass(frozen=True)
class Source:
    """Where candidates came from.

    Attributes:
        format: Name of the format.
        files: How many files were read.
        rows: Rows that became candidates.
        rejected: Rows that were left out because something in them is no use.
        steps: First and last training step, or None when there is no candidate.
        tier: Capability, ``A`` to ``E`` (see ``TIERS``).
        detected: How the format was recognised.
        notes: What was noticed and repaired.
        rejections: The first refusals in full.
        target: What a run directory says of its target, as plain data.
        knobs: The target's knobs in force, by step, when a controller turned them.
        target_source: ``declared``, ``located`` or ``assumed``, as the run says of its target.
        recorded: What a run's own record says of a step and rollouts do not: activation, entropy,
            mismatch and staleness, by step.
        operator: What a run directory says of its operator, as plain data.
        roles: What was read of every row: ``utility.NAME``, ``log_NAME``, ``length``, ``answer``,
            ``lag``, ``prompt``, ``completion``.
        grouping: What tells contexts apart, one of ``GROUPINGS``; ``none`` where nothing does.
        text_valued: Columns in the place of rewards that hold text, not numbers.
        names: Columns of all files, where the writer gives the rows of a file equal ones; else
            empty.
    """

    format: str
    files: int
    rows: int
    rejected: int
    steps: tuple[int, int] | None
    tier: str
    detected: str = ""
    notes: tuple[str, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    target: Mapping[str, Any] | None = None
    knobs: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    target_source: str = "declared"
    recorded: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    operator: Mapping[str, Any] | None = None
    roles: tuple[str, ...] = ()
    grouping: str = "ids"
    text_valued: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()

    @property
    def grouped(self) -> bool:
        """Whether the files say which candidates share a prompt."""
        return self.grouping != "none"

    def to_dict(self) -> dict[str, Any]:
        """The ``source`` block of the diagnosis schema."""
        return {
            "format": self.format,
            "files": self.files,
            "rows": self.rows,
            "rejected": self.rejected,
            "steps": None if self.steps is None else list(self.steps),
            "tier": self.tier,
            "detected": self.detected,
            "notes": list(self.notes),
            "rejections": [str(item) for item in self.rejections],
        }


@dataclass(frozen=True)
class TargetSamples:
    """Draws from the target itself (verified solutions, a teacher), never counted as candidates.

    Attributes:
        at: Places of their contexts in the reading, ascending, [S].
        candidates: The draws, in these S contexts.
    """

    at: Int[np.ndarray, " S"]
    candidates: Candidates


@dataclass(frozen=True)
class Text:
    """One candidate's text, read again from its file."""

    prompt: str
    completion: str


@dataclass(frozen=True, repr=False)
class Reading(Candidates):
    """Candidates as any framework wrote them; contexts ordered by step, then by appearance.

    Attributes:
        source: Where they came from.
        cannot: What these files do not allow anyone to know.
        gaps: Token sums of log a − log b by pair of policies and step.
        profiles: Shape of log π_old − log μ over the tokens of every step, of rows that are not
            stale; of log π − log μ where π_old was not recorded.
        lag: Policy versions between sampling and training of every candidate, [N], or None.
        files: The files, for a second look.
        file: File of every candidate, [N], a position in ``files``.
        row: Row of every candidate in its file, [N], as the format counts them.
        read_texts: The format's own way to read text again.
        digest: Code of a text that it was read with, or None.
        text_codes: Codes of every candidate's prompt and completion and the completion's
            characters, [N, 3]; None where they were not at hand, or without ``digest``.
        samples: Draws from the target, where the files mark some as such.
        gate: Trust region that was read with, or None.
        taken: What it takes of every candidate's tokens, [N], by pair of policies and sign of A.
        logged: What only findings read, by name of ``LOGGED``, [N]; NaN is not recorded.
        failed: Rollouts by step that failed and are no candidates.
        needs: By what is unknown (``mu``, ``old``, ``ref``, ``policy``, ``utility``, ``text``,
            ``lag``, ``context``), the switch or column that would bring it to files like these.
    """

    source: Source = field(default_factory=lambda: Source("", 0, 0, 0, None, "E"))
    cannot: tuple[Unknown, ...] = ()
    gaps: Mapping[tuple[str, str], Mapping[int, GapSums]] = field(default_factory=dict)
    profiles: Mapping[int, GapProfile] = field(default_factory=dict)
    lag: Int[np.ndarray, " N"] | None = None
    files: tuple[Path, ...] = ()
    file: Int[np.ndarray, " N"] | None = None
    row: Int[np.ndarray, " N"] | None = None
    read_texts: Any = None
    digest: Callable[[str], int] | None = None
    text_codes: Int[np.ndarray, "N 3"] | None = None
    samples: TargetSamples | None = None
    gate: Gate | None = None
    taken: Mapping[str, Float[np.ndarray, " N"]] = field(default_factory=dict)
    logged: Mapping[str, Float[np.ndarray, " N"]] = field(default_factory=dict)
    failed: Mapping[int, int] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)

    @property
    def candidates(self) -> Candidates:
        """Itself: a reading *is* candidates."""
        return self

    @property
    def steps(self) -> Int[np.ndarray, " C"]:
        """Training step of every context, [C]."""
        assert self.labels.step is not None  # noqa: S101 - every reader gives steps
        return self.labels.step

    def by_file(self) -> Iterator[tuple[Path, Int[np.ndarray, " n"]]]:
        """Every file and the places of its candidates, ascending; nothing where none is known."""
        if self.file is None or not len(self.file):
            return
        order = np.argsort(self.file, kind="stable")
        starts = np.flatnonzero(np.diff(self.file[order])) + 1
        for places in np.split(order, starts):
            yield self.files[int(self.file[places[0]])], places

    def texts(self, contexts: Sequence[int], most: int | None = None) -> dict[int, list[Text]]:
        """Prompts and completions of some contexts, by a second pass over their files alone.

        Args:
            contexts: Positions of contexts, in [0, C).
            most: How many candidates of each are wanted; all if None.

        Returns:
            One ``Text`` per candidate wanted, in order; empty texts where the format keeps none.

        A DataError says: a file changed since it was read.
        """
        chosen, rows = self.contexts.take(np.asarray(contexts, dtype=np.int64))
        per_context = [members[:most] for members in chosen.split(rows)]
        rows = np.array([row for members in per_context for row in members], dtype=np.int64)
        found = self._of_rows(rows)
        nothing = Text("", "")
        return {
            int(context): [found.get(self._place(row), nothing) for row in members]
            for context, members in zip(contexts, per_context, strict=True)
        }

    def text_columns(self, rows: Int[np.ndarray, " n"]) -> tuple[list[str], list[str]]:
        """Prompts and completions of some candidates by their places, in that order.

        Texts are empty where the format keeps none. A DataError says: a file changed since it was
        read.
        """
        prompts, completions = [""] * len(rows), [""] * len(rows)
        if self.read_texts is None or self.file is None or self.row is None:
            return prompts, completions
        for index in np.unique(self.file[rows]).tolist():
            places = np.flatnonzero(self.file[rows] == index)
            numbers = self.row[rows[places]]
            known = {text[0]: text for text in self._again(index, numbers)}
            nothing = (0, "", "")
            for place, number in zip(places.tolist(), numbers.tolist(), strict=True):
                _, prompts[place], completions[place] = known.get(number, nothing)
        return prompts, completions

    def text_frame(self, rows: Int[np.ndarray, " n"]) -> "pl.DataFrame":
        """The same of ascending places as columns ``prompt`` and ``completion``; "" is null.

        A DataError says: a file changed since it was read.
        """
        import polars as pl

        of_frame = getattr(self.read_texts, "frame", None)
        if of_frame is not None and self.row is not None and len(self.files) == 1 and len(rows):
            numbers = self.row[rows]
            if bool((numbers[1:] > numbers[:-1]).all()):
                found = of_frame(self.files[0], numbers)
                if found is not None and len(found) == len(rows):
                    return found.with_columns(pl.all().replace("", None))  # type: ignore[no-any-return]
        texts = zip(("prompt", "completion"), self.text_columns(rows), strict=True)
        return pl.DataFrame(
            {name: pl.Series([x or None for x in each], dtype=pl.String) for name, each in texts}
        )

    def _again(self, index: int, numbers: Int[np.ndarray, " n"]) -> list[tuple[int, str, str]]:
        """Row, prompt and completion of some rows of a file."""
        path = self.files[index]
        try:
            return list(self.read_texts(path, numbers.tolist()))
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise not_as_read(path, error) from error

    def prompts(self, contexts: Sequence[int]) -> dict[int, str]:
        """Prompts of some contexts, from their first candidates alone: lighter than ``texts``.

        A DataError says: a file changed since it was read.
        """
        first = self.contexts.offsets[np.asarray(contexts, dtype=np.int64)]
        found = self._of_rows(first)
        nothing = Text("", "")
        pairs = zip(contexts, first.tolist(), strict=True) if found else ()
        return {int(at): found.get(self._place(row), nothing).prompt for at, row in pairs}

    def gated(self, utility: Any) -> Gated | None:
        """What the gate that was read with takes of the tokens; None if that is not recorded.

        Args:
            utility: What tells the sign of the advantage, [N]; None: nothing does.
        """
        gate, length = self.gate, self.labels.length
        if gate is None or length is None or not int(length.min(initial=1)):
            return None
        size = length.astype(np.float64)
        known = self._taken(gate, size)
        if known is None:
            return None
        advantage = None if utility is None else gate.advantages(utility, self.contexts)
        steps = np.repeat(self.steps, self.contexts.sizes)
        return gated(gate, *known, size, steps, advantage)

    def _taken(self, gate: Gate, size: Any) -> tuple[tuple[str, str], Any] | None:
        """The pair of policies and what the gate takes of every candidate."""
        for first, second in gate.pairs:
            columns = [self.taken.get(f"{first}/{second}/{i}") for i in range(4)]
            if columns[0] is not None and not np.isnan(columns[0]).any():
                return (first, second), np.stack(columns, axis=1)  # type: ignore[arg-type]
            if {first, second} <= set(self.recorded):
                log_rho = self.log_prob(first, "") - self.log_prob(second, "")
                whole = gate.of_sequences(log_rho, size)
                if whole is not None:
                    return (first, second), whole
        return None

    def _of_rows(self, rows: Int[np.ndarray, " n"]) -> dict[tuple[int, int], Text]:
        found: dict[tuple[int, int], Text] = {}
        if self.read_texts is not None and self.file is not None and self.row is not None:
            for index in np.unique(self.file[rows]).tolist():
                wanted = self.row[rows[self.file[rows] == index]].tolist()
                found |= self._of_file(index, wanted)
        return found

    def _place(self, candidate: int) -> tuple[int, int]:
        assert self.file is not None and self.row is not None  # noqa: S101, PT018
        return int(self.file[candidate]), int(self.row[candidate])

    def _of_file(self, index: int, wanted: list[int]) -> dict[tuple[int, int], Text]:
        texts = self._again(index, np.asarray(wanted))
        return {(index, row): Text(prompt, completion) for row, prompt, completion in texts}


def not_as_read(path: Path, error: Exception) -> DataError:
    """What a second pass over a file says that fails where the first one did not."""
    if isinstance(error, UnicodeEncodeError):
        return DataError(
            f"{path}: text that no encoding holds, as half of a surrogate pair ({error}). Write "
            "the file again with `errors='replace'`."
        )
    return DataError(
        f"{path}: changed since it was read ({type(error).__name__}: {error}). Run the command "
        "again."
    )
