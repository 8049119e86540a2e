"""The controller in a trainer that holds the coefficient of its KL: sharpness is 1/coefficient.

Such a trainer reads the coefficient anew at every step, in one place, so that turning it there
turns the target π_ref·exp(reward/coefficient). The state goes where the trainer keeps its own: a
training that is killed and resumed from a checkpoint decides as if it had never stopped.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tod.arc import ArcConfig, ArcState, Decision, decide, initial
from tod.arc.config import check_connected
from tod.base import SpecError
from tod.configurations import Located
from tod.live.aim import REWARD
from tod.procedure import Examined
from tod.targets import Target, TargetSpec, Tilt


class CoefficientSteering:
    """A controller of one training.

    Args:
        config: The controller.
        located: What the trainer's configuration says.
        turn: Sets the coefficient where the trainer reads it.
        steps: Steps of the training, for a plan that is laid over it; None if not known.

    Attributes:
        state: What the next decision begins from.

    Raises:
        SpecError: Sharpness is no constant over this coefficient, or the plan needs a length.
    """

    def __init__(
        self,
        config: ArcConfig,
        located: Located | None,
        turn: Callable[[float], None],
        steps: int | None,
    ) -> None:
        self.config = config
        self.target = turned_target(config, located)
        self.state: ArcState = initial(config, eta=self.target.knobs()["eta"], steps=steps)
        self._set = turn

    def begin(self) -> None:
        """Put the first value in force: of the start, or of what was restored."""
        self._set(1.0 / self.state.knobs["eta"])

    def spec(self) -> TargetSpec:
        """The target at the sharpness in force."""
        return self.target.turned(dict(self.state.knobs))

    def decide(self, examined: Examined, step: int) -> Decision:
        """The decision on a batch, in force from the next one on."""
        self.state, decision = decide(self.config, self.state, examined, step)
        self.begin()
        return decision

    def restore(self, states: Mapping[str, Any] | None, step: int) -> None:
        """Go on from what a checkpoint holds.

        Raises:
            SpecError: It holds no state of a controller.
        """
        if states is None:
            raise SpecError(
                f"training resumes at step {step} and its checkpoint has no state of the "
                "controller: it would start over from the declared sharpness. Resume a checkpoint "
                "that was written with arc, or train without."
            )
        self.state = ArcState.from_dict(dict(states))
        self.begin()


def turned_target(config: ArcConfig, located: Located | None) -> TargetSpec:
    """π_ref·exp(reward/coefficient) as the configuration declares it.

    Raises:
        SpecError: Its fixed point is another one, or the controller turns what is not there.
    """
    law = None if located is None else located.law
    operator = None if located is None else located.operator
    action: Any = None if operator is None else operator.action
    fits = (
        law is not None
        and law.shape == "exponential"
        and law.scale == "constant"
        and dict(law.anchor) == {"ref": 1.0}
        and set(law.etas) == {REWARD}
    )
    if law is None or not fits or action is None:
        why = law.why if law is not None and law.why else "no such law is read in its settings"
        if law is not None and law.scale != "constant":
            why = "rewards are divided by their spread, and the KL is not"
        raise SpecError(
            "arc turns the coefficient of the KL, which is 1/eta where the fixed point is "
            f"π_ref·exp(eta·reward): {why}. See `tod atlas locate` for the settings; without a "
            "division by the spread, and with a KL, arc can be used."
        )
    if config.step_size is not None:
        raise SpecError(
            f"arc.step_size = {config.step_size!r}: the trainer's process holds the coefficient of "
            "the KL and no learning rate. Leave step_size out."
        )
    if config.operators:
        raise SpecError("arc.operators: this trainer has one operator. Leave operators out.")
    whitens = getattr(action.advantage, "whiten", None) is not None
    check_connected(
        config,
        advantage="whiten" if whitens else action.advantage.kind,
        updates_per_batch=located.updates or 1 if located is not None else 1,
        pull=None if action.pull is None else f"kl_{action.pull.place}",
        refresh=1,
        target_kind="tilt",
    )
    return Target(anchor={"ref": 1.0}, tilts=(Tilt(utility=REWARD, eta=law.etas[REWARD]),))
