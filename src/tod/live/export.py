"""A trainer's batch in memory, and the rollout format written step by step while it trains."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self
from weakref import finalize

import numpy as np
from jaxtyping import Float, Int

from tod.base import DataError, Groups
from tod.base.rows import chained, picked
from tod.base.text import distinct
from tod.candidates import POLICIES, Candidates, Labels, Tokens
from tod.live.guard import Guard, harmless
from tod.runs import DirectoryLock, Parts
from tod.runs.table_parts import ROLLOUTS

LOGGED = ("advantage", "truncated")
"""What a trainer says of a candidate and findings read: its A, where all tokens share it, and
1 where the answer was cut at its longest."""


@dataclass(frozen=True, eq=False)
class LiveBatch:
    """N candidates in C contexts with their tokens, contexts contiguous.

    NaN is "unknown" throughout: a reward function that does not apply, a token without log-prob.

    Attributes:
        contexts: Candidates in contexts.
        context: Identity of every context, [C]: a digest of its prompt, ``#2`` on a repeat.
        prompt: Text of every context, [C].
        completion: Text of every candidate, [N].
        utility: Utilities by name, [N] each.
        sequences: Policy tokens in candidates, or None where no token is known.
        log: Token log-probs by name of policy, nats, [M] each.
        token_ids: Ids of the tokens, [M], or None.
        sequence_log: Sequence log-probs of policies whose tokens are unknown, nats, [N] each.
        logged: What the trainer says of candidates, `LOGGED`, [N] each.
    """

    contexts: Groups
    context: tuple[str, ...]
    prompt: tuple[str, ...]
    completion: tuple[str, ...]
    utility: Mapping[str, Float[np.ndarray, " N"]]
    sequences: Groups | None = None
    log: Mapping[str, Float[np.ndarray, " M"]] = field(default_factory=dict)
    token_ids: Int[np.ndarray, " M"] | None = None
    sequence_log: Mapping[str, Float[np.ndarray, " N"]] = field(default_factory=dict)
    logged: Mapping[str, Float[np.ndarray, " N"]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of candidates N."""
        return self.contexts.total

    @classmethod
    def of(
        cls,
        *,
        group: Sequence[Hashable],
        prompt: Sequence[str],
        completion: Sequence[str],
        utility: Mapping[str, Any],
        log: Mapping[str, Sequence[Any]] | None = None,
        token_ids: Sequence[Any] | None = None,
        length: Sequence[int] | None = None,
        sequence_log: Mapping[str, Sequence[float]] | None = None,
        logged: Mapping[str, Sequence[float]] | None = None,
    ) -> Self:
        """A batch of N rows in any order; rows of one group become one context.

        Args:
            group: What tells contexts apart, one per row.
            prompt: Prompt of every row.
            completion: Completion of every row.
            utility: Utilities by name, one value per row; NaN or None where unknown.
            log: Per policy (``mu``, ``old``, ``ref``, ``teacher``, ``policy``), one array of token
                log-probs per row: policy tokens alone, padding and tool output cut away.
            token_ids: The ids of the same tokens.
            length: Tokens per row, where neither ids nor log-probs are known.
            sequence_log: The sums per row of policies of which no tokens are known.
            logged: One value per row of what is in `LOGGED`; NaN where unknown.

        Raises:
            DataError: Rows, or tokens of a row, of unequal number, or an unknown policy.
        """
        ragged = dict(log or {}) | ({} if token_ids is None else {"token_ids": token_ids})
        whole, said = dict(sequence_log or {}), dict(logged or {})
        _check(len(group), prompt, completion, utility, ragged, whole, said)
        sizes = _lengths(ragged, length)
        contexts, order = Groups.from_keys(group)
        flat = {name: _flat([rows[i] for i in order]) for name, rows in ragged.items()}
        ids = flat.pop("token_ids", None)
        heads = order[contexts.offsets[:-1]]
        prompts = tuple(str(prompt[i]) for i in heads)
        values = {name: np.array(list(x), dtype=np.float64)[order] for name, x in utility.items()}
        return cls(
            contexts=contexts,
            context=identities(prompts),
            prompt=prompts,
            completion=tuple(str(completion[i]) for i in order),
            utility=values,
            sequences=None if sizes is None else Groups(sizes[order]),
            log={name: x.astype(np.float64) for name, x in flat.items()},
            token_ids=None if ids is None else ids.astype(np.int64),
            sequence_log={k: np.array(list(x), dtype=np.float64)[order] for k, x in whole.items()},
            logged={k: np.array(list(x), dtype=np.float64)[order] for k, x in said.items()},
        )

    @classmethod
    def concatenate(cls, parts: "Sequence[LiveBatch]") -> "LiveBatch":
        """Several batches of one step; only columns that all of them have are kept."""
        if len(parts) == 1:
            return parts[0]
        prompts = chained([part.prompt for part in parts])
        return cls(
            contexts=chained([part.contexts for part in parts]),
            context=identities(prompts),
            prompt=prompts,
            completion=chained([part.completion for part in parts]),
            utility=chained([part.utility for part in parts]),
            sequences=chained([part.sequences for part in parts]),
            log=chained([part.log for part in parts]),
            token_ids=chained([part.token_ids for part in parts]),
            sequence_log=chained([part.sequence_log for part in parts]),
            logged=chained([part.logged for part in parts]),
        )

    def sums(self) -> dict[str, Float[np.ndarray, " N"]]:
        """Sequence log-probs by policy, [N], nats; NaN where a token's is unknown."""
        whole = {**self.sequence_log}
        if self.sequences is not None:
            sums: Any = self.sequences.sum
            whole |= {name: sums(values) for name, values in self.log.items()}
        return whole

    def columns(self) -> dict[str, Any]:
        """The rows of our rollout format, all but ``step``."""
        owner = self.contexts.owner
        columns: dict[str, Any] = {
            "context": [self.context[int(c)] for c in owner],
            "candidate": self.contexts.position,
            "prompt": [self.prompt[int(c)] for c in owner],
            "completion": list(self.completion),
        }
        columns |= {f"utility.{name}": values for name, values in self.utility.items()}
        columns |= {name: values for name, values in self.logged.items() if name != "truncated"}
        if "truncated" in self.logged:
            cut = self.logged["truncated"]
            columns["truncated"] = [None if np.isnan(x) else bool(x) for x in cut]
        if self.sequences is not None:
            columns["length"] = self.sequences.sizes
        for name, values in self.sums().items():
            known = ~np.isnan(values)
            if not known.any():
                continue
            columns[f"log_{name}"] = values
            if name not in self.log or self.sequences is None:
                continue
            rows = self.sequences.split(self.log[name])
            columns[f"log_{name}_tokens"] = [
                row if ok else None for row, ok in zip(rows, known, strict=True)
            ]
        if self.token_ids is not None and self.sequences is not None:
            columns["token_ids"] = self.sequences.split(self.token_ids)
        return columns

    def candidates(
        self, policies: frozenset[str] = frozenset(), utilities: Sequence[str] = ()
    ) -> tuple[Candidates, Int[np.ndarray, " c"]]:
        """The contexts in which everything needed is known, and their positions.

        What is not needed and not known everywhere is left out: unknown is never 0.

        Args:
            policies: Names whose log-probs are needed.
            utilities: Utilities that are needed.

        Raises:
            DataError: No context has all that is needed.
        """
        sums = self.sums()
        needed = [sums[name] for name in policies if name in sums]
        needed += [self.utility[name] for name in utilities if name in self.utility]
        wrong = np.zeros(len(self), dtype=bool)
        for values in needed:
            wrong |= np.isnan(values)
        bad: Any = self.contexts.sum(wrong.astype(np.float64))
        kept = np.flatnonzero(bad == 0)
        if not kept.size:
            raise DataError(
                f"none of {len(self.contexts)} prompts has all of what the target reads "
                f"({', '.join([*sorted(policies), *utilities]) or 'nothing'}) for every rollout: "
                "rewards or log-probs are NaN there. See what the reward functions return."
            )
        return self.take(kept)._known(), kept

    def take(self, chosen: Int[np.ndarray, " c"]) -> "LiveBatch":
        """The chosen contexts, whole, in that order."""
        if len(chosen) == len(self.contexts) and bool((np.diff(chosen) == 1).all()):
            return self
        contexts, rows = self.contexts.take(chosen)
        sequences, at = (None, rows) if self.sequences is None else self.sequences.take(rows)
        return LiveBatch(
            contexts=contexts,
            context=picked(self.context, chosen),
            prompt=picked(self.prompt, chosen),
            completion=picked(self.completion, rows),
            utility=picked(self.utility, rows),
            sequences=sequences,
            log=picked(self.log, at),
            token_ids=picked(self.token_ids, at),
            sequence_log=picked(self.sequence_log, rows),
            logged=picked(self.logged, rows),
        )

    def _known(self) -> Candidates:
        """Every column without unknown values, as candidates."""
        log = {name: x for name, x in self.log.items() if not np.isnan(x).any()}
        sums = {name: x for name, x in self.sums().items() if not np.isnan(x).any()}
        tokens = None
        if self.sequences is not None:
            tokens = Tokens(self.sequences, log.pop("mu", None), log, self.token_ids)
        return Candidates(
            contexts=self.contexts,
            utility={name: x for name, x in self.utility.items() if not np.isnan(x).any()},
            log_mu=sums.pop("mu", None),
            log_anchor=sums,
            tokens=tokens,
            labels=Labels(
                context=self.context,
                prompt=self.prompt,
                completion=self.completion,
                length=None if self.sequences is None else self.sequences.sizes,
            ),
        )


