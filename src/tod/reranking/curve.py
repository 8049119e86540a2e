"""What a rule puts out of k candidates, for every k up to the K that were drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Groups
from tod.base.uniforms import row_keys, uniforms
from tod.operators import BestOfK, MinimumBayesRisk, SelectionPool, SelectionRule
from tod.reranking.answers import Similarity, similarity
from tod.reranking.order import in_order, rank_chances
from tod.reranking.selecting import Pairs, chances, in_parts

SUBSETS, DRAWN = 64, 1 << 19
"""Subsets of every size in a prompt unless it is said how many, and candidates that they hold
together, about: more prompts need fewer of each, one at least."""

ROUNDING = 1e-9
"""By how much shares that sum to one may miss it."""


@dataclass(frozen=True)
class Table:
    """Candidates of contexts of one size, K a context.

    Attributes:
        value: What the target tilts by, Σ_k η_k U_k / Σ_k |η_k|, which rules maximise, [C, K].
        utility: Utility that is reported, [C, K].
        log_w: log q̃*/μ, nats, [C, K]; None where it is not known.
        answers: Answer codes, negative for none, [C, K]; None where they are not known.
        texts: Completions, C lists of K, for minimum Bayes risk only.
        alike: Which similarity that rule uses.
        gold: A second utility, which no rule reads, [C, K]; None without one.
        number: Number of every context among all, [C]; None: these are all.
        most: Candidates that the subsets of one size may hold in a context; None: no bound.
    """

    value: Float[np.ndarray, "C K"]
    utility: Float[np.ndarray, "C K"]
    log_w: Float[np.ndarray, "C K"] | None = None
    answers: Int[np.ndarray, "C K"] | None = None
    texts: Sequence[Sequence[str]] = ()
    alike: Similarity = "token_f1"
    gold: Float[np.ndarray, "C K"] | None = None
    number: Int[np.ndarray, " C"] | None = None
    most: int | None = None

    @cached_property
    def orders(self) -> dict[tuple[int, int], Int[np.ndarray, "C K"]]:
        """Permutations that were drawn, by (draw, seed): all sizes and rules share them."""
        return {}

    def subsets(
        self, contexts: Int[np.ndarray, " c"], k: int, count: int, seed: int
    ) -> Int[np.ndarray, "c B k"]:
        """At least ``count`` subsets of k candidates of some contexts, in random order.

        A permutation is cut into ⌊K/k⌋ disjoint subsets, so that every candidate is used equally
        often where k divides K, and all of them are taken unless their number is bounded.
        """
        size = self.value.shape[1]
        blocks = size // k
        if self.most is not None:
            blocks = max(1, min(blocks, self.most // k))
        rows = []
        for draw in range(-(-count // blocks) if self.most is None else 1):
            if (draw, seed) not in self.orders:
                self.orders[draw, seed] = permutation(self.numbers, size, draw, seed)
            order = self.orders[draw, seed][contexts, : blocks * k]
            rows.append(order.reshape(len(contexts), blocks, k))
        return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)

    @property
    def passed(self) -> Bool[np.ndarray, "C K"] | None:
        """Full marks (1); None where the utility is not one within [0, 1]."""
        inside = bool(np.all((self.utility >= 0) & (self.utility <= 1)))
        return self.utility >= 1.0 if inside else None

    @property
    def numbers(self) -> Int[np.ndarray, " C"]:
        """Number of every context among all."""
        return np.arange(len(self.value)) if self.number is None else self.number


@dataclass(frozen=True)
class Outcomes:
    """What is put out of k candidates, by context: means over the subsets of its K.

    Attributes:
        accepted: Share of the subsets of which anything is put out, [C].
        utility: Mean of U·1{accepted}, [C].
        passed: Share of the subsets of which a passing candidate is put out, [C], or None.
        exact: Whether this is a closed form and not subsampled.
        gold: Mean of the second utility·1{accepted}, [C], or None.
    """

    accepted: Float[np.ndarray, " C"]
    utility: Float[np.ndarray, " C"]
    passed: Float[np.ndarray, " C"] | None
    exact: bool
    gold: Float[np.ndarray, " C"] | None = None


def sizes(size: int) -> list[int]:
    """1, 2, 4, … and K."""
    doubled = [1 << i for i in range(size.bit_length())]
    return sorted({*(k for k in doubled if k < size), size})


def outcomes(rule: SelectionRule, table: Table, k: int, *, count: int, seed: int) -> Outcomes:
    """The rule on k candidates: exact for best-of-K, else over ``count`` subsets a context.

    Every subset is averaged over what the rule itself draws, E[U] = Σ P_i U_i.
    """
    return curves([rule], table, [k], count=count, seed=seed)[0][0]


def curves(
    rules: Sequence[SelectionRule], table: Table, ks: Sequence[int], *, count: int, seed: int
) -> list[list[Outcomes]]:
    """The same for several rules and k: the rules share the subsets, and what is read of them."""
    drawing = [rule for rule in rules if not isinstance(rule, BestOfK)]
    drawn = [_subsampled(drawing, table, k, count, seed) for k in ks] if drawing else []
    of_rule = iter([list(column) for column in zip(*drawn, strict=True)])
    exact = _in_closed_form(table, ks) if len(drawing) < len(rules) else []
    return [exact if isinstance(rule, BestOfK) else next(of_rule) for rule in rules]


def _read_off(table: Table) -> list[Float[np.ndarray, "C K"] | None]:
    """What is reported of a candidate that is put out: utility, whether it passes, gold."""
    passed = table.passed
    marks = None if passed is None else passed.astype(np.float64)
    if marks is not None and np.array_equal(marks, table.utility):
        marks = table.utility  # 0/1 already: what is found of the one is found of the other
    return [table.utility, marks, table.gold]


def _in_closed_form(table: Table, ks: Sequence[int]) -> list[Outcomes]:
    """Best of k, for all k by one sort."""
    size = table.value.shape[1]
    law = np.stack([rank_chances(size, k) for k in ks], axis=1)
    same = table.value if np.array_equal(table.utility, table.value) else table.utility
    found: dict[int, Any] = {}
    means = []
    for column in _read_off(table):
        if column is not None and id(column) not in found:
            read = same if column is table.utility else column
            found[id(column)] = (in_order(table.value, read) @ law).T
        means.append([None] * len(ks) if column is None else found[id(column)])
    whole = np.ones(len(table.value))
    return [Outcomes(whole, u, p, True, g) for u, p, g in zip(*means, strict=True)]


def _subsampled(
    rules: Sequence[SelectionRule], table: Table, k: int, count: int, seed: int
) -> list[Outcomes]:
    """Every rule over the same subsets of k."""
    size = table.value.shape[1]
    compares = any(isinstance(rule, MinimumBayesRisk) for rule in rules)
    held = np.full(len(table.value), max(count * k, size * (size if compares else 1)))
    read = _read_off(table)
    made: list[list[list[Any]]] = [[] for _ in rules]
    for contexts in in_parts(held):
        subsets = table.subsets(contexts, k, count, seed)
        drawn = _Drawn(table, contexts, subsets)
        for rule, found in zip(rules, made, strict=True):
            found.append(drawn.means(rule, read))
    return [_together(found) for found in made]


def _together(parts: Sequence[Sequence[Any]]) -> Outcomes:
    accepted, utility, passed, gold = (
        None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True)
    )
    assert accepted is not None and utility is not None  # noqa: S101, PT018
    return Outcomes(accepted, utility, passed, False, gold)


class _Drawn:
    """Subsets of some contexts, and what rules see of them; read once for all rules.

    Attributes:
        table: Where they come from.
        contexts: The contexts, [c].
        subsets: Places of their candidates, [c, B, k].
        pool: The subsets as contexts of k candidates.
    """

    def __init__(
        self, table: Table, contexts: Int[np.ndarray, " c"], subsets: Int[np.ndarray, "c B k"]
    ) -> None:
        self.table, self.contexts, self.subsets = table, contexts, subsets
        n, many, k = subsets.shape
        self._at = (subsets + (contexts * table.value.shape[1])[:, None, None]).ravel()
        self._columns: dict[int, np.ndarray] = {}
        self.pool = SelectionPool(
            contexts=Groups.equal(n * many, k),
            value=self._pick(table.value),
            log_w=None if table.log_w is None else self._pick(table.log_w),
            answers=None if table.answers is None else self._pick(table.answers),
        )

    def _pick(self, values: np.ndarray) -> np.ndarray:
        if id(values) not in self._columns:
            self._columns[id(values)] = values.reshape(-1)[self._at]
        return self._columns[id(values)]

    def means(
        self, rule: SelectionRule, read: Sequence[Float[np.ndarray, "C K"] | None]
    ) -> list[Float[np.ndarray, " c"] | None]:
        """Accepted, and the columns to read off what is put out, over the subsets."""
        n, many, k = self.subsets.shape
        pairs = None
        if isinstance(rule, MinimumBayesRisk):
            pairs = _pairs(self.table, self.contexts, self.subsets)
        weight = chances(rule, self.pool, pairs)

        def mean(values: np.ndarray) -> Float[np.ndarray, " c"]:
            return (values.reshape(n, many * k)).sum(axis=1) / many  # type: ignore[no-any-return]

        means = [None if x is None else mean(weight * self._pick(x)) for x in read]
        accepted = mean(weight)
        return [np.where(accepted > 1 - ROUNDING, 1.0, accepted), *means]


def _pairs(table: Table, contexts: Int[np.ndarray, " c"], rows: Int[np.ndarray, "c B k"]) -> Pairs:
    """G of all pairs of some of the subsets; every context is compared once."""
    grids = np.stack([similarity(table.texts[int(c)], table.alike) for c in contexts])
    owner = np.repeat(np.arange(len(contexts)), rows.shape[1])
    sets = rows.reshape(len(owner), -1)

    def pairs(chosen: Int[np.ndarray, " s"]) -> Float[np.ndarray, " P"]:
        picked, whose = sets[chosen], owner[chosen][:, None, None]
        found: Float[np.ndarray, " P"] = grids[whose, picked[:, :, None], picked[:, None, :]]
        return found.ravel()

    return pairs


def permutation(
    contexts: Int[np.ndarray, " C"], size: int, draw: int, seed: int
) -> Int[np.ndarray, "C K"]:
    """A random order of the candidates of every context: a function of (seed, context, draw)."""
    keys = row_keys(seed, 0, contexts[:, None], np.arange(size))
    return np.argsort(uniforms(keys, draw), axis=1)
