"""`tod.rerank`: rules of selection side by side on the same scored candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import to_numpy
from tod.base.displayed import Displayed
from tod.diagnostics.coverage import pass_at_k
from tod.formats import Reading
from tod.operators import MinimumBayesRisk, RejectionSampling, Selection, SelectionRule
from tod.reranking.answers import check_pattern, similarity
from tod.reranking.answers_file import frames, print_answers, write_answers
from tod.reranking.curve import DRAWN, SUBSETS, Outcomes, Table, curves, sizes
from tod.reranking.means import mean_over_contexts, named
from tod.reranking.ranked import Ranked, Ranking
from tod.reranking.rules import rules_of
from tod.reranking.scored import Scored, read_scored, scored, search_of
from tod.reranking.selecting import Pairs, draws_of, select, select_by_pairs, strengths
from tod.reranking.verdict import Measure, Verdict, values_of, verdict_of, within_unit

if TYPE_CHECKING:
    import polars as pl

SCHEMA = "tod.rerank/1"


@dataclass(frozen=True, eq=False, repr=False)
class Reranked(Ranking, Displayed):
    """Answers of several rules on the same candidates, their curves, and the verdict."""

    @cached_property
    def in_curve(self) -> Bool[np.ndarray, " C"]:
        """Prompts that have as many candidates as the curves reach."""
        return self.scored.contexts.sizes >= self.scored.k

    @cached_property
    def verdict(self) -> Verdict:
        """What the curves say, of the rule that was named first."""
        return verdict_of(self.scored, self.ranked[0])

    def to_frame(self) -> "pl.DataFrame":
        """A row a prompt and rule: what an answers file holds."""
        import polars as pl

        return pl.concat(frames(self))

    def write(self, path: str | Path) -> Path:
        """The answers as JSON lines, a line a prompt and rule.

        Raises:
            RunError: The file cannot be written.
        """
        return write_answers(self, Path(path))

    def print_answers(self) -> None:
        """The answers as JSON lines on stdout."""
        print_answers(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, schema ``tod.rerank/1``."""
        sized = self.scored.contexts.sizes
        return {
            "schema": SCHEMA,
            "source": self.scored.reading.source.to_dict(),
            "target": self.scored.sourced.to_dict(),
            "seed": self.seed,
            "utility": self.scored.name,
            "gold": self.scored.gold_name,
            "contexts": len(sized),
            "candidates": self.scored.contexts.total,
            "k": {"min": int(sized.min()), "max": int(sized.max()), "curve": self.scored.k},
            "contexts_in_curve": int(self.in_curve.sum()),
            "rules": [self.of_rule(ranked) for ranked in self.ranked],
            "verdict": self.verdict.to_dict(),
            "notes": list(self.scored.notes),
        }

    def of_rule(self, ranked: Ranked) -> dict[str, Any]:
        """What is told of one rule: all candidates, what it puts out, the gain, the curve."""
        return {
            "rule": ranked.rule.model_dump(mode="json"),
            "name": ranked.name,
            **self._ends(ranked.selection),
            "effective": ranked.effective,
            **self._bound(ranked.rule),
            "curve": [self._point(ranked, i) for i in range(len(ranked.sizes))],
        }

    def _point(self, ranked: Ranked, at: int) -> dict[str, Any]:
        k, found = ranked.sizes[at], ranked.outcomes[at]
        first = self.ranked[0].outcomes[at]
        against = None if first is found else _difference(found, first, self.verdict.measure)
        return {
            "k": k,
            "tokens": self._tokens(k),
            **named("utility", found.utility, found.accepted, within=self._passes is not None),
            **named("pass_rate", found.passed, within=True),
            **named(
                "gold",
                found.gold,
                None if found.gold is None else found.accepted,
                within=within_unit(self.scored.gold),
            ),
            "accepted": float(found.accepted.mean()),
            **named("coverage", self._coverage(k), within=True),
            "method": "exact" if found.exact else "subsampling",
            "against_first": against,
        }

    def _tokens(self, k: int) -> float | None:
        """Mean tokens of k candidates of a prompt; None where lengths are not known."""
        return None if self._length is None else k * self._length

    @cached_property
    def _length(self) -> float | None:
        """Mean tokens of a candidate of the curve, each prompt counting once."""
        lengths = self.scored.lengths
        if lengths is None:
            return None
        return float(to_numpy(self.scored.contexts.mean(lengths))[self.in_curve].mean())

    @cached_property
    def _covered(self) -> dict[int, Float[np.ndarray, " C"]]:
        """pass@k by k, which all rules share."""
        return {}

    @cached_property
    def _passes(self) -> Float[np.ndarray, " N"] | None:
        utility = self.scored.utility
        return (utility >= 1.0).astype(np.float64) if within_unit(utility) else None

    def _coverage(self, k: int) -> Float[np.ndarray, " C"] | None:
        """pass@k of every prompt: that any of k candidates passes, which no rule exceeds."""
        if self._passes is None:
            return None
        if k not in self._covered:
            groups = self.scored.contexts
            passed = to_numpy(groups.sum(self._passes))[self.in_curve]
            sizes = groups.sizes[self.in_curve]
            self._covered[k] = pass_at_k(sizes, passed.astype(np.int64), k)
        return self._covered[k]

    def _ends(self, selection: Selection) -> dict[str, Any]:
        """Mean of the candidates (pass@1), what was selected, and the paired difference.

        Utility is over the prompts for which anything was selected, its gain over the same ones;
        in the pass rate every prompt counts, and one without a selection is a miss.
        """
        groups, accepted = self.scored.contexts, selection.accepted.astype(np.float64)
        before: dict[str, Any] = {}
        after: dict[str, Any] = {"accepted": float(accepted.mean())}
        gain: dict[str, Any] = {}
        columns = {"utility": self.scored.utility, "gold": self.scored.gold}
        for name, column in (*columns.items(), ("pass_rate", self._passes)):
            if column is None:
                for told in (before, after, gain):
                    told.update(named(name, None))
                continue
            plain = to_numpy(groups.mean(column))
            put_out = np.where(selection.accepted, column[selection.rows], 0.0)
            weight = None if name == "pass_rate" else accepted
            taken = plain if weight is None else accepted * plain
            inside = within_unit(column)
            before |= named(name, plain, within=inside)
            after |= named(name, put_out, weight, within=inside)
            gain |= named(name, put_out - taken, weight)
        return {"candidates": before, "selected": after, "gain": gain}

    def _bound(self, rule: SelectionRule) -> dict[str, Any]:
        """Rejection's declared bound, the share of candidates beyond it, and the largest log w."""
        log_w = self.scored.pool.log_w
        if not isinstance(rule, RejectionSampling) or rule.log_bound is None or log_w is None:
            return {}
        top = float(to_numpy(log_w).max())
        return {
            "bound": {
                "log_bound": rule.log_bound,
                "beyond": rule.beyond(log_w),
                "largest_log_w": top if np.isfinite(top) else None,
            }
        }


