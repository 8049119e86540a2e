"""Scored candidates: read from any format, or from plain columns of prompt, response and reward."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import DataError, Groups, RunError, SpecError, to_numpy
from tod.base.text import counted
from tod.diagnosis.target import SourcedTarget, choose
from tod.diagnostics import ess
from tod.formats import Reading, read
from tod.formats.files import expand
from tod.formats.format import FileProbe
from tod.formats.jsonl import first_keys, first_rows
from tod.formats.registry import FORMATS
from tod.formats.roles import spelt
from tod.operators import MajorityVote, SelectionPool, SelectionRule, WeightedVote
from tod.procedure import pool_of, utility_value
from tod.reranking.answers import Similarity, answer, answer_codes, local_codes

PLAIN: Mapping[str, tuple[str, ...]] = {
    "utility": ("reward", "score", "utility", "correct", "rating"),
    "context": ("prompt_id", "context", "question_id", "problem_id", "group_id"),
    "prompt": ("prompt", "question", "problem", "instruction", "query", "input"),
    "completion": ("response", "completion", "output", "generation", "text"),
    "step": ("step",),
}
"""What the columns of plain files are usually called, by role."""


def read_scored(
    paths: str | Path | Sequence[str | Path],
    format: str = "auto",  # noqa: A002 - the word on the command line
    *,
    mapping: Mapping[str, str] | None = None,
    gold: str | None = None,
    steps: str | None = None,
    group_by: str = "step",
    max_rejected: float = 0.01,
) -> Reading:
    """Candidates with their rewards; columns of plain files need not be named.

    Args:
        paths: Files, globs, directories or run directories.
        format: A name of ``FORMATS``, or ``auto``.
        mapping: Columns by role, as `tod.read` takes them.
        gold: Column or reward that is the second score; read where columns are named.
        steps: Training steps wanted.
        group_by: As `tod.read` takes it.
        max_rejected: Share of rows without a reward, or otherwise of no use, that may be left out.

    Raises:
        SpecError: A role, a format or the second score is not known.
        DataError: Nothing there can be read, or too much of it is no use.
    """
    several = [paths] if isinstance(paths, str | Path) else list(paths)
    roles = dict(mapping or {})
    probes = [FileProbe(path) for path in expand(several).files]
    names: list[str] = []
    by_hand = bool({"context", "prompt"} & roles.keys()) and any(
        role.partition(".")[0] in ("utility", "reward") for role in roles
    )
    recognised = format == "auto" and any(
        kind.recognises(probe) for probe in probes for kind in FORMATS.values()
    )
    if format == "mapping" or (format == "auto" and (by_hand or not recognised)):
        names = _names(probes[0])
        roles = _with_plain(roles, names, gold)
        _refuse_without(probes[0].path, roles, names)
        if names:  # else its reader says what is wrong
            _refuse_lists(probes[0], roles)
    reading = read(
        several,
        format,
        mapping=roles,
        steps=steps,
        max_rejected=max_rejected,
        group_by=group_by,
        unanswered=True,
    )
    _second(reading, gold, names)
    return reading


def _names(probe: FileProbe) -> list[str]:
    jsonl = probe.suffix in (".jsonl", ".json", ".ndjson")
    return first_keys(probe.path) if jsonl else list(probe.keys)


def _with_plain(roles: Mapping[str, str], names: Sequence[str], gold: str | None) -> dict[str, str]:
    """The roles that a person named, and of the others those whose column has a usual name."""
    told = spelt(roles)
    if any("[]" in column for column in told.values()):  # nested rollouts: named by path
        return dict(roles)
    by_name = {name.lower(): name for name in reversed(names)}
    found = dict(roles)
    for role, usual in PLAIN.items():
        named = role in told or (role == "utility" and any(r.startswith("utility.") for r in told))
        column = next((by_name[word] for word in usual if word in by_name), None)
        if not named and column is not None and column not in told.values():
            found[role] = column
    if gold is not None and gold in names and gold not in told.values():
        found[f"utility.{gold}"] = gold
    return found


def _refuse_without(path: Path, roles: Mapping[str, str], names: Sequence[str]) -> None:
    """Refuse plain columns among which nothing is a reward, or tells prompts apart."""
    words = set(spelt(roles))
    held = ", ".join(names[:16]) or "nothing that can be read"
    if not names:
        return  # its reader says what is wrong
    if not any(word.partition(".")[0] == "utility" for word in words):
        raise DataError(
            f"{path}: no column is called like a reward (it holds {held}). Name it: --map "
            "reward=COLUMN."
        )
    if not words & {"context", "prompt"}:
        raise DataError(
            f"{path}: no column tells which candidates share a prompt (it holds {held}). Name it: "
            "--map context=COLUMN, or --map prompt=COLUMN."
        )


def _refuse_lists(probe: FileProbe, roles: Mapping[str, str]) -> None:
    """Refuse a column of rewards that holds lists: it must be said which lists go together."""
    told = spelt(roles)
    name = next(column for role, column in told.items() if role.partition(".")[0] == "utility")
    if "[]" in name or not _of_lists(probe, name):
        return
    text = told.get("completion")
    if text is not None and _of_lists(probe, text):
        raise DataError(
            f"{probe.path}: {name} and {text} hold lists, all candidates of a prompt in a row. Say "
            f"which go together: --map 'reward={name}[],completion={text}[]', with prompt=COLUMN."
        )
    raise DataError(
        f"{probe.path}: {name} holds lists, and one number a candidate is wanted. Put each score "
        "into a column of its own, or name another: --map reward=COLUMN."
    )


def _of_lists(probe: FileProbe, column: str) -> bool:
    """Whether the first row has a list there."""
    if probe.suffix == ".parquet":
        return type(probe.keys.get(column)).__name__ in ("List", "Array")
    rows = first_rows(probe.path, dict[str, Any], 1)
    return bool(rows) and isinstance(rows[0].get(column), list)


def _second(reading: Reading, gold: str | None, names: Sequence[str]) -> None:
    """Refuse a second score that is not there, or is the first."""
    if gold is None:
        return
    known = list(reading.utility)
    if gold not in known:
        near = get_close_matches(gold, [*known, *names], 1, 0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SpecError(
            f"--gold {gold[:60]}: no such score among what was read ({', '.join(known) or 'none'})."
            f"{hint} Name its column: --map utility.{gold[:60]}=COLUMN."
        )
    if known[0] == gold:
        raise SpecError(
            f"--gold {gold}: this is the reward that the rules select by. Name another column, or "
            "the reward with --map utility=COLUMN."
        )


LARGEST = 1e140
"""The largest reward: sums of squares of 10^28 of them are finite."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Candidates as the rules see them, and what is reported of them.

    Attributes:
        reading: Where they come from.
        rows: Their places in the reading, [N].
        pool: What rules read.
        utility: Utility that is reported, [N].
        name: Its name; ``value`` for a weighed sum of several.
        gold: Second score, which no rule reads, [N]; None without one.
        gold_name: Its name.
        sourced: The target and where it came from.
        similarity: Which one minimum Bayes risk uses.
        pattern: Regular expression of answers; None: the usual marks.
        notes: What was assumed or left out.
    """

    reading: Reading
    rows: Int[np.ndarray, " N"]
    pool: SelectionPool
    utility: Float[np.ndarray, " N"]
    name: str
    gold: Float[np.ndarray, " N"] | None
    gold_name: str | None
    sourced: SourcedTarget
    similarity: Similarity = "token_f1"
    pattern: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def contexts(self) -> Groups:
        """Candidates in contexts."""
        return self.pool.contexts

    @cached_property
    def alike(self) -> int:
        """Prompts whose candidates all have the same value: rules that read it cannot choose."""
        value = to_numpy(self.pool.value)
        low, high = (to_numpy(end(value)) for end in (self.contexts.min, self.contexts.max))
        return int((low == high).sum())

    @cached_property
    def k(self) -> int:
        """The K up to which curves are drawn: what makes use of the most candidates.

        Prompts with fewer are left out of the curves, and those with more count as K-subsets.
        """
        sizes, counts = np.unique(self.contexts.sizes, return_counts=True)
        at_least = counts[::-1].cumsum()[::-1]
        return int(sizes[len(sizes) - 1 - int(np.argmax((sizes * at_least)[::-1]))])

    @cached_property
    def effective(self) -> Float[np.ndarray, " C"]:
        """Effective candidates of every context, by their weights; NaN where none has any."""
        return to_numpy(ess(to_numpy(self.pool.log_w), self.contexts))

    @cached_property
    def lengths(self) -> Float[np.ndarray, " N"] | None:
        """Tokens of every candidate; None where some are not known."""
        known = self.reading.labels.length
        if known is None:
            return None
        lengths: Float[np.ndarray, " N"] = np.asarray(known, dtype=np.float64)[self.rows]
        return lengths

    @cached_property
    def completions(self) -> list[list[str]]:
        """Completions of every context, by a second pass over the files.

        Raises:
            SpecError: The files hold no texts.
        """
        if "completion" not in self.reading.source.roles:
            raise SpecError(
                "minimum Bayes risk compares the texts of the candidates, and the files hold none. "
                "Name their column: --map completion=COLUMN."
            )
        _, found = self.reading.text_columns(self.rows)
        ends = self.contexts.offsets.tolist()
        return [found[a:b] for a, b in pairwise(ends)]


def scored(
    reading: Reading,
    rules: Sequence[SelectionRule],
    *,
    k: int | None = None,
    eta: float | None = None,
    target: Any = None,
    gold: str | None = None,
    pattern: str | None = None,
    alike: Similarity = "token_f1",
) -> Scored:
    """A reading with the target's weights, and what else the rules need.

    Args:
        reading: The candidates.
        rules: Whether answers and texts are needed is for them to say.
        k: Only the first so many candidates of every prompt count; None: all.
        eta: Sharpness in nats per unit of reward, q* ∝ μ·exp(ηU); None: that of the run, else 1.
        target: q* in the place of that; None: as the run says.
        gold: Name of the second score.
        pattern: Regular expression of answers.
        alike: Similarity of minimum Bayes risk.

    Raises:
        SpecError: No target can be made, or a rule needs what the files do not hold.
        DataError: There is no reward, or no prompt with two candidates.
    """
    sourced = choose(reading, target, eta, None)
    if sourced is None or not len(reading):
        raise DataError(
            "the files hold no rewards to rerank by. Name their column: --map utility=COLUMN, "
            "context=COLUMN (or prompt=COLUMN)."
        )
    groups, rows = _first(reading.contexts, k)
    if int(groups.sizes.max()) < 2:
        raise DataError(_alone(reading, k))
    _refuse_huge(reading)
    general = sourced.target.target
    full = pool_of(general, reading)
    codes, notes = _codes(reading, rules, pattern)
    single = len(general.tilts) <= 1
    name = (general.utilities or tuple(reading.utility))[0] if single else "value"
    value = to_numpy(utility_value(general, reading))[rows]
    pool = SelectionPool(
        contexts=groups,
        value=value,
        log_w=None if full.log_w is None else to_numpy(full.log_w)[rows],
        answers=None if codes is None else local_codes(codes[rows], groups),
    )
    utility = to_numpy(reading.utilities(name))[rows] if single else value
    if sourced.source == "assumed" and any(rule.needs_anchors for rule in rules):
        notes += ("eta = 1 is assumed: give your own with --eta",)
    return Scored(
        reading=reading,
        rows=rows,
        pool=pool,
        utility=value if np.array_equal(utility, value) else utility,
        name=name,
        gold=None if gold is None else to_numpy(reading.utilities(gold))[rows],
        gold_name=gold,
        sourced=sourced,
        similarity=alike,
        pattern=pattern,
        notes=notes,
    )


def _first(contexts: Groups, k: int | None) -> tuple[Groups, Int[np.ndarray, " N"]]:
    """The first k candidates of every context, and their places."""
    if k is None:
        return contexts, np.arange(contexts.total)
    most = int(contexts.sizes.max())
    if k < 1:
        raise SpecError(f"--k {k}: at least one candidate of every prompt is needed.")
    if k > most:
        raise SpecError(
            f"--k {k}: no prompt has more than {most} candidates. Give at most {most}, or leave "
            "--k out to use all."
        )
    if k == most:
        return contexts, np.arange(contexts.total)
    return Groups(np.minimum(contexts.sizes, k)), np.flatnonzero(contexts.position < k)


def _refuse_huge(reading: Reading) -> None:
    """Refuse rewards whose squares leave double precision: they have no error of the mean."""
    for name, column in reading.utility.items():
        largest = float(np.abs(to_numpy(column)).max(initial=0.0))
        if largest > LARGEST:
            raise DataError(
                f"{name} reaches {largest:.3g}: means and their errors of rewards beyond "
                f"{LARGEST:g} leave double precision. Divide the rewards by a constant."
            )


def _alone(reading: Reading, k: int | None) -> str:
    if k == 1:
        return "--k 1: one candidate a prompt leaves nothing to select. Give at least 2."
    here = reading.files[0] if reading.files else "the reading"
    return (
        f"{here}: each of {counted(len(reading.contexts), 'prompt')} has one candidate: there is "
        "nothing to select. If several rows share a prompt, name the column that tells it: --map "
        "context=COLUMN."
    )


def _codes(
    reading: Reading, rules: Sequence[SelectionRule], pattern: str | None
) -> tuple[Int[np.ndarray, " N"] | None, tuple[str, ...]]:
    """Codes of the answers where a rule votes: the column, else what the texts hold."""
    if not any(isinstance(rule, MajorityVote | WeightedVote) for rule in rules):
        return None, ()
    known = reading.labels.answer
    if known is not None and pattern is None:
        codes = np.asarray(known)  # −1 is no answer; of texts, codes are any other 64 bits
        return np.where(codes == -1, -1, codes & np.int64(2**63 - 1)), ()
    if "completion" not in reading.source.roles:
        raise SpecError(
            "a vote counts answers, and the files hold neither answers nor texts. Name one of "
            "them: --map answer=COLUMN or --map completion=COLUMN."
        )
    _, texts = reading.text_columns(np.arange(len(reading)))
    answers = [answer(text, pattern) for text in texts]
    found = answer_codes(answers)
    if not (found >= 0).any():
        how = "is empty" if pattern is None else f"has a match of --answer {pattern[:60]!r}"
        what = "every response" if pattern is None else "no response"
        raise DataError(f"a vote has nothing to count: {what} {how}.")
    if len(found) and int(found.max()) + 1 > 0.95 * len(found):
        return found, ("nearly every answer is another text: --answer REGEX finds what to count",)
    return found, ()


def search_of(reading: Reading) -> Mapping[str, Any]:
    """How the run directory searched that the files lie in; empty where there is none."""
    from tod.runs import RunDirectory

    if reading.source.format != "tod" or not reading.files:
        return {}
    root = reading.files[0].parent.parent
    if not (root / "manifest.json").is_file():
        return {}
    try:
        told = RunDirectory.open(root).manifest.recipe.get("search")
    except (RunError, DataError):
        return {}
    return told if isinstance(told, dict) else {}
