"""What is done with a step of somebody's trainer: examine it, write it, and hand out figures.

Everything here is guarded: what fails is said once, with its cause, and the step goes on.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from tod.arc import ArcConfig, Decision
from tod.base import RunError, Spec, SpecError
from tod.live.aim import Aimed, ConfiguredTarget
from tod.live.background import Background
from tod.live.coefficient import CoefficientSteering
from tod.live.export import LiveBatch, spelled
from tod.live.findings import LiveFindings
from tod.live.guard import Guard, harmless
from tod.live.places import free, reopened, writing
from tod.live.step import ExaminedStep, judge, metrics, utility_means
from tod.logs.names import names
from tod.regimes import GrowingPool
from tod.runs import Manifest, RunDirectory, StepRecord

logger = logging.getLogger("tod.live")
LONGEST = 60.0
"""Seconds that the disk is waited for, once in a training: after that it is only looked."""


class RecorderSettings(Spec):
    """What a person sets of the records, every one optional."""

    output: str | None = None
    """Directory of the records; ``tod`` in the trainer's own directory if None."""
    target: dict[str, Any] | None = None
    """q*; what the configuration implies if None, or else assumed and said to be."""
    findings: bool = True
    """Whether the detectors of `tod diagnose` are asked every few steps."""
    extras: bool = False
    """Whether other numbers that a reward function returns are recorded too."""
    overwrite: bool = False
    """Whether an earlier run at the place may be replaced; not where a training is resumed."""
    arc: dict[str, Any] | None = None
    """The controller of sharpness; None trains at the configured one."""


