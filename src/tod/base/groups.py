"""Reductions over groups: flat arrays whose consecutive runs belong together.

Tokens in sequences and candidates in contexts are both ``Groups``: sizes >= 1, elements of a
group contiguous. Seven reductions take [N] to [G], ``spread`` takes [G] back to [N]. Nothing
is padded and nothing is masked. Equal sizes (the common case) become a reshape.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base.arrays import Array, is_numpy, namespace
from tod.base.errors import DataError

__all__ = ["Grid", "Groups"]


@dataclass(frozen=True, eq=False)
class Groups:
    """G groups over N elements, given by their sizes (int64, each >= 1).

    Attributes:
        sizes: Number of elements of every group, in order.
    """

    sizes: Int[np.ndarray, " G"]

    def __post_init__(self) -> None:
        """Check and freeze the sizes."""
        given = np.asarray(self.sizes)
        if given.dtype.kind not in "iu" and not bool(
            (np.isfinite(given) & (np.floor(given) == given)).all()
        ):
            raise DataError(
                f"group sizes of type {given.dtype} hold fractions or NaN: give whole numbers."
            )
        sizes = np.array(given, dtype=np.int64, copy=True).reshape(-1)
        if sizes.size and int(sizes.min()) < 1:
            where = int(np.argmin(sizes))
            raise DataError(
                f"group {where} of {sizes.size} has size {int(sizes[where])}: every group holds at "
                "least one element. Drop empty groups before building Groups."
            )
        sizes.flags.writeable = False
        object.__setattr__(self, "sizes", sizes)

    @classmethod
    def equal(cls, count: int, size: int) -> "Groups":
        """``count`` groups of ``size`` elements each."""
        return cls(np.full(count, size, dtype=np.int64))

    @classmethod
    def from_keys(cls, keys: Iterable[Any]) -> tuple["Groups", Int[np.ndarray, " N"]]:
        """Groups of equal keys, and the stable order that makes them contiguous.

        Groups come in the order in which their keys first appear; ``x[order]`` is grouped.
        """
        first: dict[Any, int] = {}
        codes = np.fromiter((first.setdefault(k, len(first)) for k in keys), dtype=np.int64)
        return cls(np.bincount(codes, minlength=len(first))), np.argsort(codes, kind="stable")

    def __eq__(self, other: object) -> bool:
        """Same sizes in the same order."""
        return isinstance(other, Groups) and np.array_equal(self.sizes, other.sizes)

    def __hash__(self) -> int:
        """Hash of the sizes."""
        return hash(self.sizes.tobytes())

    def __len__(self) -> int:
        """Number of groups G."""
        return int(self.sizes.size)

    @cached_property
    def total(self) -> int:
        """Number of elements N."""
        return int(self.sizes.sum())

    @cached_property
    def uniform(self) -> int | None:
        """The common size, or None when sizes differ or there is no group."""
        if not self.sizes.size:
            return None
        first = int(self.sizes[0])
        return first if bool((self.sizes == first).all()) else None

    @cached_property
    def offsets(self) -> Int[np.ndarray, " G+1"]:
        """Start of every group, and N at the end."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.sizes)])

    @cached_property
    def owner(self) -> Int[np.ndarray, " N"]:
        """The group of every element."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.sizes)

    @cached_property
    def position(self) -> Int[np.ndarray, " N"]:
        """The place of every element inside its group, from 0."""
        return np.arange(self.total, dtype=np.int64) - np.repeat(self.offsets[:-1], self.sizes)  # type: ignore[no-any-return]

    @cached_property
    def pairs(self) -> "Grid":
        """All ordered pairs of elements of the same group."""
        return Grid.of(self)

    def take(self, chosen: Int[np.ndarray, " g"]) -> tuple["Groups", Int[np.ndarray, " n"]]:
        """The chosen groups, in that order, and the indices of their elements."""
        picked = Groups(self.sizes[chosen])
        start = np.repeat(self.offsets[:-1][chosen], picked.sizes)
        return picked, start + picked.position

    def by_size(
        self,
    ) -> Iterator[tuple[Int[np.ndarray, " g"] | slice, Int[np.ndarray, "g k"]]]:
        """Every size k that occurs: the places of its groups, and those of their elements."""
        if self.uniform is not None:
            yield slice(None), np.arange(self.total).reshape(len(self), self.uniform)
            return
        for size in np.unique(self.sizes).tolist():
            where = np.flatnonzero(self.sizes == size)
            yield where, self.offsets[where][:, None] + np.arange(size)

    def split(self, x: np.ndarray) -> list[list[Any]]:
        """Every group's elements as a plain list."""
        flat = x.tolist()
        return [flat[a:b] for a, b in pairwise(self.offsets.tolist())]

    def within(self, outer: "Groups") -> "Groups":
        """Elements of these groups, grouped by ``outer`` (tokens in contexts)."""
        if outer.total != len(self):
            raise DataError(
                f"outer groups hold {outer.total} elements, there are {len(self)} groups."
            )
        return Groups(np.add.reduceat(self.sizes, outer.offsets[:-1]) if len(outer) else self.sizes)

    def sum(self, x: Float[Array, " N"]) -> Float[Array, " G"]:
        """Sum over every group; booleans are counted."""
        self._check(x)
        if x.dtype == namespace(x).bool:
            x = namespace(x).astype(x, namespace(x).int64)
        if self._few and is_numpy(x):
            return self._by_columns(np.add, x)  # type: ignore[no-any-return]
        if self.uniform is not None:
            return namespace(x).sum(x.reshape(len(self), self.uniform), axis=1)  # type: ignore[attr-defined, no-any-return]
        if is_numpy(x):
            return np.add.reduceat(x, self.offsets[:-1]) if len(self) else x[:0]  # type: ignore[arg-type]
        zeros = x.new_zeros(len(self))  # type: ignore[attr-defined]
        return zeros.index_add(0, self._owner_on(x), x)  # type: ignore[no-any-return]

    def mean(self, x: Float[Array, " N"]) -> Float[Array, " G"]:
        """Mean over every group."""
        return self.sum(x) / self.sizes_like(x)  # type: ignore[no-any-return]

    def max(self, x: Float[Array, " N"]) -> Float[Array, " G"]:
        """Largest element of every group; NaN if the group holds one."""
        return self._extreme(x, "max")  # type: ignore[no-any-return]

    def min(self, x: Float[Array, " N"]) -> Float[Array, " G"]:
        """Smallest element of every group; NaN if the group holds one."""
        return self._extreme(x, "min")  # type: ignore[no-any-return]

    def logsumexp(self, x: Float[Array, " N"]) -> Float[Array, " G"]:
        """Log Σ exp x over every group, for any magnitude.

        All −∞ gives −∞, any +∞ gives +∞, any NaN gives NaN.
        """
        xp = namespace(x)
        top = self.max(x)
        finite = xp.isfinite(top)
        shift = xp.where(finite, top, xp.zeros_like(top))
        shift = shift.detach() if hasattr(shift, "detach") else shift
        # A spread beyond 1.8e308 is a term of zero, an empty sum has logarithm −∞: both are meant.
        with np.errstate(over="ignore", divide="ignore"):
            return xp.log(self.sum(xp.exp(x - self.spread(shift)))) + shift  # type: ignore[no-any-return]

    def softmax(self, x: Float[Array, " N"]) -> Float[Array, " N"]:
        """exp(x − logsumexp x) in every group; sums to one. All −∞ is undefined and gives NaN."""
        xp = namespace(x)
        lse = self.logsumexp(x)
        nan = xp.full_like(lse, float("nan"))
        return xp.exp(x - self.spread(xp.where(lse == -float("inf"), nan, lse)))  # type: ignore[comparison-overlap, no-any-return]

    def variance(self, x: Float[Array, " N"], ddof: int = 1) -> Float[Array, " G"]:
        """Variance of every group with divisor size − ddof; NaN where that is not positive.

        ∞ where the squares leave the float range.
        """
        xp = namespace(x)
        centred = x - self.spread(self.mean(x))
        freedom = self.sizes_like(x) - ddof
        safe = xp.where(freedom > 0, freedom, xp.ones_like(freedom))
        with np.errstate(over="ignore"):
            value = self.sum(centred * centred) / safe
        return xp.where(freedom > 0, value, xp.full_like(value, float("nan")))  # type: ignore[no-any-return]

    def spread(self, y: Array) -> Any:
        """One value per group, repeated over its elements: [G] to [N]."""
        if y.shape[0] != len(self):
            raise DataError(
                f"spread needs one value per group: {len(self)} groups, {y.shape[0]} values."
            )
        if is_numpy(y):
            return np.repeat(np.asarray(y), self.sizes)
        if self.uniform is not None:
            return y.repeat_interleave(self.uniform)  # type: ignore[attr-defined]
        return y[self._owner_on(y)]

    def sizes_like(self, x: Array) -> Any:
        """The sizes as floats of the type and device of ``x``."""
        if is_numpy(x):
            return self.sizes.astype(x.dtype if np.issubdtype(x.dtype, np.floating) else np.float64)
        return namespace(x).asarray(self.sizes.copy(), dtype=x.dtype, device=x.device)  # type: ignore[attr-defined]

    def _extreme(self, x: Array, kind: str) -> Any:
        self._check(x)
        if is_numpy(x):
            operation = np.maximum if kind == "max" else np.minimum
            if self._few:
                return self._by_columns(operation, x)
            return operation.reduceat(x, self.offsets[:-1]) if len(self) else x[:0]  # type: ignore[arg-type]
        if self.uniform is not None:
            shaped = x.reshape(len(self), self.uniform)  # type: ignore[attr-defined]
            return getattr(namespace(x), kind)(shaped, axis=1)
        start = x.new_full((len(self),), float("-inf") if kind == "max" else float("inf"))  # type: ignore[attr-defined]
        return start.scatter_reduce(0, self._owner_on(x), x, f"a{kind}")

    @property
    def _few(self) -> bool:
        """Whether groups are equal and so short that numpy is faster over columns than rows."""
        return self.uniform is not None and self.uniform <= 8 <= len(self)

    def _by_columns(self, operation: np.ufunc, x: Any) -> Any:
        rows = x.reshape(len(self), self.uniform)
        result = rows[:, 0].copy()
        for column in rows.T[1:]:
            operation(result, column, out=result)
        return result

    def _owner_on(self, x: Array) -> Any:
        return namespace(x).asarray(self.owner.copy(), device=x.device)  # type: ignore[attr-defined]

    def _check(self, x: Array) -> None:
        if len(x.shape) != 1 or x.shape[0] != self.total:
            raise DataError(
                f"expected {self.total} elements in {len(self)} groups, got shape {tuple(x.shape)}."
            )


@dataclass(frozen=True)
class Grid:
    """All ordered pairs (i, j) of elements of the same group, K² of a group of K, row by row.

    It is regular, so that values of pairs flow back by a reduction over rows and one over columns.

    Attributes:
        rows: Partners of every element: N groups of K elements.
        first: Element i of every pair, [P].
        second: Element j of every pair, [P].
        mirror: Place of (j, i), [P].
    """

    rows: Groups
    first: Int[np.ndarray, " P"]
    second: Int[np.ndarray, " P"]
    mirror: Int[np.ndarray, " P"]

    @classmethod
    def of(cls, groups: Groups) -> "Grid":
        """The grid of some groups."""
        rows = Groups(np.repeat(groups.sizes, groups.sizes))
        start = np.repeat(groups.offsets[:-1], groups.sizes)
        first, second = rows.owner, rows.position + start[rows.owner]
        return cls(rows, first, second, rows.offsets[:-1][second] + first - start[first])

    def add_up(
        self, by_first: Float[Array, " P"], by_second: Float[Array, " P"]
    ) -> Float[Array, " N"]:
        """What every element gets from its pairs, as the first and as the second, [N]."""
        return self.rows.sum(by_first + by_second[self.mirror])
