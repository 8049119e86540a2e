"""The audit: does an iterated operator converge to its target? Does a selection follow it?"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tod.atlas import Recipe, SharesTarget
from tod.operators import KLPull, UpdateRule
from tod.procedure import Procedure
from tod.study.distances import best_sharpness, mean_variation
from tod.study.fixed_point import FiniteK, FixedPoint, finite_rows, fixed_point
from tod.study.language import Language
from tod.study.policy import Shared, Tabular
from tod.study.population import Policies, candidates
from tod.study.prediction import Prediction, predicted_off_policy, predicted_on_policy
from tod.study.selection_audit import SIZES, SelectionAudit, audit_selection
from tod.study.world import FiniteWorld, Law, draw_utility, make_world, normalised, perturbed
from tod.targets import PreferenceTarget, Teacher

SAME, OTHER = 0.02, 0.1
"""Total variation up to which two laws are called the same, and beyond which another."""

Measured = SharesTarget | Literal["unclear"]


@dataclass(frozen=True)
class Point:
    """Where the iterated operator led.

    Attributes:
        tv: TV to the declared target, mean over contexts, in [0, 1].
        eta_hat: Sharpness of the nearest b·exp(η̂U), in [0, 40]; None for a target without tilt.
        residual: TV that is left to it.
        predicted: The law its parts predict, where one is derived.
        predicted_tv: TV to that law; None where there is none, or no finite one.
        moved: TV over the second half of the updates, mean over contexts.
    """

    tv: float
    eta_hat: float | None
    residual: float | None
    predicted: str | None = None
    predicted_tv: float | None = None
    moved: float = 0.0

    @property
    def reached(self) -> Literal["target", "predicted", "none", "not_converged"]:
        """The law that it is within `SAME` of; none, or not yet any, where it is of neither.

        It has converged if the second half of the updates moved it by less than half of `SAME`:
        as many updates again would not move it beyond.
        """
        if self.tv <= SAME:
            return "target"
        if self.predicted_tv is not None and self.predicted_tv <= SAME:
            return "predicted"
        return "none" if self.moved <= SAME / 2 else "not_converged"


@dataclass(frozen=True)
class Audit:
    """What a recipe claims and what was found.

    Attributes:
        recipe: Its name.
        shares_target: The claim; None when there is none.
        measured: What was found; ``unclear`` between the two thresholds.
        on_policy: With μ = π_old = π at every step.
        off_policy: On one batch of a fixed μ.
        one_update: With π_old standing still in the target, where the target names it.
        eta: Sharpness at which it was audited.
        passed: The claim is what was found, and so is every law predicted in its place. Without
            a claim: that it shares its target at all.
        finite: The same points with groups of K candidates, for the K that were asked.
    """

    recipe: str
    shares_target: SharesTarget | None
    measured: Measured
    on_policy: Point
    off_policy: Point
    one_update: Point | None
    eta: float
    passed: bool
    finite: tuple[FiniteK, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def audit(
    recipe: Recipe | Procedure,
    *,
    world: FiniteWorld | None = None,
    eta: float = 1.5,
    shared: bool = False,
    label_scale: float = 1.0,
    steps: int = 600,
    name: str = "procedure",
    sizes: tuple[int, ...] = (),
) -> Audit | SelectionAudit:
    """Iterate a recipe's operator, on- and off-policy, and compare fixed points with its target.

    What selects at test time has no fixed point: the law of what it puts out is compared, by K.

    The structure is audited, not the sharpness: the target is turned to ``eta`` (τ:β fixed), at
    which laws of 27 sequences can be told apart. The claim is of infinitely many candidates; what
    groups of K add (bias O(1/K) of self-normalised weights off-policy) is in ``finite``.

    Args:
        recipe: An entry of the atlas, or a procedure, which claims nothing.
        world: Where; 27 sequences in 2 contexts if None.
        eta: Sharpness of the target.
        shared: Train the policy with shared parameters instead of the table.
        label_scale: Choices of preference rules are drawn from the utility times this.
        steps: Updates of every fixed point.
        name: What a procedure is called.
        sizes: Candidates K of a group at which the fixed points are found once more; of a
            selection, at which it is audited, 2 to 64 if none.
    """
    procedure = recipe.procedure if isinstance(recipe, Recipe) else recipe
    called = recipe.name if isinstance(recipe, Recipe) else name
    claim = recipe.shares_target if isinstance(recipe, Recipe) else None
    procedure = _with_symbols_outside(
        _at_sharpness(procedure, eta), (world or audit_world()).language
    )
    policies = Policies.of(_with_utilities(world or audit_world(), procedure))
    if not isinstance(procedure.operator.action, UpdateRule):
        away = _another(policies.world)
        return audit_selection(called, claim, procedure, policies, away, sizes or SIZES, SAME)
    run = _FixedPoints(procedure, policies, shared, label_scale, steps)
    on, off = run.on_policy(procedure), run.off_policy()
    still = run.one_update()
    measured = _verdict(on, off, still)
    passed = _passed(claim, measured, on, off)
    return Audit(called, claim, measured, on, off, still, eta, passed, run.finite(sizes))


def audit_world(seed: int = 0, *, ends: bool = False) -> FiniteWorld:
    """27 sequences of 3 tokens in 2 contexts, Gaussian utility; with ``ends`` 15 of 1 to 3."""
    return make_world(seed, vocabulary=3, length=3, contexts=2, ends=ends)


@dataclass(frozen=True, eq=False)
class _FixedPoints:
    procedure: Procedure
    policies: Policies
    shared: bool
    label_scale: float
    steps: int

    def on_policy(self, procedure: Procedure) -> Point:
        world = self.policies.world
        prediction = predicted_on_policy(procedure, self.policies, self.label_scale)
        return self._point(self._iterated(procedure, None), world.base, prediction)

    def off_policy(self) -> Point:
        mu = _another(self.policies.world)
        reached = self._iterated(self.procedure, mu)
        predict = predicted_off_policy
        prediction = predict(self.procedure, self.policies, mu, self.label_scale)
        return self._point(reached, mu, prediction)

    def one_update(self) -> Point | None:
        """π_old held at the base in the target alone, and refreshed everywhere else."""
        standing = _standing(self.procedure)
        return None if standing is None else self.on_policy(standing)

    def finite(self, sizes: tuple[int, ...]) -> tuple[FiniteK, ...]:
        """Both fixed points with groups of K."""
        world = self.policies.world
        away = _another(world)
        targets = (self._target(world.base), self._target(away))
        return finite_rows(self.procedure, self.policies, targets, away, sizes)

    def _target(self, log_mu: Law) -> Law:
        """The declared target as it stands when a first batch, of μ = π_old, is opened."""
        target = self.procedure.tilt
        found = candidates(self.policies, target, log_mu, log_mu)
        return normalised(np.asarray(target.log_density(found)).reshape(log_mu.shape))

    def _iterated(self, procedure: Procedure, proposal: Law | None) -> FixedPoint:
        world = self.policies.world
        policy = Shared(world) if self.shared else Tabular(world)
        return fixed_point(
            procedure,
            self.policies,
            proposal=proposal,
            policy=policy,
            steps=self.steps,
            label_scale=self.label_scale,
        )

    def _point(self, reached: FixedPoint, log_mu: Law, prediction: Prediction | None) -> Point:
        """Against the declared target as it stands when a first batch, of μ = π_old, is opened."""
        target = self.procedure.tilt
        found = candidates(self.policies, target, log_mu, log_mu)
        log_b = np.asarray(target.log_anchor(found)).reshape(log_mu.shape)
        u = np.asarray(target.value(found)).reshape(log_mu.shape)
        eta, left = best_sharpness(reached.law, log_b, u) if u.any() else (None, None)
        law = None if prediction is None else prediction.law
        return Point(
            tv=mean_variation(reached.law, self._target(log_mu)),
            eta_hat=eta,
            residual=left,
            predicted=None if prediction is None else prediction.formula,
            predicted_tv=None if law is None else mean_variation(reached.law, law),
            moved=reached.moved,
        )


def _another(world: FiniteWorld) -> Law:
    """The proposal of the off-policy half."""
    return perturbed(world, 0.5, 5)


def _at_sharpness(procedure: Procedure, eta: float) -> Procedure:
    """The procedure with its target turned; a teacher's margin and data have nothing to turn.

    Choices get unit noise, the utility's own spread here: with less they are nearly certain, and
    a law that the choices identify is not reached in any number of steps.
    """
    target = procedure.target
    if isinstance(target, PreferenceTarget):
        target = target.revised(noise_scale=1.0)
    if not target.knobs() or (isinstance(target, Teacher) and target.utility is None):
        return procedure
    return procedure.revised(target=target.turned({"eta": eta}))


def _with_symbols_outside(procedure: Procedure, language: Language) -> Procedure:
    """The procedure with so few of the teacher's likeliest symbols that two are left outside.

    With one outside its own mass is that of the rest, and nothing would be left out.
    """
    terms = procedure.operator.auxiliary
    most = max(1, language.vocabulary - 2)
    if terms.distillation is None or (terms.distillation.top_k or 0) <= most:
        return procedure
    terms = terms.revised(distillation=terms.distillation.revised(top_k=most))
    return procedure.revised(operator=procedure.operator.revised(auxiliary=terms))


def _standing(procedure: Procedure) -> Procedure | None:
    """The procedure with π_old in the target read as the reference; None where it is not there.

    A KL pull never draws to π_old, and holding it still would change nothing of what it does.
    """
    action = procedure.operator.action
    if "old" not in procedure.tilt.names or isinstance(getattr(action, "pull", None), KLPull):
        return None
    return procedure.revised(target=procedure.tilt.identified({"old": "ref"}))


def _with_utilities(world: FiniteWorld, procedure: Procedure) -> FiniteWorld:
    """Every further utility that the target names is another one of the same shape."""
    names = procedure.tilt.utilities[1:]
    others = {name: draw_utility(world, number=i + 1) for i, name in enumerate(names)}
    return FiniteWorld(world.language, world.base_logits, world.utility, world.seed, others)


def _verdict(on: Point, off: Point, still: Point | None) -> Measured:
    if on.tv <= SAME:
        if off.tv <= SAME:
            return "yes"
        return "on_policy" if off.tv > OTHER else "unclear"
    if on.tv <= OTHER:
        return "unclear"
    return "one_update" if still is not None and still.tv <= SAME else "no"


def _passed(claim: SharesTarget | None, measured: Measured, on: Point, off: Point) -> bool:
    if claim is None:
        return measured in ("yes", "on_policy", "one_update")
    foretold = [p.predicted_tv for p in (on, off) if p.predicted_tv is not None]
    return claim == measured and all(tv <= SAME for tv in foretold)
