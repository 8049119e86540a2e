"""What rules do with scored candidates, before anything is said of it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tod.operators import Selection, SelectionRule
from tod.reranking.curve import Outcomes
from tod.reranking.scored import Scored


@dataclass(frozen=True, eq=False)
class Ranked:
    """What one rule does with the candidates.

    Attributes:
        rule: The rule.
        name: What it was called, or its kind with what is not usual about it.
        selection: What it puts out of all candidates of every prompt.
        strength: How much speaks for what is put out, [C]; NaN where nothing is.
        sizes: Sizes of the curve.
        outcomes: What it puts out of so many, by prompt of the curve.
        effective: Candidates that share the choice in the median prompt: tied best, votes of the
            winner, or the effective sample size of the weights.
    """

    rule: SelectionRule
    name: str
    selection: Selection
    strength: Float[np.ndarray, " C"]
    sizes: tuple[int, ...]
    outcomes: tuple[Outcomes, ...]
    effective: float | None


@dataclass(frozen=True, eq=False, repr=False)
class Ranking:
    """What several rules do with the same candidates.

    Attributes:
        scored: The candidates.
        ranked: One a rule, in the order in which they were named.
        seed: Seed of everything that is drawn.
    """

    scored: Scored
    ranked: tuple[Ranked, ...]
    seed: int