def identities(prompts: Sequence[str]) -> tuple[str, ...]:
    """Digests of prompts, the same in every step and run; ``#2``, ``#3`` on repeats in a batch."""
    encoded = (prompt.encode("utf-8", "surrogatepass") for prompt in prompts)
    return distinct(blake2b(data, digest_size=6).hexdigest() for data in encoded)


def _check(
    n: int, prompt: Any, completion: Any, utility: Any, ragged: Any, whole: Any, said: Any
) -> None:
    named = {"prompt": prompt, "completion": completion, **utility, **ragged, **whole, **said}
    for name, rows in named.items():
        if len(rows) != n:
            raise DataError(f"{name} has {len(rows)} rows and there are {n}: one value a row.")
    if n == 0:
        raise DataError("a batch of no rows: nothing was sampled, so nothing can be written.")
    unknown = [name for name in (*ragged, *whole) if name not in (*POLICIES, "token_ids")]
    if unknown:
        raise DataError(f"log-probs of {unknown[0]!r}: policies are {', '.join(POLICIES)}.")
    other = [name for name in said if name not in LOGGED]
    if other:
        raise DataError(f"{other[0]!r} is nothing that is read back: {', '.join(LOGGED)} are.")


def _lengths(ragged: Mapping[str, Any], length: Sequence[int] | None) -> Any:
    """Tokens of every row, the same in every ragged column."""
    found = {
        name: np.array([len(x) for x in rows], dtype=np.int64) for name, rows in ragged.items()
    }
    if length is not None:
        found["length"] = np.asarray(length, dtype=np.int64)
    if not found:
        return None
    (first, sizes), *rest = found.items()
    for name, other in rest:
        wrong = np.flatnonzero(other != sizes)
        if wrong.size:
            row = int(wrong[0])
            raise DataError(
                f"row {row}: {int(other[row])} tokens in {name} and {int(sizes[row])} in {first}. "
                "Cut padding and the prompt away from all of them alike."
            )
    empty = np.flatnonzero(sizes == 0)
    if empty.size:
        raise DataError(
            f"row {int(empty[0])} has no token: a policy that stops at once still draws its "
            "end-of-sequence token. Keep that token, or leave the row out."
        )
    return sizes


