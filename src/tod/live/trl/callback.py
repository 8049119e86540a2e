"""The callback: collects what a step generated, and at its end examines, writes, logs, steers."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from tod.arc import ArcConfig, Decision
from tod.diagnostics import ProbeReading
from tod.live.export import LiveBatch
from tod.live.findings import LiveFindings
from tod.live.guard import Guard, harmless
from tod.live.places import free, reopened, writing
from tod.live.step import ExaminedStep, judge, metrics, utility_means
from tod.live.trl.arc import Steering
from tod.live.trl.generated import appended, batch_of, gathered
from tod.live.trl.hooks import FORWARD, Hooks, Seen, check
from tod.live.trl.probe import LiveProbeSettings, Probing
from tod.live.trl.trainer import Aim, advantage, aim, pull, sampled_exactly, total_name
from tod.regimes import GrowingPool
from tod.runs import Manifest, RunDirectory, StepRecord
from tod.targets import TargetSpec

logger = logging.getLogger(__name__)
_ACTIVATION = ("clip_ratio/region_mean", "cispo_clip_ratio")


class TodCallback(TrainerCallback):  # type: ignore[misc]
    """Live diagnosis of a TRL ``GRPOTrainer`` or ``RLOOTrainer``.

    Every generated batch is gathered from all processes; at the end of its step it is examined
    under the target, written by the main process as a run directory (rollouts with token
    log-probs, per-context diagnostics, one record a step, decisions), and logged as ``tod/…``.
    Nothing here stops the training once it runs: what fails is said once, with its cause, and is
    missing from the records.

    Args:
        trainer: The trainer, before ``train()``.
        target: q*; what the trainer's settings imply if None, or else assumed and said to be.
        arc: Lets the controller set ``trainer.beta`` = 1/eta from the next batch on, and slow the
            step where it has a step size. See `tod.live.trl.arc`.
        turns: Which settings of the trainer it turns: ``beta``, ``learning_rate``, ``epsilon``.
        probe: Scores rollouts of the first batch again every few steps. See `tod.live.trl.probe`.
        output: Directory; ``<output_dir>/tod`` if None. Where an earlier run lies there, the
            records go to the same name with a number, which is said.
        score: Run one forward a batch for log π_old where TRL skips it. Without it log μ and the
            policy's legs are unknown unless vLLM samples.
        overwrite: Replace the records of an earlier run there.
        findings: Ask the detectors of `tod diagnose` every few steps, warn once of what two looks
            saw, and log ``tod/finding/<kind>`` = 1 from then on.

    Raises:
        SpecError: The trainer has another shape, the target is none, or the controller's knob
            is connected to nothing.
    """

    def __init__(
        self,
        trainer: Any,
        *,
        target: TargetSpec | Mapping[str, Any] | None = None,
        arc: ArcConfig | Mapping[str, Any] | None = None,
        output: Path | str | None = None,
        score: bool = True,
        overwrite: bool = False,
        findings: bool = True,
        turns: Sequence[str] | None = None,
        probe: LiveProbeSettings | Mapping[str, Any] | None = None,
    ) -> None:
        check(trainer)
        self.aim: Aim = aim(trainer, target)
        self.arc = ArcConfig.model_validate(arc) if isinstance(arc, Mapping) else arc
        self.steering: Steering | None = None
        if self.arc is not None:
            self.steering = Steering(trainer, self.arc, self.aim.spec, turns)
        self.probing: Probing | None = None
        if probe is not None:
            total = total_name(tuple(trainer.reward_func_names))
            self.probing = Probing(trainer, LiveProbeSettings.model_validate(probe), total)
        self.trainer = trainer
        self._asked = Path(output) if output is not None else Path(trainer.args.output_dir) / "tod"
        self.path = self._asked
        self.overwrite = overwrite
        self.run: RunDirectory | None = None
        self.last: ExaminedStep | None = None
        self.pool = GrowingPool()
        self.findings: LiveFindings | None = None
        self._asks = findings
        self._pending: list[LiveBatch] = []
        self._marks: dict[str, int] = {}
        self.guard = Guard()
        self._hooks = Hooks(trainer, self._receive, score, self.guard)

    @harmless("giving the trainer its methods back")
    def detach(self) -> None:
        """Give the trainer its methods back and stop listening."""
        self._hooks.detach()
        if self.steering is not None:
            self.steering.detach()
        self.trainer.remove_callback(self)
        self._release()

    @harmless("beginning the records")
    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Make or reopen the directory, and set the controller's first value."""
        with self.guard("reading the trainer's settings"):
            for note in self.aim.notes:
                logger.warning("%s", note)
            reason = sampled_exactly(self.trainer)
            if reason is not None:
                logger.warning("%s", reason)
        self._release()
        self._pending.clear()
        with self.guard("preparing the detectors"):
            main = self.trainer.accelerator.is_main_process
            self.findings = LiveFindings() if self._asks and main else None
        self._opened(int(state.global_step))
        records = [] if self.run is None else list(self.run.steps.read())
        self.pool = GrowingPool.of_records(records)
        if self.probing is not None:
            self.probing.begin(state)
        if self.steering is not None:
            self.steering.begin(state)

    @harmless("reading the trainer's metrics")
    def on_step_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Remember where the trainer's metrics stand."""
        known = self.trainer._metrics["train"]
        self._marks = {name: len(known.get(name, ())) for name in (*_ACTIVATION, "entropy")}

    @harmless("slowing the step")
    def on_pre_optimizer_step(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Slow the learning rate of this update, where the controller asks for it."""
        if self.steering is not None:
            self.steering.before_update()

    @harmless("giving the schedule its learning rate back")
    def on_optimizer_step(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Give the schedule its learning rate back."""
        if self.steering is not None:
            self.steering.after_update()

    @harmless("recording a step")
    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Examine what this step generated; nothing when it reused an earlier batch."""
        if not self._pending:
            self._log_findings()
            return
        pieces, self._pending = self._pending, []
        batch, step, found = LiveBatch.concatenate(pieces), int(state.global_step), None
        if self.findings is not None:
            with self.guard("asking the detectors"):
                self.findings.step(step, batch, state.log_history)
                seen = self.findings.last
                self.pool.since = None if seen is None else seen.last_change
        self._log_findings()
        reading = None
        if self.probing is not None:
            with self.guard("reading the probe"):
                reading = self.probing.reading(batch, step, state, self._hooks.inner(FORWARD))
        with self.guard("examining a step"):
            found = self._examined(batch, step, reading)
        if found is None:
            if self.run is not None:
                with writing(self.guard, self.run):
                    self.run.write_rollouts(step, batch.columns())
            return
        self.last = found
        knobs: dict[str, float | None] = {**self._spec().knobs()}
        decision = None
        if self.steering is not None:
            with self.guard("deciding"):
                decision = self.steering.decide(found.examined, step, state)
        for name, value in metrics(found, knobs).items():
            self.trainer._metrics["train"][name].append(value)
        if self.run is not None:
            with writing(self.guard, self.run):
                self._write(self.run, step, batch, found, knobs, decision)

    @harmless("logging the findings")
    def _log_findings(self) -> None:
        if self.findings is not None:
            for name, value in self.findings.standing().items():
                self.trainer._metrics["train"][name].append(value)

    @harmless("ending the records")
    def on_train_end(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Flush everything to the device, and let others write."""
        if self.run is not None:
            with writing(self.guard, self.run):
                self.run.sync()
        self._release()

    def _receive(self, seen: Seen | None) -> None:
        parts = gathered(self.guard, self.trainer, seen)
        if parts is not None and seen is not None:
            self._pending.append(batch_of(self.trainer, seen, parts))
            if self.probing is not None:
                with self.guard("reading prompts for the probe"):
                    self.probing.note(seen.output)

    def _release(self) -> None:
        """Let others write to the directory."""
        if self.run is not None and self.run.lock is not None:
            self.run.lock.release()
        self.run = None

    def _examined(self, batch: LiveBatch, step: int, probe: ProbeReading | None) -> ExaminedStep:
        return judge(
            batch,
            self._spec(),
            self.pool,
            step,
            assumed=self.aim.source == "assumed",
            on_policy=sampled_exactly(self.trainer) is None,
            clipped=self._mean(*_ACTIVATION),
            entropy=self._mean("entropy"),
            probe=probe,
        )

    def _mean(self, *names: str) -> float | None:
        """Mean of what TRL logged in this step under the first of these names that it knows."""
        known = self.trainer._metrics["train"]
        for name in names:
            values = appended(known.get(name, []), self._marks.get(name, 0))
            if values:
                return sum(values) / len(values)
        return None

    def _spec(self) -> TargetSpec:
        """The target at the sharpness in force."""
        return self.aim.spec if self.steering is None else self.steering.spec()

    def _write(
        self,
        run: RunDirectory,
        step: int,
        batch: LiveBatch,
        found: ExaminedStep,
        knobs: dict[str, float | None],
        decision: Decision | None,
    ) -> None:
        said = None if decision is None else decision.to_dict()
        rows = found.examined.diagnostics.rows(found.examined.candidates.labels)
        run.write_contexts(step, {k: v for k, v in rows.items() if k != "step"})
        run.write_rollouts(step, batch.columns())
        if said is not None:
            run.decide(said)
        run.record(
            StepRecord(
                step=step,
                utility=utility_means(batch),
                summary=found.summary,
                regime=found.regime.to_dict(),
                knobs=knobs,
                decision=said,
                statistics=found.statistics.to_dict(),
                pool=self.pool.steps,
                world_size=self.trainer.accelerator.num_processes,
            )
        )

    def _opened(self, step: int) -> None:
        """Open the directory in the main process, and tell its place to all of them."""
        from accelerate.utils import gather_object

        if self.trainer.accelerator.is_main_process:
            with self.guard("opening the directory of the records"):
                self.run = self._directory(step)
        place = None if self.run is None else str(self.run.path)
        self.path = Path(next((p for p in gather_object([place]) if p is not None), self.path))

    def _directory(self, step: int) -> RunDirectory:
        """A new directory, or the one of the run that is being resumed."""
        if step > 0:
            run = reopened(self._asked, step)
            if run is not None:
                return run
        manifest = Manifest.of(
            self.path.parent.name, self._recipe(), {"train": int(self.trainer.args.seed)}
        )
        how = "In Python: instrument(..., overwrite=True)"
        place, lock = free(self._asked, self.overwrite, how)
        return RunDirectory.create(place, manifest, overwrite=self.overwrite, lock=lock)

    def _recipe(self) -> dict[str, Any]:
        trainer = self.trainer
        assumed = self.aim.source == "assumed"  # a reader takes `target` for declared
        return {
            "name": self.path.parent.name,
            "trainer": type(trainer).__name__,
            "assumed_target" if assumed else "target": self.aim.spec.model_dump(mode="json"),
            "target_source": self.aim.source,
            "notes": list(self.aim.notes),
            "advantage": advantage(trainer),
            "pull": pull(trainer),
            "beta": trainer.beta,
            "arc": None if self.arc is None else self.arc.model_dump(mode="json"),
        }


def instrument(
    trainer: Any,
    target: TargetSpec | Mapping[str, Any] | None = None,
    arc: ArcConfig | Mapping[str, Any] | None = None,
    output: Path | str | None = None,
    *,
    score: bool = True,
    overwrite: bool = False,
    findings: bool = True,
    turns: Sequence[str] | None = None,
    probe: LiveProbeSettings | Mapping[str, Any] | None = None,
) -> TodCallback:
    """Add a `TodCallback` to a trainer; returns it.

    Args:
        trainer: A ``GRPOTrainer`` or ``RLOOTrainer``, before ``train()``.
        target: q*; what the trainer's settings imply if None.
        arc: A controller of sharpness.
        output: Directory; ``<output_dir>/tod`` if None.
        score: Run one forward a batch for log π_old where TRL skips it.
        overwrite: Replace the records of an earlier run there.
        findings: Ask the detectors of `tod diagnose` every few steps, and warn of what they see.
        turns: What the controller turns: ``beta``, ``learning_rate``, ``epsilon``.
        probe: Score rollouts of the first batch again, ``{"every": 25, "candidates": 128}``.

    Raises:
        SpecError: As `TodCallback`.
    """
    callback = TodCallback(
        trainer,
        target=target,
        arc=arc,
        output=output,
        score=score,
        overwrite=overwrite,
        findings=findings,
        turns=turns,
        probe=probe,
    )
    trainer.add_callback(callback)
    return callback
