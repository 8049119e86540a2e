"""The general target: an anchored exponential tilt q*(y|c) ∝ b(y|c)·exp(Σ_k η_k·U_k(y, c)).

The anchor b is given over *names* of policies, so that what cancels against the proposal cancels
symbolically and needs no log-probs at all. Every row of Table 1 is a `TargetFamily` that makes one.
"""

import math
from abc import abstractmethod
from typing import Annotated, Any, Literal, Self

import numpy as np
from jaxtyping import Float
from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from tod.base import Array, DataError, Spec, SpecError, namespace, to_numpy
from tod.candidates import Candidates
from tod.targets.anchor import Anchor, Mixture, letters, names_of, powers, renamed
from tod.targets.selectivity import Selectivity

__all__ = ["Target", "TargetFamily", "Tilt"]

LARGEST = 1e9
"""Largest |η|: of log b + ηU float64 keeps 1e-7 nats of log b there, and loses it beyond."""


def usable(eta: float) -> float:
    """The sharpness itself.

    Raises:
        ValueError: It is not a number, or so large that log b would be lost in log b + ηU.
    """
    if abs(eta) <= LARGEST:
        return eta
    if math.isnan(eta):
        raise ValueError("eta is nan: give a finite number")
    raise ValueError(
        f"eta = {eta:g}: log b + ηU keeps log b in double precision up to |eta| = {LARGEST:g}, "
        f"which for rewards more than 1e-7 apart already is the limit η → ∞, b on the best "
        "reward. Use at most that, or weigh by `best` or `accepted`"
    )


AnyEta = Annotated[float, Field(allow_inf_nan=True), AfterValidator(usable)]
Sharpness = Annotated[AnyEta, Field(ge=0.0)]


class TargetFamily(Spec):
    """A row of Table 1: a ``target`` in the general form, and the knobs that a controller turns.

    A subclass with a ``kind`` of its own, in any file of this package, is a member of `TargetSpec`:
    configurations, dry runs and error messages know it, and the laws run on it. Nothing else has
    to be edited.
    """

    kind: str
    """Name of the family in a configuration."""

    @property
    @abstractmethod
    def target(self) -> "Target":
        """q* in the general form."""

    @abstractmethod
    def knobs(self) -> dict[str, float]:
        """What a controller may turn, by name; nothing where the target is fixed."""

    @abstractmethod
    def sharpened(self, eta: float) -> Self:
        """The family at another sharpness η.

        Raises:
            SpecError: η means nothing here, or is outside the family's range.
        """

    def turned(self, knobs: dict[str, float]) -> Self:
        """The family with other values of its knobs; ``turned(knobs())`` is the family itself.

        Raises:
            SpecError: The family has no such knob, or its value is out of range.
        """
        if not knobs and not self.knobs():
            return self
        if set(knobs) != {"eta"}:
            raise SpecError(f"a {self.kind} target is turned by 'eta' alone, got {sorted(knobs)}.")
        return self.sharpened(knobs["eta"])


class ByEta(TargetFamily):
    """A family whose one knob is the sharpness that it declares."""

    eta: Sharpness
    """Sharpness η ≥ 0 (nats per unit of utility). 0 leaves the anchor."""

    def knobs(self) -> dict[str, float]:
        """The sharpness."""
        return {"eta": self.eta}

    def sharpened(self, eta: float) -> Self:
        """The family at another sharpness η ≥ 0."""
        return self.revised(eta=eta)


class Tilt(Spec):
    """One factor exp(η·U) of the target."""

    utility: str
    """Name of the utility U."""
    eta: AnyEta
    """Sharpness η in nats per unit of utility. 0 leaves the anchor, negative is a penalty."""


