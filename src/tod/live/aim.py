"""The target that a trainer's own configuration implies, or one that is assumed and said."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tod.base import SpecError
from tod.candidates import Candidates
from tod.configurations import Located
from tod.configurations.implied_target import implied
from tod.configurations.locate import reader
from tod.configurations.recognise import ConfigurationFile
from tod.live.export import LiveBatch
from tod.targets import Target, TargetSpec, Tilt

REWARD = "reward"
"""Name of what is trained on but for a KL in the reward, in a batch."""


@dataclass(frozen=True)
class Aimed:
    """A batch under its target: where that comes from, and what must be said about it."""

    spec: TargetSpec
    source: Literal["declared", "located", "assumed"]
    batch: LiveBatch
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConfiguredTarget:
    """What a trainer's configuration says of the target.

    Attributes:
        declared: The target that a person declared, if there is one.
        located: What `tod atlas locate` reads in the configuration; None where it cannot be read.
        notes: Why there is no target, where there is none.
        kept_by: How a trainer is told to keep the log-probs of a policy, by the policy's name.
    """

    declared: TargetSpec | None
    located: Located | None
    notes: tuple[str, ...]
    kept_by: Mapping[str, str] = field(default_factory=dict)

    def aim(self, batch: LiveBatch) -> Aimed:
        """The target of a batch: declared, located, or exp(reward) at μ, assumed.

        A located target is not taken where the batch lacks a log-prob that it reads. Where rewards
        are divided by their spread the batch gains that utility, ``reward/std``.
        """
        if self.declared is not None:
            return Aimed(self.declared, "declared", batch)
        if self.located is None or self.located.procedure is None:
            return self._assumed(batch, *self.notes)
        rewards = Candidates(contexts=batch.contexts, utility={REWARD: batch.utility[REWARD]})
        found = implied(self.located.procedure.tilt, self.located.rule, rewards)
        lacks = sorted(name for name in found.target.needs() if name not in batch.sums())
        if lacks:
            named = ", ".join(f"log_{name}" for name in lacks)
            how = "".join(f"; {self.kept_by[name]}" for name in lacks if name in self.kept_by)
            why = f"its q* needs {named}, which the trainer did not keep{how}"
            return self._assumed(batch, why)
        values: Any = found.candidates.utility
        more = {name: values[name] for name in values if name not in batch.utility}
        if not more:
            return Aimed(found.target, "located", batch, self.notes)
        whole = replace(batch, utility={**batch.utility, **more})
        return Aimed(found.target, "located", whole, self.notes)

    def _assumed(self, batch: LiveBatch, *why: str) -> Aimed:
        guess = Target(anchor={"mu": 1.0}, tilts=(Tilt(utility=REWARD, eta=1.0),))
        notes = tuple(f"no target from the configuration: {one}; assumed {guess}" for one in why)
        return Aimed(guess, "assumed", batch, notes)


def configured(
    file: ConfigurationFile,
    version: str,
    declared: Mapping[str, Any] | None = None,
    option: str = "target",
) -> ConfiguredTarget:
    """What a configuration says of the target, by the reader of `tod atlas locate`.

    Args:
        file: The trainer's settings, resolved.
        version: Release of the framework; "" where its readers know one release alone.
        declared: The target that a person declared, if there is one.
        option: How that is spelled, for the message.

    Raises:
        SpecError: The declared target is none.
    """
    if declared is not None:
        return ConfiguredTarget(_declared(declared, option), None, ())
    try:
        located = reader(file, "the trainer's configuration", version or None)
    except SpecError as error:
        return ConfiguredTarget(None, None, (str(error),))
    if located.procedure is None:
        why = located.notes[:1] or tuple(located.undetermined[:1]) or ("it is not known",)
        return ConfiguredTarget(None, located, why)
    return ConfiguredTarget(None, located, tuple(c.effect for c in located.silent_changes))


def _declared(data: Mapping[str, Any], option: str) -> TargetSpec:
    from pydantic import TypeAdapter, ValidationError

    adapter: TypeAdapter[TargetSpec] = TypeAdapter(TargetSpec)
    try:
        return adapter.validate_python({"kind": "tilt", **data})
    except ValidationError as error:
        raise SpecError(f"{option} = {dict(data)} is none: {error.errors()[0]['msg']}.") from None