def rerank(
    candidates: str | Path | Sequence[str | Path] | Reading,
    rules: str | SelectionRule | Sequence[str | SelectionRule] | None = None,
    *,
    k: int | None = None,
    eta: float | None = None,
    target: Any = None,
    gold: str | None = None,
    seed: int | None = None,
    answer: str | None = None,
    subsets: int | None = None,
    format: str = "auto",  # noqa: A002 - the word on the command line
    mapping: Mapping[str, str] | None = None,
    steps: str | None = None,
    group_by: str = "step",
    max_rejected: float = 0.01,
) -> Reranked:
    """Put an answer to every prompt out of its scored candidates, by several rules at once.

    >>> import tod
    >>> found = tod.rerank("scored.jsonl", ["best_of_k", "vote"])  # doctest: +SKIP
    >>> found.write("answers.jsonl")  # doctest: +SKIP

    Args:
        candidates: Files that TOD reads, plain JSON lines or Parquet of prompt, response and
            reward, or a reading.
        rules: Names such as ``best_of_k``, ``sir``, ``vote``; the first one is judged. None: the
            rule of the run directory, else ``best_of_k``.
        k: Only the first so many candidates of every prompt count; None: all.
        eta: Sharpness in nats per unit of reward of the target q* ∝ μ·exp(ηU), for rules that
            weigh; None: the run's own target, else 1.
        target: A target in the place of that.
        gold: Name of a second score, which no rule reads: it tells over-optimisation.
        seed: Seed of everything that is drawn; None: the run's own, else 0.
        answer: Regular expression that finds a completion's answer, for votes.
        subsets: Subsets of every size that a curve averages over in a prompt, at least, where no
            closed form is known; None: the run's own, else 64, and fewer of many candidates.
        format: Name of the format, or ``auto``.
        mapping: Columns by role.
        steps: Training steps wanted, ``"a:b"``.
        group_by: ``step`` or ``context``, as `tod.read` takes it.
        max_rejected: Share of rows without a reward that may be left out.

    Raises:
        SpecError: A rule, a role or a score is not known, or a rule needs what is not there.
        DataError: The files cannot be read, or there is nothing to select.
    """
    if isinstance(candidates, Reading):
        reading = candidates
    else:
        reading = read_scored(
            candidates,
            format,
            mapping=mapping,
            gold=gold,
            steps=steps,
            group_by=group_by,
            max_rejected=max_rejected,
        )
    if answer is not None:
        check_pattern(answer)
    told = search_of(reading)
    chosen = rules_of(_own_rule(reading) if rules is None else rules)
    subsets = told.get("subsets") if subsets is None else subsets
    seed = int(told.get("seed", 0)) if seed is None else seed
    found = scored(
        reading,
        tuple(chosen),
        k=k,
        eta=eta,
        target=target,
        gold=gold,
        pattern=told.get("answer") if answer is None else answer,
        alike=told.get("similarity", "token_f1"),
    )
    return Reranked(found, _all_ranked(chosen, found, subsets, seed), seed)


