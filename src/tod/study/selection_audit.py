"""The audit of test time: does what a selection rule puts out follow its target?"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.atlas import SharesTarget
from tod.base import Groups
from tod.operators import (
    BestOfK,
    MajorityVote,
    MinimumBayesRisk,
    RejectionSampling,
    Resample,
    SelectionPool,
    SelectionRule,
    SequentialMonteCarlo,
    WeightedVote,
)
from tod.procedure import Procedure
from tod.study import selection_laws as laws
from tod.study.distances import mean_variation
from tod.study.particles import ParticleWorld
from tod.study.population import Policies, candidates
from tod.study.sampled import draw
from tod.study.world import Law, generator, normalised

SIZES = (2, 4, 8, 16, 64)
"""Candidates K at which a selection is audited."""
_UNIFORMS = 7
_WANTED, _ROUGHLY = 20_000, 5_000
"""Selections that are drawn where an exact law checks them, and where none does."""


@dataclass(frozen=True)
class SelectionAtK:
    """What was put out from K candidates.

    Attributes:
        k: K.
        tv: TV of the law at this K to the target, mean over contexts: exact where a law is
            derived, else of the drawn one.
        limit_tv: TV to where it goes as K → ∞.
        predicted_tv: TV of the rule's own draws to the exact law at this K; None where none is
            derived.
        selected: Share of groups from which anything was put out.
    """

    k: int
    tv: float
    limit_tv: float
    predicted_tv: float | None
    selected: float


@dataclass(frozen=True)
class SelectionAudit:
    """What a selection claims, and what it puts out.

    Attributes:
        recipe: Its name.
        shares_target: The claim; None when there is none.
        measured: ``yes`` if its law goes to q* as K → ∞, else ``no``.
        limit: Where it goes, in letters.
        tv: TV of that law to q*.
        on_policy: By K, with μ = b.
        off_policy: By K, with another μ.
        eta: Sharpness at which it was audited.
        passed: The claim is what was found, every drawn law is the exact one, and the law is
            nearer to its limit at the largest K than at the smallest.
    """

    recipe: str
    shares_target: SharesTarget | None
    measured: SharesTarget
    limit: str
    tv: float
    on_policy: tuple[SelectionAtK, ...]
    off_policy: tuple[SelectionAtK, ...]
    eta: float
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class _Scene:
    """A rule before candidates of μ.

    An answer is a sequence's last symbol; G is the share of places with the same symbol.
    """

    rule: SelectionRule
    log_mu: Law
    u: Law
    log_w: Law
    answers: Int[np.ndarray, " Y"]
    alike: Float[np.ndarray, "Y Y"]
    particles: ParticleWorld | None = None

    @classmethod
    def of(cls, procedure: Procedure, policies: Policies, log_mu: Law) -> "_Scene":
        target = procedure.tilt
        found = candidates(policies, target, log_mu, log_mu)
        shape = log_mu.shape
        log_b = np.asarray(target.log_anchor(found)).reshape(shape)
        tilt = np.asarray(target.tilt(found)).reshape(shape)
        u = np.asarray(target.value(found)).reshape(shape)
        log_w = log_b + tilt - log_mu
        rule = procedure.operator.action
        if isinstance(rule, RejectionSampling):  # a tight bound: fewer draws are thrown away
            rule = rule.revised(log_bound=float(log_w.max()))
        language = policies.world.language
        ends = language.sequences.offsets[1:] - 1
        assert isinstance(rule, SelectionRule)  # noqa: S101 - the caller asked
        guide = policies.teacher if getattr(rule, "guide", None) != "ref" else policies.world.base
        particles = ParticleWorld(language, log_mu, guide, u)
        symbols = language.symbols[ends]
        return cls(rule, log_mu, u, log_w, symbols, _alike(language), particles)

    @property
    def target(self) -> Law:
        return normalised(self.log_mu + self.log_w)

    def limit(self) -> tuple[str, Law]:
        """Where the rule goes as K → ∞."""
        rule, mu = self.rule, self.log_mu
        if isinstance(rule, BestOfK):
            return "argmax U", laws.all_on(self.u, mu)
        if isinstance(rule, RejectionSampling):
            bound = np.inf if rule.log_bound is None else rule.log_bound
            return "μ·min(w, M)", laws.law_of_accepted(mu, self.log_w, bound)
        if isinstance(rule, MajorityVote):
            return "μ(·|mode of μ's answers)", laws.mode_of_answers(mu, mu, self.answers)
        if isinstance(rule, WeightedVote):
            return "μ(·|mode of q*'s answers)", laws.mode_of_answers(self.target, mu, self.answers)
        if isinstance(rule, MinimumBayesRisk):
            gain = np.exp(self.target) @ self.alike
            return "argmax E_q*[G(y, ·)]", laws.all_on(gain, mu)
        return "q*", self.target

    def exact(self, size: int) -> Law | None:
        """The law at K, where one is derived."""
        rule, mu = self.rule, self.log_mu
        if isinstance(rule, BestOfK):
            return laws.law_of_best(mu, self.u, size)
        if isinstance(rule, Resample):
            return laws.law_of_resampled(mu, self.log_w, size)
        if isinstance(rule, MajorityVote):
            return laws.law_of_majority(mu, self.answers, size)
        if isinstance(rule, RejectionSampling) and rule.log_bound is not None:
            return laws.law_of_accepted(mu, self.log_w, rule.log_bound)
        return None

    def drawn(self, size: int, seed: int = 0) -> tuple[Law, float]:
        """The law of what the rule itself puts out, and the share of groups that put out any."""
        count, width = self.log_mu.shape
        seen = np.zeros((count, width))
        tried, batch = 0, max(500, 80_000 // size)
        wanted = _ROUGHLY if self.exact(size) is None else _WANTED
        while tried < 50 and seen.sum(axis=1).min() < wanted:
            put = self._selected(size, batch, seed, tried)
            tried += 1
            for c in range(count):
                seen[c] += np.bincount(put[c][put[c] >= 0], minlength=width)
        share = float(seen.sum() / (tried * batch * count))
        with np.errstate(divide="ignore"):
            return np.log(seen / seen.sum(axis=1, keepdims=True)), share

    def _selected(self, size: int, batch: int, seed: int, number: int) -> Int[np.ndarray, "C B"]:
        """Sequences that were put out of every group; −1 where none was."""
        count = len(self.log_mu)
        if isinstance(self.rule, SequentialMonteCarlo):
            return self._resampled(self.rule, size, batch, generator(seed, _UNIFORMS, size, number))
        rows = draw(self.log_mu, batch * size, seed, size, number)
        place = np.arange(count)[:, None]
        contexts = Groups.equal(count * batch, size)
        pool = SelectionPool(
            contexts,
            self.u[place, rows].ravel(),
            self.log_w[place, rows].ravel(),
            self.answers[rows].ravel(),
            self._similar(rows, size),
        )
        uniforms = generator(seed, _UNIFORMS, size, number).random(rows.size)
        found = self.rule.select(pool, uniforms)
        put = np.where(found.accepted, rows.ravel()[np.maximum(found.rows, 0)], -1)
        return put.reshape(count, batch)

    def _resampled(
        self, rule: SequentialMonteCarlo, size: int, batch: int, rng: np.random.Generator
    ) -> Int[np.ndarray, "C B"]:
        """Sequences that were put out of groups that were resampled while they were drawn."""
        assert self.particles is not None  # noqa: S101 - a scene has them
        rows, gain, _ = self.particles.run(rule, batch, size, rng)
        count = len(rows)
        place = np.arange(count)[:, None, None]
        contexts = Groups.equal(count * batch, size)
        log_w = (self.log_w[place, rows] - gain).ravel()
        pool = SelectionPool(contexts, self.u[place, rows].ravel(), log_w)
        found = rule.select(pool, rng.random(rows.size))
        put: Int[np.ndarray, "C B"] = rows.ravel()[found.rows].reshape(count, batch)
        return put

    def _similar(self, rows: Int[np.ndarray, "C M"], size: int) -> Any:
        if not isinstance(self.rule, MinimumBayesRisk):
            return None
        grouped = rows.reshape(-1, size)
        return self.alike[grouped[:, :, None], grouped[:, None, :]].ravel()

    def at(self, size: int) -> SelectionAtK:
        """All that is said of one K."""
        law, share = self.drawn(size)
        exact = self.exact(size)
        kept = law if exact is None else exact
        return SelectionAtK(
            k=size,
            tv=mean_variation(kept, self.target),
            limit_tv=mean_variation(kept, self.limit()[1]),
            predicted_tv=None if exact is None else mean_variation(law, exact),
            selected=share,
        )


def audit_selection(
    called: str,
    claim: SharesTarget | None,
    procedure: Procedure,
    policies: Policies,
    off: Law,
    sizes: tuple[int, ...] = SIZES,
    same: float = 0.02,
) -> SelectionAudit:
    """Draw groups of K from μ, select by the rule itself, and compare with exact laws.

    Args:
        called: Name of the recipe.
        claim: What it claims; None for nothing.
        procedure: Its target, at the sharpness of the audit, and its rule.
        policies: The world and its policies.
        off: μ of the off-policy half.
        sizes: K, ascending.
        same: TV up to which two laws are the same.
    """
    on_scene = _Scene.of(procedure, policies, policies.world.base)
    letters, limit = on_scene.limit()
    apart = mean_variation(limit, on_scene.target)
    on = tuple(on_scene.at(size) for size in sizes)
    off_scene = _Scene.of(procedure, policies, off)
    away = tuple(off_scene.at(size) for size in sizes)
    measured: SharesTarget = "yes" if apart <= same else "no"
    said = measured == "yes" if claim is None else claim == measured
    exact = all(row.predicted_tv is None or row.predicted_tv <= same for row in (*on, *away))
    nearer = all(rows[-1].limit_tv <= max(rows[0].limit_tv, same) for rows in (on, away))
    eta = procedure.tilt.sharpness
    passed = said and exact and nearer
    return SelectionAudit(called, claim, measured, letters, apart, on, away, eta, passed)


def _alike(language: Any) -> Float[np.ndarray, "Y Y"]:
    """Share of places with the same symbol, over the longer of two sequences."""
    width = language.length
    table = np.full((len(language), width), -1, dtype=np.int64)
    table[language.sequences.owner, language.sequences.position] = language.symbols
    both = (table[:, None, :] == table[None, :, :]) & (table[:, None, :] >= 0)
    longest = np.maximum.outer(language.sequences.sizes, language.sequences.sizes)
    return both.sum(axis=2) / longest  # type: ignore[no-any-return]