def _flat(rows: Sequence[Any]) -> Any:
    return np.concatenate([np.asarray(row) for row in rows])


def spelled(batch: LiveBatch, tokenizer: Any) -> LiveBatch:
    """The batch with its completions in words: the dearest of what is done with it."""
    if tokenizer is None or batch.sequences is None or batch.token_ids is None:
        return batch
    rows = batch.sequences.split(batch.token_ids)
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return replace(batch, completion=tuple(map(str, texts)))


def as_numpy(values: Any) -> Any:
    """A tensor, array or list as an array on the host; half precisions become float32."""
    if hasattr(values, "detach"):
        values = values.detach()
        if values.is_floating_point():
            values = values.float() if values.element_size() < 4 else values
        return values.cpu().numpy()
    return np.asarray(values)


def masked_rows(name: str, values: Any, mask: Any) -> list[Any]:
    """Row i of ``values`` where ``mask`` is true.

    Raises:
        DataError: The shapes differ.
    """
    if values.shape != mask.shape:
        raise DataError(
            f"{name} has shape {tuple(values.shape)} and the mask of policy tokens "
            f"{tuple(mask.shape)}: they are aligned position by position."
        )
    return [row[keep] for row, keep in zip(values, mask, strict=True)]


class RolloutWriter:
    """Writes ``PATH/part-*.parquet``, which every `tod` command reads.

    A step's rows may come in several pieces; they become one part when the next step begins, or
    at ``close``. Parts appear whole or not at all, so a run may be read while it is written. It
    is used inside a training loop and never stops it: rows that do not fit the format, a step
    that is there already and a full disk are said once, and the step is left out.

    Args:
        path: A directory of its own; this writer is its only one until ``close``.
        resume_at: Step that a resumed run goes on from: later rows are dropped. None refuses
            to write a step that is there already.
        strict: Raise what would otherwise be said.

    Raises:
        DataError: ``path`` is a file.
        RunError: Another process writes there, or it cannot be written.
    """

    def __init__(
        self, path: Path | str, *, resume_at: int | None = None, strict: bool = False
    ) -> None:
        self.path = Path(path)
        if self.path.is_file():
            raise DataError(f"{self.path} is a file; rollouts go to a directory. Name another.")
        self.guard = Guard(strict)
        self._lock = DirectoryLock.acquire(self.path, "rollouts")
        finalize(self, self._lock.release)
        self._parts = Parts(self.path, ROLLOUTS)
        if resume_at is not None:
            self._parts.truncate_after(resume_at)
        self._last = self._written()
        self._step: int | None = None
        self._pending: list[LiveBatch] = []

    @harmless("adding rollouts")
    def append(self, step: int, batch: LiveBatch) -> None:
        """Add candidates of ``step``, which never goes back.

        Raises:
            DataError: If strict: the step was written before, or the batch does not fit.
        """
        if self._step is not None and step != self._step:
            self.flush()
        if self._last is not None and step <= self._last:
            raise DataError(
                f"step {step} comes after step {self._last}, which {self.path} holds already: "
                "what is written is never replaced. Go on from a step with resume_at=, or write "
                "to another directory."
            )
        self._step = int(step)
        self._pending.append(batch)

    @harmless("adding rollouts")
    def rows(
        self,
        step: int,
        *,
        group: Sequence[Hashable],
        prompt: Sequence[str],
        completion: Sequence[str],
        utility: Mapping[str, Any],
        log: Mapping[str, Sequence[Any]] | None = None,
        token_ids: Sequence[Any] | None = None,
    ) -> None:
        """`append` of a batch given row by row; see `LiveBatch.of`.

        Raises:
            DataError: If strict: as there, and as in `append`.
        """
        batch = LiveBatch.of(
            group=group,
            prompt=prompt,
            completion=completion,
            utility=utility,
            log=log,
            token_ids=token_ids,
        )
        self.append(step, batch)

    @harmless("writing rollouts")
    def flush(self) -> None:
        """Write the step at hand; one that cannot be written is left out."""
        if self._step is None or not self._pending:
            return
        step, pieces = self._step, self._pending
        self._step, self._pending = None, []
        self._lock.check()
        try:
            self._parts.write(step, LiveBatch.concatenate(pieces).columns())
        except BaseException:
            self._parts.discard_pending()
            raise
        self._last = step

    @harmless("writing rollouts")
    def close(self) -> None:
        """Write what is pending, flush everything to the device, and let others write."""
        self.flush()
        self._parts.sync()
        self._lock.release()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close, also after an error: what was sampled was sampled."""
        self.close()

    def _written(self) -> int | None:
        """The last step on disk, from the names of the parts."""
        paths = self._parts.paths()
        return int(paths[-1].stem.split("-")[2]) if paths else None


@dataclass(eq=False)
class Exporter:
    """What a framework's exporter is: a writer of rollouts, and the tokenizer that spells them.

    Args:
        path: Directory of the rollouts.
        tokenizer: Decodes texts; completions are left empty without one.
        resume_at: Step that a resumed run goes on from.
        strict: Raise what would otherwise be said once.

    Raises:
        RunError: Another process writes to the directory.
    """

    path: InitVar[Path | str]
    tokenizer: Any = None
    _: KW_ONLY
    resume_at: InitVar[int | None] = None
    strict: InitVar[bool] = False

    def __post_init__(self, path: Path | str, resume_at: int | None, strict: bool) -> None:
        """Open the directory; ``step`` counts from the one that a resumed run goes on from."""
        self.writer = RolloutWriter(path, resume_at=resume_at, strict=strict)
        self.guard = self.writer.guard
        self.step = resume_at or 0

    @harmless("ending the rollouts")
    def close(self) -> None:
        """Write what is pending."""
        self.writer.close()

    def texts(self, ids: list[Any]) -> list[str]:
        """Rows of token ids as text."""
        if self.tokenizer is None:
            return [""] * len(ids)
        return [str(text) for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]