def _own_rule(reading: Reading) -> Any:
    """The rule of the run that the reading is of, else best of K."""
    from tod.operators import Operator

    if search_of(reading) and reading.source.operator is not None:
        action = Operator.parse(reading.source.operator).action
        if isinstance(action, SelectionRule):
            return action
    return "best_of_k"


def _all_ranked(
    rules: Mapping[SelectionRule, str], found: Scored, subsets: int | None, seed: int
) -> tuple[Ranked, ...]:
    """What every rule puts out and its curve, from one set of draws.

    Candidates that were resampled while they were drawn depend on one another: fewer of them are
    not what a search of fewer gives, so that their curve is its last point.
    """
    half = found.k // 2
    ks = sorted({*sizes(found.k), half, 2 * half})  # the last doubling, and the last even one
    if any(rule.while_drawing for rule in rules):
        ks = [found.k]
    lines = _curves(tuple(rules), found, ks, subsets, seed)
    draws = draws_of(seed, found.contexts)
    return tuple(
        _ranked(rule, name, found, draws, ks, line)
        for (rule, name), line in zip(rules.items(), lines, strict=True)
    )


def _ranked(
    rule: SelectionRule,
    name: str,
    found: Scored,
    draws: Float[np.ndarray, " N"],
    ks: Sequence[int],
    line: Sequence[Outcomes],
) -> Ranked:
    pairs = pairs_of(found) if isinstance(rule, MinimumBayesRisk) else None
    if pairs is None:
        selection = select(rule, found.pool, draws)
    else:
        selection = select_by_pairs(rule, found.pool, draws, pairs)
    strength = strengths(rule, found.pool, pairs)
    return Ranked(
        rule=rule,
        name=name,
        selection=selection,
        strength=np.where(selection.accepted, strength[selection.rows], np.nan),
        sizes=tuple(ks),
        outcomes=tuple(line),
        effective=_effective(rule, found, strength, selection),
    )