class Target(TargetFamily):
    """q* ∝ Π_j π_j^{ρ_j} · exp(Σ_k η_k·U_k) · 1{support}: the general form of every target here.

    All methods take candidates [N] in C contexts and return nats, up to log Z(c) of every context.

    Source: TOD framework, section 2; docs/equations.md B.1, B.3
    (equations tilted-target, variational-target)
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
    def _distinct(self) -> Self:
        names = [tilt.utility for tilt in self.tilts]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"reward {repeated[0]!r} is tilted twice: add its etas into one tilt")
        if self.selectivity is not None and self.tilts:
            raise ValueError("selectivity fixes η by itself: give tilts or selectivity, not both")
        return self

    @property
    def target(self) -> "Target":
        """Itself: this is the general form."""
        return self

    @property
    def sharpness(self) -> float:
        """Σ_k |η_k|: how many nats one unit of utility is worth, over all utilities.

        Raises:
            SpecError: A selectivity gives every context its own.
        """
        if self.selectivity is not None:
            raise SpecError(
                "a selectivity has one η per prompt, found from its pass rate: there is no single "
                "sharpness. Ask `selectivity.etas`, or declare η."
            )
        return sum(abs(tilt.eta) for tilt in self.tilts)

    @property
    def common_sharpness(self) -> float | None:
        """The sharpness of every context; None where a selectivity gives each its own."""
        return self.sharpness if self.selectivity is None else None

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

    @property
    def _mixed(self) -> bool:
        """Whether the anchor is a sum of several policies, of which nothing cancels."""
        return isinstance(self.anchor, Mixture) and len(self.anchor.weights) > 1

    def __str__(self) -> str:
        """The target in the paper's letters: ``q* ∝ π_old^0.75·π_ref^0.25·exp(5·correct)``."""
        tilts = [f"{tilt.eta:.4g}·{tilt.utility}" for tilt in self.tilts]
        if self.selectivity is not None:
            fixed = self.selectivity
            tilts.append(f"η_c·{fixed.utility} with mass {fixed.mass:g} on passes")
        inside = "·".join(f"1{{{name} > 0}}" for name in self.support)
        factors = [letters(self.anchor), inside, f"exp({' + '.join(tilts)})" if tilts else ""]
        return "q* ∝ " + ("·".join(filter(None, factors)) or "1")

    def needs(self, semantics: str = "sampled") -> frozenset[str]:
        """Names of the policies whose log-probs the weights need, after cancellation."""
        sampled = semantics == "sampled"
        if self._mixed:
            return frozenset([*self.names, *(["mu"] if sampled else [])])
        return frozenset(powers(self.anchor, sampled))

    def tilt(self, candidates: Candidates) -> Float[Array, " N"]:
        """Σ_k η_k·U_k(y_i), [N], nats; −∞ outside the support and where a utility is −∞.

        A utility of −∞ forbids its candidate at every η ≥ 0.

        Source: TOD framework, section 2; docs/equations.md B.3

        Raises:
            SpecError: A utility is −∞ somewhere and its η is negative.
        """
        terms = [_scaled(candidates.utilities(tilt.utility), tilt) for tilt in self.tilts]
        if self.selectivity is not None:
            terms.append(self.selectivity.tilt(candidates, self._base_inside(candidates)))
        total = sum(terms[1:], terms[0]) if terms else _zeros(candidates)
        return self._inside(total, candidates)  # type: ignore[no-any-return]

    def surpassed(self, candidates: Candidates) -> float | None:
        """Share of the contexts whose anchor passes more often than the selectivity asks.

        Their η is 0 in the place of a negative one. None without a selectivity.
        """
        if self.selectivity is None:
            return None
        wanted = self.selectivity.wanted(candidates, self._base_inside(candidates))
        return float(np.mean(to_numpy(wanted) < 0))

    def value(self, candidates: Candidates) -> Float[Array, " N"]:
        """Σ_k η_k·U_k / Σ_k |η_k|, [N]: the utility itself when there is one with η > 0.

        0 at η = 0. With a selectivity: its utility.
        """
        if self.selectivity is not None:
            return candidates.utilities(self.selectivity.utility)  # type: ignore[no-any-return]
        tilt: Any = self.tilt(candidates)
        if self.sharpness == 0.0:
            return namespace(tilt).zeros_like(tilt)  # type: ignore[no-any-return]
        return tilt / self.sharpness  # type: ignore[no-any-return]

    def log_anchor(self, candidates: Candidates) -> Float[Array, " N"]:
        """The anchor log b(y_i) = Σ_j ρ_j·log π_j(y_i), or of a mixture, [N], nats, unnormalised.

        Raises:
            MissingLogProbs: An anchor's log-probs were not recorded.

        Source: TOD framework, section 2.3 (equation geometric-anchor)
        """
        why = "the anchor of the target"
        if isinstance(self.anchor, Mixture):
            return self.anchor.log_prob(candidates, why)
        return _product(powers(self.anchor, False), candidates, why)  # type: ignore[no-any-return]

    def log_density(self, candidates: Candidates) -> Float[Array, " N"]:
        """The density log q̃*(y_i) = log b + Σ_k η_k·U_k, [N], nats, up to log Z(c).

        Source: TOD framework, section 2; docs/equations.md B.1 (equation several-tilts)
        """
        return self.log_anchor(candidates) + self.tilt(candidates)  # type: ignore[no-any-return]

    def log_weights(self, candidates: Candidates) -> Float[Array, " N"]:
        """The weights log w_i = log q̃*(y_i) − log μ(y_i), [N], nats, up to a constant per context.

        Exponents of the same name cancel before any log-prob is read: with b = μ only the tilt is
        left. With ``fixed`` semantics there is no proposal and log w = log q̃*.

        Source: TOD framework, section 3; docs/equations.md 0, B.7 (equation log-weight)

        Raises:
            MissingLogProbs: A policy that did not cancel was not recorded.
            DataError: The target asks for the other semantics.
        """
        tilt, base = self.tilt_and_base(candidates)
        return tilt + base  # type: ignore[no-any-return]

    def tilt_and_base(self, candidates: Candidates) -> tuple[Any, Any]:
        """Σ_k η_k·U_k and log b/μ, [N] each: what ``log_weights`` adds up, with its errors."""
        if self.semantics not in (None, candidates.semantics):
            raise DataError(
                f"the target is over {self.semantics} rollouts and these are "
                f"{candidates.semantics}: dividing by μ, or not, would be biased. Use rollouts "
                "of that semantics, or leave `semantics` open."
            )
        return self.tilt(candidates), self._log_base(candidates)

    def _log_base(self, candidates: Candidates) -> Any:
        """The base log b/μ of samples, log b of a fixed set, [N], after cancellation.

        Raises:
            MissingLogProbs: A policy that did not cancel was not recorded.
        """
        sampled, why = candidates.semantics == "sampled", "log q*/μ"
        if not self._mixed:
            return _product(powers(self.anchor, sampled), candidates, why)
        log_b = self.log_anchor(candidates)
        return log_b - candidates.log_prob("mu", why) if sampled else log_b

    def _base_inside(self, candidates: Candidates) -> Any:
        """The base log b/μ inside the support, −∞ outside: what pass rates are counted with."""
        return self._inside(self._log_base(candidates), candidates)

    def _inside(self, x: Any, candidates: Candidates) -> Any:
        """The values inside the support, −∞ outside."""
        for name in self.support:
            values = candidates.utilities(name)
            xp = namespace(values)
            x = xp.where(values > 0, x, xp.full_like(x, -math.inf))
        return x

    def identified(self, same: dict[str, str]) -> "Target":
        """The target with some names read as others, ``{"old": "mu"}`` when μ is π_old."""
        return self.revised(anchor=renamed(self.anchor, same))

    def knobs(self) -> dict[str, float]:
        """The overall sharpness Σ_k |η_k|, if there is a tilt."""
        return {"eta": self.sharpness} if self.tilts else {}

    def sharpened(self, eta: float) -> Self:
        """The target with another Σ_k |η_k|, in the same proportions; the anchor stays.

        Raises:
            SpecError: There is no tilt to scale.
        """
        now = self.sharpness
        if now == 0.0:
            raise SpecError("this target has no tilt (η = 0): there is nothing for eta to scale.")
        return self.revised(
            tilts=[{"utility": t.utility, "eta": t.eta / now * eta} for t in self.tilts]
        )


