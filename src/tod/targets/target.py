"""The target q*(y|c) ∝ b(y|c)·exp(Σ_k η_k U_k(y,c)): an anchored exponential tilt.

The anchor b is a mixture given over *names* of policies, so that terms which cancel against the
proposal do so symbolically and need no log-probs at all.
"""

from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, FiniteFloat, model_validator

from tod.base import Array, DataError, Spec, SpecError, namespace, to_numpy
from tod.candidates import Candidates
from tod.targets.anchor import Anchor, Mixture, letters, names_of, powers, renamed
from tod.targets.by_eta import AnyEta
from tod.targets.selectivity import Selectivity


class Tilt(Spec):
    """One factor exp(η U) of the target."""

    utility: str
    """Name of the utility U."""
    eta: AnyEta
    """Sharpness η in nats per unit of utility. 0 leaves the anchor, negative is a penalty."""


class Target(Spec):
    """q* ∝ Π_j π_j^{ρ_j} · exp(Σ_k η_k U_k) · 1{support}: the general form of every target here.

    Source: TOD framework, section 2; multi-objective form and support restriction likewise.
    """

    kind: Literal["tilt"] = "tilt"
    anchor: Anchor
    """b: exponent ρ_j of every policy in Π_j π_j^{ρ_j}, or an arithmetic ``mixture``."""
    tilts: tuple[Tilt, ...] = ()
    """Utilities and their sharpness; none means q* = b."""
    support: tuple[str, ...] = ()
    """Utilities that act as hard constraints: a candidate with a value of 0 or less is outside
    the support (log q* = −∞) but stays among the K candidates."""
    selectivity: Selectivity | None = None
    """Instead of tilts: the mass that passes should have, which fixes η in every context."""
    semantics: Literal["sampled", "fixed"] | None = None
    """What the candidates have to be; None takes either, each by its own reading."""
    noise_scale: Annotated[FiniteFloat, Field(gt=0.0)] = 1.0
    """s of the choices P(y₁ ≻ y₂) = σ((U₁ − U₂)/s): read by preference losses, no part of q*."""

    @model_validator(mode="after")
    def _distinct(self) -> "Target":
        names = [tilt.utility for tilt in self.tilts]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"utility {repeated[0]!r} is tilted twice: add its etas into one tilt")
        if self.selectivity is not None and self.tilts:
            raise ValueError("selectivity fixes η by itself: give tilts or selectivity, not both")
        return self

    @property
    def target(self) -> "Target":
        """Itself: every catalog entry has a ``target``, and this is the general one."""
        return self

    @property
    def sharpness(self) -> float:
        """Σ_k |η_k|: how many nats one unit of utility is worth, over all utilities.

        Raises:
            SpecError: A selectivity gives every context its own.
        """
        if self.selectivity is not None:
            raise SpecError(
                "a selectivity has one η per context, found from its pass rate: there is no single "
                "sharpness. Ask `selectivity.etas`, or declare η."
            )
        return sum(abs(tilt.eta) for tilt in self.tilts)

    @property
    def utilities(self) -> tuple[str, ...]:
        """Names of all utilities that are read, constraints included."""
        tilted = [tilt.utility for tilt in self.tilts]
        selected = [] if self.selectivity is None else [self.selectivity.utility]
        return tuple(dict.fromkeys([*tilted, *selected, *self.support]))

    @property
    def names(self) -> tuple[str, ...]:
        """Policies that the anchor is made of."""
        return names_of(self.anchor)

    def __str__(self) -> str:
        """The target in the paper's letters: ``q* ∝ π_old^0.75·π_ref^0.25·exp(5·correct)``."""
        tilts = [f"{tilt.eta:.4g}·{tilt.utility}" for tilt in self.tilts]
        if self.selectivity is not None:
            chosen = self.selectivity
            tilts.append(f"η_c·{chosen.utility} with mass {chosen.mass:g} on passes")
        kept = "".join(f"·1{{{name} > 0}}" for name in self.support)
        factors = [letters(self.anchor), kept[1:], f"exp({' + '.join(tilts)})" if tilts else ""]
        return "q* ∝ " + ("·".join(filter(None, factors)) or "1")

    def needs(self, semantics: str = "sampled") -> frozenset[str]:
        """Names of the policies whose log-probs the weights need, after cancellation."""
        sampled = semantics == "sampled"
        if isinstance(self.anchor, Mixture) and len(self.anchor.weights) > 1:
            return frozenset([*self.anchor.weights, *(["mu"] if sampled else [])])
        return frozenset(powers(self.anchor, sampled))

    def tilt(self, candidates: Candidates) -> Float[Array, " N"]:
        """Σ_k η_k U_k(y_i), [N], nats; −∞ outside the support and where a utility is −∞.

        A utility of −∞ forbids its candidate at every η ≥ 0 (the constraint of section 2).
        """
        total: Any = None
        if self.selectivity is not None:
            total = self.selectivity.tilt(candidates, self._log_base(candidates))
        for tilt in self.tilts:
            term = _scaled(candidates.utilities(tilt.utility), tilt)
            total = term if total is None else total + term
        if total is None:
            total = _zeros(candidates)
        for name in self.support:
            values = candidates.utilities(name)
            xp = namespace(values)
            total = xp.where(values > 0, total, xp.full_like(total, -float("inf")))
        return total  # type: ignore[no-any-return]

    def surpassed(self, candidates: Candidates) -> float | None:
        """Share of the contexts whose anchor passes more often than the selectivity asks.

        Their η is 0 in the place of a negative one. None without a selectivity.
        """
        if self.selectivity is None:
            return None
        wanted = self.selectivity.wanted(candidates, self._log_base(candidates))
        return float(np.mean(to_numpy(wanted) < 0))

    def value(self, candidates: Candidates) -> Float[Array, " N"]:
        """Σ_k η_k U_k / Σ_k |η_k|, [N]: the utility itself when there is one with η > 0.

        0 at η = 0. With a selectivity: its utility.
        """
        if self.selectivity is not None:
            return candidates.utilities(self.selectivity.utility)  # type: ignore[no-any-return]
        tilt: Any = self.tilt(candidates)
        if self.sharpness == 0.0:
            return namespace(tilt).zeros_like(tilt)  # type: ignore[no-any-return]
        return tilt / self.sharpness  # type: ignore[no-any-return]

    def log_anchor(self, candidates: Candidates) -> Float[Array, " N"]:
        """The anchor log b(y_i) = Σ_j ρ_j log π_j(y_i), [N], nats, unnormalised.

        Raises:
            MissingLogProbs: An anchor's log-probs were not recorded.
        """
        why = "the anchor of the target"
        if isinstance(self.anchor, Mixture):
            return self.anchor.log_prob(candidates, why)
        return _product(powers(self.anchor, False), candidates, why)  # type: ignore[no-any-return]

    def log_density(self, candidates: Candidates) -> Float[Array, " N"]:
        """The density log q̃*(y_i) = log b + Σ_k η_k U_k, [N], nats, up to log Z(c)."""
        return self.log_anchor(candidates) + self.tilt(candidates)  # type: ignore[no-any-return]

    def log_weights(self, candidates: Candidates) -> Float[Array, " N"]:
        """The weights log w_i = log q̃*(y_i) − log μ(y_i), [N], nats, up to a constant per context.

        Exponents of the same name cancel before any log-prob is read: with b = μ only the tilt is
        left. With ``fixed`` semantics there is no proposal and log w = log q̃*.

        Raises:
            MissingLogProbs: A policy that did not cancel was not recorded.
            DataError: The target asks for the other semantics.
        """
        tilt, base = self.parts(candidates)
        return tilt + base  # type: ignore[no-any-return]

    def parts(self, candidates: Candidates) -> tuple[Any, Any]:
        """Σ_k η_k U_k and log b/μ, [N] each: what ``log_weights`` adds up, with its errors."""
        if self.semantics not in (None, candidates.semantics):
            raise DataError(
                f"the target is over {self.semantics} candidates and these are "
                f"{candidates.semantics}: dividing by μ, or not, would be biased. Use candidates "
                "of that semantics, or leave `semantics` open."
            )
        return self.tilt(candidates), self._log_base(candidates)

    def _log_base(self, candidates: Candidates) -> Any:
        """The base log b/μ of samples, log b of a fixed set, [N], after cancellation.

        Raises:
            MissingLogProbs: A policy that did not cancel was not recorded.
        """
        sampled, why = candidates.semantics == "sampled", "log q*/μ"
        if isinstance(self.anchor, Mixture) and len(self.anchor.weights) > 1:
            log_b = self.anchor.log_prob(candidates, why)
            return log_b - candidates.log_prob("mu", why) if sampled else log_b
        return _product(powers(self.anchor, sampled), candidates, why)

    def identified(self, same: dict[str, str]) -> "Target":
        """The target with some names read as others, ``{"old": "mu"}`` when μ is π_old."""
        return self.revised(anchor=renamed(self.anchor, same))

    def sharpened(self, factor: float) -> "Target":
        """Every η_k multiplied by ``factor``; the anchor stays."""
        return self.revised(
            tilts=[{"utility": tilt.utility, "eta": tilt.eta * factor} for tilt in self.tilts]
        )

    def knobs(self) -> dict[str, float]:
        """What a controller may turn: the overall sharpness."""
        return {"eta": self.sharpness} if self.tilts else {}

    def turned(self, knobs: dict[str, float]) -> "Target":
        """The target with its overall sharpness set; the proportions of the η_k stay."""
        return turned_by_sharpness(self, knobs, self.sharpness)


