"""What a rule puts out of k candidates, for every k up to the K that were drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Groups
from tod.base.uniforms import row_keys, uniforms
from tod.operators import BestOfK, MinimumBayesRisk, Pool, SelectionRule
from tod.reranking.answers import Similarity, similarity
from tod.reranking.order import in_order, rank_chances
from tod.reranking.selecting import Pairs, chances, in_parts

SUBSETS, DRAWN = 64, 1 << 19
"""Subsets of every size in a prompt unless it is said how many, and candidates that they hold
together, about: more prompts need fewer of each."""

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
    """

    value: Float[np.ndarray, "C K"]
    utility: Float[np.ndarray, "C K"]
    log_w: Float[np.ndarray, "C K"] | None = None
    answers: Int[np.ndarray, "C K"] | None = None
    texts: Sequence[Sequence[str]] = ()
    alike: Similarity = "token_f1"
    gold: Float[np.ndarray, "C K"] | None = None
    number: Int[np.ndarray, " C"] | None = None

    @cached_property
    def orders(self) -> dict[tuple[int, int], Int[np.ndarray, "C K"]]:
        """Permutations that were drawn, by (draw, seed): all sizes and rules share them."""
        return {}

    def subsets(
        self, contexts: Int[np.ndarray, " c"], k: int, count: int, seed: int
    ) -> Int[np.ndarray, "c B k"]:
        """At least ``count`` subsets of k candidates of some contexts, in random order.

        A permutation is cut into ⌊K/k⌋ disjoint subsets, so that every candidate is used equally
        often where k divides K.
        """
        size = self.value.shape[1]
        blocks = size // k
        rows = []
        for draw in range(-(-count // blocks)):
            if (draw, seed) not in self.orders:
                self.orders[draw, seed] = permutation(self.numbers, size, draw, seed)
            order = self.orders[draw, seed][contexts, : blocks * k]
            rows.append(order.reshape(len(contexts), blocks, k))
        return np.concatenate(rows, axis=1)

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
    return outcomes_at(rule, table, [k], count=count, seed=seed)[0]


def outcomes_at(
    rule: SelectionRule, table: Table, ks: Sequence[int], *, count: int, seed: int
) -> list[Outcomes]:
    """The same for several k."""
    if isinstance(rule, BestOfK):
        return _in_closed_form(table, ks)
    return [_subsampled(rule, table, k, count, seed) for k in ks]


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


def _subsampled(rule: SelectionRule, table: Table, k: int, count: int, seed: int) -> Outcomes:
    size = table.value.shape[1]
    each = max(count * k, size * (size if isinstance(rule, MinimumBayesRisk) else 1))
    held = np.full(len(table.value), each)
    read = _read_off(table)
    parts = [_part(rule, table, read, rows, k, count, seed) for rows in in_parts(held)]
    accepted, utility, passed, gold = (
        None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True)
    )
    assert accepted is not None and utility is not None  # noqa: S101, PT018
    return Outcomes(accepted, utility, passed, False, gold)


def _part(
    rule: SelectionRule,
    table: Table,
    read: Sequence[Float[np.ndarray, "C K"] | None],
    contexts: Int[np.ndarray, " c"],
    k: int,
    count: int,
    seed: int,
) -> list[Float[np.ndarray, " c"] | None]:
    """Accepted, utility, passing and gold shares of some contexts."""
    rows = table.subsets(contexts, k, count, seed)
    n, many = rows.shape[:2]

    def pick(values: np.ndarray | None) -> np.ndarray | None:
        if values is None:
            return None
        return np.take_along_axis(values[contexts], rows.reshape(n, -1), axis=1)

    def flat(values: np.ndarray | None) -> Any:
        picked = pick(values)
        return None if picked is None else picked.ravel()

    pool = Pool(
        contexts=Groups.equal(n * many, k),
        value=flat(table.value),
        log_w=flat(table.log_w),
        answers=flat(table.answers),
    )
    pairs = _pairs(table, contexts, rows) if isinstance(rule, MinimumBayesRisk) else None
    weight = chances(rule, pool, pairs).reshape(n, many * k)
    picked = (pick(values) for values in read)
    means = [None if x is None else (weight * x).sum(axis=1) / many for x in picked]
    accepted = weight.sum(axis=1) / many
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
    owner, place = np.repeat(contexts, size), np.tile(np.arange(size), len(contexts))
    drawn = uniforms(row_keys(seed, 0, owner, place), draw).reshape(len(contexts), size)
    return np.argsort(drawn, axis=1)