def pairs_of(found: Scored) -> Pairs:
    """Similarities of all pairs of some contexts, from their texts."""

    def pairs(chosen: Int[np.ndarray, " c"]) -> Float[np.ndarray, " P"]:
        texts = found.completions
        return np.concatenate(
            [similarity(texts[c], found.similarity).ravel() for c in chosen.tolist()]
        )

    return pairs


def _curves(
    rules: Sequence[SelectionRule],
    found: Scored,
    ks: Sequence[int],
    subsets: int | None,
    seed: int,
) -> list[list[Outcomes]]:
    """Every rule at every size, of the prompts that have enough candidates, in their order."""
    sized = found.contexts.sizes
    inside = sized[sized >= found.k]
    total, most = int(inside.sum()), None
    if subsets is None and total > DRAWN:
        most = DRAWN // len(inside)
    count = max(1, min(SUBSETS, DRAWN // total)) if subsets is None else subsets
    tables = _tables(found, any(isinstance(rule, MinimumBayesRisk) for rule in rules), most)
    made = [curves(rules, table, ks, count=count, seed=seed) for table in tables]
    if len(tables) == 1:
        return made[0]
    order = np.argsort(np.concatenate([table.numbers for table in tables]), kind="stable")
    return [
        [_joined([part[r][i] for part in made], order) for i in range(len(ks))]
        for r in range(len(rules))
    ]


def _tables(found: Scored, compares: bool, most: int | None) -> list[Table]:
    """The prompts of the curve, a table a size; with their texts where a rule compares them."""
    pool, made = found.pool, []

    def shaped(values: Any, rows: Int[np.ndarray, "g k"]) -> Any:
        if values is None:
            return None
        whole = to_numpy(values)
        return whole.reshape(rows.shape) if rows.size == len(whole) else whole[rows]

    for where, rows in found.contexts.by_size():
        if rows.shape[1] < found.k:
            continue
        numbers = np.arange(len(found.contexts))[where]
        value = shaped(pool.value, rows)
        made.append(
            Table(
                value=value,
                utility=value if found.utility is pool.value else shaped(found.utility, rows),
                log_w=shaped(pool.log_w, rows),
                answers=shaped(pool.answers, rows),
                texts=[found.completions[c] for c in numbers.tolist()] if compares else (),
                alike=found.similarity,
                gold=shaped(found.gold, rows),
                number=numbers,
                most=most,
            )
        )
    return made


def _joined(parts: Sequence[Outcomes], order: Int[np.ndarray, " C"]) -> Outcomes:
    def column(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if any(v is None for v in values) else np.concatenate(values)[order]

    accepted, utility, passed, gold = map(column, ("accepted", "utility", "passed", "gold"))
    return Outcomes(accepted, utility, passed, parts[0].exact, gold)


def _difference(found: Outcomes, first: Outcomes, measure: Measure) -> dict[str, Any] | None:
    """Against the first rule, paired by prompt; None where one of them leaves prompts out."""
    ours, theirs = values_of(found, measure), values_of(first, measure)
    return None if ours is None or theirs is None else mean_over_contexts(ours - theirs)


def _effective(
    rule: SelectionRule, found: Scored, strength: Float[np.ndarray, " N"], selection: Selection
) -> float | None:
    """Candidates that share the choice, in the median prompt that something is put out of."""
    where = np.flatnonzero(selection.accepted)
    if not len(where):
        return None
    if rule.kind in ("best_of_k", "majority_vote"):
        of_best = strength[selection.rows[where]]
        sizes_of = found.contexts.sizes[where]
        each = 1 / of_best if rule.kind == "best_of_k" else of_best * sizes_of
    else:
        each = found.effective[where]
    return float(np.median(each))
