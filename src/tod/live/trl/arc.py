"""The controller inside a TRL trainer: what it turns, and where its state is kept.

    instrument(trainer, arc={"damage_limit": 0.4})                          # beta
    instrument(trainer, arc={"step_size": "ess"}, turns=("beta", "learning_rate"))

Sharpness goes to ``beta`` = 1/eta, read by GRPO in every loss and by RLOO in every reward. The
factor of the step size goes to ``learning_rate``, around the trainer's own schedule, or to
``epsilon``, the half-width of the clip. Sampling temperature cannot be turned: trl 1.16 binds it to
the model's head when the trainer is made, so that log-probs would be of another temperature than
the samples.

Every process decides from the same gathered batch, so that all turn alike. The state lies in the
trainer's own ``trainer_state.json`` of every checkpoint: a training that is killed and resumed from
one decides as if it had never stopped, whatever became of our records.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from tod.arc import ArcConfig, ArcState, Decision, decide, initial
from tod.base import SpecError
from tod.live.trl.trainer import check_arc
from tod.procedure import Examined
from tod.targets import TargetSpec

Turn = Literal["beta", "learning_rate", "epsilon"]
"""Settings of a trainer that are turned."""
KEY = "tod.arc"
"""Name of the state among the callbacks of ``trainer_state.json``."""


class Steering:
    """A controller of one trainer.

    Args:
        trainer: The trainer, before ``train()``.
        config: The controller.
        target: q* as it was declared: π_ref·exp(eta·reward).
        turns: What it turns; None: ``beta``, and ``learning_rate`` where there is a step size.

    Raises:
        SpecError: A knob that is connected to nothing, or cannot be turned.
    """

    def __init__(
        self,
        trainer: Any,
        config: ArcConfig,
        target: TargetSpec,
        turns: Sequence[str] | None = None,
    ) -> None:
        check_arc(trainer, config, target)
        self.trainer = trainer
        self.config = config
        self.target = target
        self.turns = checked_turns(trainer, config, turns)
        self.state: ArcState | None = None
        self._rates: list[float] = []
        self._clip: tuple[Any, Any] = (
            getattr(trainer, "epsilon_low", None),
            getattr(trainer, "epsilon_high", None),
        )

    def begin(self, trainer_state: Any) -> None:
        """Set the first values: of the checkpoint that is resumed, or of the start.

        Raises:
            SpecError: The checkpoint holds no state of a controller.
        """
        step = int(trainer_state.global_step)
        if step == 0:
            eta = self.target.knobs()["eta"]
            self.state = initial(self.config, eta=eta, steps=int(trainer_state.max_steps))
        else:
            self.state = restored(trainer_state, step)
        self._turn()
        self._remember(trainer_state)

    def spec(self) -> TargetSpec:
        """The target at the sharpness in force."""
        return self.target if self.state is None else self.target.turned(dict(self.state.knobs))

    def decide(self, examined: Examined, step: int, trainer_state: Any) -> Decision | None:
        """The decision on a batch, in force from the next one on and kept for the checkpoint."""
        if self.state is None:
            return None
        self.state, decision = decide(self.config, self.state, examined, step)
        self._turn()
        self._remember(trainer_state)
        return decision

    def before_update(self) -> None:
        """Slow the learning rate of one update; the schedule's own stays known."""
        factor = 1.0 if self.state is None else self.state.rate
        if "learning_rate" not in self.turns or factor == 1.0:
            return
        groups = self.trainer.optimizer.param_groups
        self._rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = group["lr"] * factor

    def after_update(self) -> None:
        """Give the schedule its learning rate back."""
        rates, self._rates = self._rates, []
        if rates:
            for group, rate in zip(self.trainer.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate

    def detach(self) -> None:
        """Give the trainer its own settings back."""
        self.after_update()
        self.trainer.beta = self.trainer.args.beta
        if "epsilon" in self.turns:
            self.trainer.epsilon_low, self.trainer.epsilon_high = self._clip

    def _turn(self) -> None:
        """The values in force, in the one place where TRL reads each."""
        assert self.state is not None  # noqa: S101 - the callers made it
        self.trainer.beta = 1.0 / self.state.knobs["eta"]
        if "epsilon" in self.turns:
            low, high = self._clip
            self.trainer.epsilon_low = low * self.state.rate
            self.trainer.epsilon_high = high * self.state.rate

    def _remember(self, trainer_state: Any) -> None:
        """Put the state where the trainer writes it into its checkpoints."""
        assert self.state is not None  # noqa: S101 - the callers made it
        entry = {"args": {}, "attributes": {"state": self.state.to_dict()}}
        trainer_state.stateful_callbacks[KEY] = entry


def checked_turns(trainer: Any, config: ArcConfig, turns: Sequence[str] | None) -> tuple[Turn, ...]:
    """What is turned, or why it cannot be.

    Raises:
        SpecError: With the reason and the way out.
    """
    if turns is None:
        return ("beta",) if config.step_size is None else ("beta", "learning_rate")
    known = get_args(Turn)
    if "temperature" in turns:
        raise SpecError(
            "turns = temperature: trl 1.16 binds the temperature to the model's head when the "
            "trainer is made, so that log-probs would be of another temperature than the samples. "
            "Turn beta, learning_rate or epsilon."
        )
    for name in turns:
        if name not in known:
            raise SpecError(f"turns = {name!r}: in TRL a controller turns {', '.join(known)}.")
    if "beta" not in turns:
        raise SpecError(
            "turns without beta: sharpness is 1/beta in TRL, and the plan would turn nothing. Add "
            "beta, or use plan: fixed with beta."
        )
    slowed = [name for name in turns if name != "beta"]
    if slowed and config.step_size is None:
        raise SpecError(
            f"turns = {slowed[0]} without arc.step_size: its factor would stay 1. Set step_size: "
            "damage or ess."
        )
    if config.step_size is not None and not slowed:
        raise SpecError(
            "arc.step_size and nothing that it turns: add learning_rate or epsilon to turns."
        )
    if "epsilon" in turns and getattr(trainer, "loss_type", None) == "cispo":
        raise SpecError(
            "turns = epsilon with loss_type='cispo': epsilon_high is there the largest weight, not "
            "the width of a clip. Turn learning_rate."
        )
    return tuple(turns)  # type: ignore[arg-type]


def restored(trainer_state: Any, step: int) -> ArcState:
    """The state that a checkpoint holds.

    Raises:
        SpecError: It holds none.
    """
    entry = trainer_state.stateful_callbacks.get(KEY)
    if entry is None:
        raise SpecError(
            f"training resumes at step {step} and its checkpoint has no state of the controller: "
            "it would start over from the declared sharpness. Resume a checkpoint that was written "
            "with arc, or train without."
        )
    return ArcState.from_dict(entry["attributes"]["state"])