def _scaled(values: Any, tilt: Tilt) -> Any:
    xp = namespace(values)
    forbidden = values == -float("inf")
    if not bool(xp.any(forbidden)):
        return tilt.eta * values
    if tilt.eta < 0:
        raise SpecError(
            f"reward {tilt.utility!r} is −∞ for some rollouts and its eta is {tilt.eta}: a "
            "negative eta would make the forbidden ones infinitely likely. Use `support`."
        )
    safe = xp.where(forbidden, xp.zeros_like(values), values)
    return xp.where(forbidden, values, tilt.eta * safe)


def _product(exponents: dict[str, float], candidates: Candidates, why: str) -> Any:
    """Σ_j ρ_j·log π_j, [N], nats; 0 where nothing is left."""
    factors = [rho * candidates.log_prob(name, why) for name, rho in exponents.items()]
    return sum(factors[1:], factors[0]) if factors else _zeros(candidates)


def _zeros(candidates: Candidates) -> Any:
    known = [*candidates.utility.values(), *candidates.log_anchor.values()]
    if candidates.log_mu is not None:
        known.append(candidates.log_mu)
    if not known:
        raise SpecError("these rollouts carry neither rewards nor log-probs: nothing to weigh.")
    return namespace(known[0]).zeros_like(known[0])