def turned_by_sharpness(target: Target, knobs: dict[str, float], sharpness: float) -> Target:
    """The target scaled so that its sharpness is ``knobs["eta"]``.

    Raises:
        SpecError: Another knob is named, or there is no tilt to scale.
    """
    if set(knobs) != {"eta"}:
        raise SpecError(f"a tilt is turned by 'eta' alone, got {sorted(knobs)}.")
    if sharpness == 0.0:
        raise SpecError("this target has no tilt (η = 0): there is nothing for eta to scale.")
    return target.sharpened(knobs["eta"] / sharpness)


def _scaled(values: Any, tilt: Tilt) -> Any:
    xp = namespace(values)
    forbidden = values == -float("inf")
    if not bool(xp.any(forbidden)):
        return tilt.eta * values
    if tilt.eta < 0:
        raise SpecError(
            f"utility {tilt.utility!r} is −∞ for some candidates and its eta is {tilt.eta}: a "
            "negative eta would make the forbidden ones infinitely likely. Use `support`."
        )
    safe = xp.where(forbidden, xp.zeros_like(values), values)
    return xp.where(forbidden, values, tilt.eta * safe)


def _product(exponents: dict[str, float], c: Candidates, why: str) -> Any:
    total: Any = None
    for name, exponent in exponents.items():
        term = exponent * c.log_prob(name, why)
        total = term if total is None else total + term
    return _zeros(c) if total is None else total


def _zeros(candidates: Candidates) -> Any:
    known = [*candidates.utility.values(), *candidates.log_anchor.values()]
    if candidates.log_mu is not None:
        known.append(candidates.log_mu)
    if not known:
        raise SpecError("these candidates carry neither utilities nor log-probs: nothing to weigh.")
    return namespace(known[0]).zeros_like(known[0])