class Recorder(ABC):
    """The records of one training of a framework whose trainer runs by itself.

    Args:
        strict: Raise what would otherwise be said once.

    Attributes:
        last: The last step as it was examined; None where it could not be.
        guard: Counts what failed.
        steering: The controller, if there is one.
    """

    framework: ClassVar[str]
    """Its name among the logs that are read."""
    option: ClassVar[str]
    """How a setting of the records is spelled, ``{}`` for its name: ``+trainer.tod.{}``."""

    def __init__(self, strict: bool = False) -> None:
        self.guard = Guard(strict)
        self.last: ExaminedStep | None = None
        self.run: RunDirectory | None = None
        self.pool = GrowingPool()
        self.findings: LiveFindings | None = None
        self.plugin = RecorderSettings()
        self.steering: CoefficientSteering | None = None
        self._configured: ConfiguredTarget | None = None
        self._history: list[dict[str, Any]] = []
        self._matched: tuple[frozenset[str], tuple[str, ...]] = (frozenset(), ())
        self._first: int | None = None
        self._tried = False
        self._background = Background("tod")

    @abstractmethod
    def begin(self) -> None:
        """Read the settings and the trainer's configuration, once; guarded."""

    @abstractmethod
    def _folder(self) -> Path:
        """Where the trainer writes its checkpoints."""

    @abstractmethod
    def _trainer(self) -> dict[str, Any]:
        """``trainer``, ``advantage`` and ``loss``, as the manifest names them."""

    def _clipped(self, logged: Mapping[str, Any]) -> float | None:  # noqa: ARG002
        """Share of tokens that the clip changed, where the trainer's figure is one of tokens."""
        return None

    def _entropy(self, logged: Mapping[str, Any]) -> float | None:  # noqa: ARG002
        """Mean entropy of a token, nats, where the trainer's figure is one of tokens."""
        return None

    def _on_policy(self) -> bool:
        """Whether μ is the policy by the way the rollouts are made, where it is not recorded."""
        return False

    def steer(self, turn: Callable[[float], None], steps: int | None) -> None:
        """Make the controller that the settings ask for; before training, and not guarded.

        Args:
            turn: Sets the coefficient of the KL where the trainer reads it.
            steps: Steps of the training; None if not known.

        Raises:
            SpecError: It would be connected to nothing.
        """
        if self._configured is None:
            self.begin()
        if self.plugin.arc is None:
            return
        located = None if self._configured is None else self._configured.located
        if self.plugin.target is not None:
            raise SpecError(
                f"{self.option.format('arc')} with {self.option.format('target')}: the controller "
                "turns the target that the trainer trains towards. Leave target out."
            )
        config = ArcConfig.parse(self.plugin.arc, self.option.format("arc"))
        self.steering = CoefficientSteering(config, located, turn, steps)

    def count(self, step: int) -> None:
        """Know that there was a step, read or not: the first one's number tells of a resumption."""
        if self._first is None:
            self._first = step

    @harmless("recording a step")
    def examine(
        self,
        step: int,
        read: Callable[[], LiveBatch],
        logged: dict[str, Any],
        tokenizer: Any = None,
    ) -> None:
        """Examine what a step trained on, write it, and put ``tod/…`` into what is logged.

        Args:
            step: The trainer's number of it.
            read: Reads the batch, completions left empty; called under a guard.
            logged: What the trainer is about to log; gains our figures.
            tokenizer: Spells ids.
        """
        self.count(step)
        if self._configured is None:
            self.begin()
        with self.guard("waiting for the step before") as block:
            self._settle()
        if block.failed:
            return
        batch: LiveBatch | None = None
        with self.guard("reading the batch"):
            batch = read()
        if batch is not None:
            self._seen(step, batch, logged, tokenizer)

    def _seen(self, step: int, batch: LiveBatch, logged: dict[str, Any], tokenizer: Any) -> None:
        """Examine a batch, add the figures to what is logged, and have the rest done meanwhile."""
        self.last = None
        aimed = Aimed(None, "assumed", batch)  # type: ignore[arg-type]
        with self.guard("choosing the target") as choice:
            aimed = self._aimed(batch)
        with self.guard("waiting for the directory of the records") as block:
            self._open_first(aimed)
        if block.failed:
            return
        if not choice.failed:
            with self.guard("examining a step"):
                self.last = self._examined(step, aimed, logged)
        found, decision = self.last, None
        if self.findings is not None:
            logged |= self.findings.standing()
        if found is not None:
            logged |= metrics(found, {**aimed.spec.knobs()})
            with self.guard("deciding"):
                if self.steering is not None:
                    decision = self.steering.decide(found.examined, step)
        told = {"step": step, **self._canonical(logged)}
        if self.run is None:
            self._background.do(partial(self._open, aimed))
        self._background.do(partial(self._after, step, aimed, found, told, tokenizer, decision))

    @harmless("writing a step")
    def _after(
        self,
        step: int,
        aimed: Aimed,
        found: ExaminedStep | None,
        told: dict[str, Any],
        tokenizer: Any,
        decision: Decision | None,
    ) -> None:
        """What does not hold the trainer up: texts, detectors and the disk, in another thread."""
        batch = aimed.batch
        with self.guard("spelling the answers"):
            batch = spelled(batch, tokenizer)
        self._look(step, batch, told)
        self._write(step, replace(aimed, batch=batch), found, decision)

    def _settle(self) -> None:
        """Wait for what is still being written.

        Raises:
            RunError: It is not done after a minute; after that nobody waits again.
        """
        if not self._background.finished(LONGEST):
            place = self.option.format("output")
            raise RunError(
                "the step before is still being written, and until it is, steps are left out "
                f"(waited for once, {LONGEST:.0f} s): is the disk of {place} full or away?"
            )

    @harmless("ending the records")
    def close(self) -> None:
        """Flush everything to the device, and let others write."""
        try:
            self._settle()
        finally:
            self._background.do(self._close)
        self._settle()

    @harmless("ending the records")
    def _close(self) -> None:
        run, self.run = self.run, None
        if run is not None:
            run.sync()
            if run.lock is not None:
                run.lock.release()

    def _aimed(self, batch: LiveBatch) -> Aimed:
        if self.steering is not None:
            return Aimed(self.steering.spec(), "located", batch)
        known = ConfiguredTarget(None, None, ("it could not be read",))
        return (self._configured or known).aim(batch)

    def _examined(self, step: int, aimed: Aimed, logged: Mapping[str, Any]) -> ExaminedStep:
        return judge(
            aimed.batch,
            aimed.spec,
            self.pool,
            step,
            assumed=aimed.source == "assumed",
            on_policy=self._on_policy(),
            clipped=self._clipped(logged),
            entropy=self._entropy(logged),
        )

    def _look(self, step: int, batch: LiveBatch, told: dict[str, Any]) -> None:
        """Ask the detectors where it is time; what stands is logged with the next step."""
        if not self.plugin.findings:
            return
        with self.guard("asking the detectors"):
            if self.findings is None:
                self.findings = LiveFindings(framework=self.framework)
            self._history.append(told)
            self.findings.step(step, batch, self._history)
            seen = self.findings.last
            self.pool.since = None if seen is None else seen.last_change

    def _canonical(self, logged: Mapping[str, Any]) -> dict[str, float]:
        """Of the figures those that have a canonical name: the others would only fill memory."""
        keys = frozenset(logged)
        if keys != self._matched[0]:
            found = names().matches(logged, self.framework)
            self._matched = keys, tuple(match.key for match in found.values())
        return {key: float(logged[key]) for key in self._matched[1]}

    def _open_first(self, aimed: Aimed) -> None:
        """Wait for the directory at the first batch: a resumed run's pool is read there.

        Raises:
            RunError: It is not open after a minute.
        """
        if not self._tried:
            self._tried = True
            self._background.do(partial(self._open, aimed))
            self._settle()

    @harmless("opening the directory of the records")
    def _open(self, aimed: Aimed) -> None:
        """Open the directory of a run that is resumed, or make one; tried again where it fails.

        A training is resumed where the first step that was seen of it is not its first, whether
        that one could be read or not.
        """
        first = self._first or 1
        asked = Path(self.plugin.output or self._folder() / "tod")
        recipe = self._recipe(aimed)
        run = reopened(asked, first - 1, recipe) if first > 1 else None
        if run is None:
            overwrite = self.plugin.overwrite and first == 1
            place, lock = free(asked, overwrite, f"Set {self.option.format('overwrite=true')}")
            manifest = Manifest.of(asked.parent.name, recipe, {})
            run = RunDirectory.create(place, manifest, overwrite=overwrite, lock=lock)
        else:
            self.pool = GrowingPool.of_records(list(run.steps.read()))
        self.run = run
        for note in aimed.notes:
            logger.warning("tod: %s", note)
        logger.warning("tod: the records of this run are in %s", run.path)

    def _recipe(self, aimed: Aimed) -> dict[str, Any]:
        """What a reader of the records should know of the training."""
        located = None if self._configured is None else self._configured.located
        kind = "assumed_target" if aimed.source == "assumed" else "target"
        spec = aimed.spec if self.steering is None else self.steering.target  # as it was declared
        return {
            **self._trainer(),
            kind: None if spec is None else spec.model_dump(mode="json"),
            "target_source": aimed.source,
            **({} if self.plugin.arc is None else {"arc": self.plugin.arc}),
            "notes": list(aimed.notes),
            "updates": None if located is None else located.updates,
        }

    def _write(
        self, step: int, aimed: Aimed, found: ExaminedStep | None, decision: Decision | None
    ) -> None:
        run = self.run
        if run is None:
            return
        said = None if decision is None else decision.to_dict()
        with writing(self.guard, run):
            run.write_rollouts(step, aimed.batch.columns())
            if found is None:
                return
            rows = found.examined.diagnostics.rows(found.examined.candidates.labels)
            run.write_contexts(step, {k: v for k, v in rows.items() if k != "step"})
            if said is not None:
                run.decide(said)
            run.record(
                StepRecord(
                    step=step,
                    utility=utility_means(aimed.batch),
                    summary=found.summary,
                    regime=found.regime.to_dict(),
                    knobs={**aimed.spec.knobs()},
                    decision=said,
                    statistics=found.statistics.to_dict(),
                    pool=self.pool.steps,
                )
            )
