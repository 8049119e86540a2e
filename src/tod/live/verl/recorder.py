"""What the plugin does with a step of a verl trainer: examine it, write it, and hand out figures.

Everything here is guarded: what fails is said once, with its cause, and the step goes on.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tod.base import RunError, Spec
from tod.live.background import Background
from tod.live.export import LiveBatch
from tod.live.findings import LiveFindings
from tod.live.guard import Guard, harmless
from tod.live.places import free, reopened, writing
from tod.live.step import ExaminedStep, judge, metrics, utility_means
from tod.live.verl.aim import Aimed, ConfiguredTarget, configured
from tod.live.verl.queue import Get, asked, batch_of, fetched, spelled
from tod.logs.names import names
from tod.regimes import GrowingPool
from tod.runs import Manifest, RunDirectory, StepRecord

logger = logging.getLogger("tod.live")
LONGEST = 60.0
"""Seconds that the disk is waited for, once in a training: after that it is only looked."""
_CLIPPED = ("actor/pg_clipfrac", "actor/pg_clipfrac_lower")
_CLIPPING = ("vanilla", "gspo", "tod_clip", "tod_sequence_clip")
"""Losses whose ``pg_clipfrac`` is a share of all tokens."""


class PluginSettings(Spec):
    """``trainer.tod`` of verl's configuration, every part optional."""

    output: str | None = None
    """Directory of the records; ``tod`` in ``trainer.default_local_dir`` if None."""
    target: dict[str, Any] | None = None
    """q*; what the configuration implies if None, or else assumed and said to be."""
    findings: bool = True
    """Whether the detectors of `tod diagnose` are asked every few steps."""
    extras: bool = False
    """Whether other numbers that a reward function returns are recorded too."""
    overwrite: bool = False
    """Whether an earlier run at the place may be replaced; not where a training is resumed."""


class Recorder:
    """The records of one verl training.

    Args:
        settings: verl's configuration, nested and resolved.
        mode: The trainer's mode.
        version: verl's release.
        strict: Raise what would otherwise be said once.

    Attributes:
        last: The last step as it was examined; None where it could not be.
        guard: Counts what failed.
    """

    def __init__(
        self, settings: Mapping[str, Any], mode: str, version: str, strict: bool = False
    ) -> None:
        self.guard = Guard(strict)
        self.last: ExaminedStep | None = None
        self.run: RunDirectory | None = None
        self.pool = GrowingPool()
        self.findings: LiveFindings | None = None
        self.plugin = PluginSettings()
        self._settings, self._mode, self._version = settings, mode, version
        self._configured: ConfiguredTarget | None = None
        self._history: list[dict[str, Any]] = []
        self._matched: tuple[frozenset[str], tuple[str, ...]] = (frozenset(), ())
        self._first: int | None = None
        self._tried = False
        self._background = Background("tod")

    @harmless("reading verl's configuration")
    def begin(self) -> None:
        """Read the configuration, once."""
        trainer = self._settings.get("trainer", {})
        self.plugin = PluginSettings.parse(dict(trainer.get("tod") or {}), "trainer.tod")
        self._configured = configured(self._settings, self._version, self.plugin.target)

    @harmless("recording a step")
    def step(
        self,
        step: int,
        get: Get,
        keys: Sequence[str],
        tags: Sequence[Mapping[str, Any]],
        logged: dict[str, Any],
        tokenizer: Any = None,
    ) -> None:
        """Examine what a step trained on, write it, and put ``tod/…`` into what verl logs.

        Args:
            step: verl's ``global_steps``.
            get: Asks the queue.
            keys: Keys of the batch.
            tags: Its tags.
            logged: What verl is about to log; gains our figures.
            tokenizer: Spells ids.
        """
        if self._first is None:
            self._first = step
        if self._configured is None:
            self.begin()
        with self.guard("waiting for the step before") as block:
            self._settle()
        if block.failed:
            return
        batch: LiveBatch | None = None
        with self.guard("reading the batch"):
            rows = asked(keys, tags)
            batch = batch_of(fetched(get, rows, self.plugin.extras), rows, tokenizer)
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
        found = self.last
        if self.findings is not None:
            logged |= self.findings.standing()
        if found is not None:
            logged |= metrics(found, {**aimed.spec.knobs()})
        told = {"step": step, **self._canonical(logged)}
        if self.run is None:
            self._background.do(partial(self._open, aimed))
        self._background.do(partial(self._after, step, aimed, found, told, tokenizer))

    @harmless("writing a step")
    def _after(
        self,
        step: int,
        aimed: Aimed,
        found: ExaminedStep | None,
        told: dict[str, Any],
        tokenizer: Any,
    ) -> None:
        """What does not hold the trainer up: texts, detectors and the disk, in another thread."""
        batch = aimed.batch
        with self.guard("spelling the answers"):
            batch = spelled(batch, tokenizer)
        self._look(step, batch, told)
        self._write(step, replace(aimed, batch=batch), found)

    def _settle(self) -> None:
        """Wait for what is still being written.

        Raises:
            RunError: It is not done after a minute; after that nobody waits again.
        """
        if not self._background.finished(LONGEST):
            raise RunError(
                "the step before is still being written, and until it is, steps are left out "
                f"(waited for once, {LONGEST:.0f} s): is the disk of trainer.tod.output full or "
                "away?"
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
        known = ConfiguredTarget(None, None, ("it could not be read",))
        return (self._configured or known).aim(batch)

    def _examined(self, step: int, aimed: Aimed, logged: Mapping[str, Any]) -> ExaminedStep:
        return judge(
            aimed.batch,
            aimed.spec,
            self.pool,
            step,
            assumed=aimed.source == "assumed",
            on_policy=False,
            clipped=self._clipped(logged),
            entropy=self._entropy(logged),
        )

    def _clipped(self, logged: Mapping[str, Any]) -> float | None:
        """Share of tokens that the clip changed; None of a loss whose figure is none of tokens."""
        mode = _at(self._settings, "actor_rollout_ref.actor.policy_loss.loss_mode")
        values = [logged.get(name) for name in _CLIPPED]
        if mode not in _CLIPPING or values[0] is None:
            return None
        return float(sum(float(x) for x in values if x is not None))

    def _entropy(self, logged: Mapping[str, Any]) -> float | None:
        """Mean entropy of a token, nats; None where verl averages it otherwise."""
        value = logged.get("actor/entropy")
        mean = _at(self._settings, "actor_rollout_ref.actor.loss_agg_mode") == "token-mean"
        return float(value) if mean and value is not None else None

    def _look(self, step: int, batch: LiveBatch, told: dict[str, Any]) -> None:
        """Ask the detectors where it is time; what stands is logged with the next step."""
        if not self.plugin.findings:
            return
        with self.guard("asking the detectors"):
            if self.findings is None:
                self.findings = LiveFindings(framework="verl")
            self._history.append(told)
            self.findings.step(step, batch, self._history)
            seen = self.findings.last
            self.pool.since = None if seen is None else seen.last_change

    def _canonical(self, logged: Mapping[str, Any]) -> dict[str, float]:
        """Of verl's figures those that have a canonical name: the others would only fill memory."""
        keys = frozenset(logged)
        if keys != self._matched[0]:
            found = names().matches(logged, "verl")
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
        folder = _at(self._settings, "trainer.default_local_dir") or "."
        asked = Path(self.plugin.output or Path(str(folder)) / "tod")
        recipe = self._recipe(aimed)
        run = reopened(asked, first - 1, recipe) if first > 1 else None
        if run is None:
            overwrite = self.plugin.overwrite and first == 1
            place, lock = free(asked, overwrite, "Set +trainer.tod.overwrite=true")
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
        return {
            "trainer": f"verl {self._version} {self._mode}",
            kind: None if aimed.spec is None else aimed.spec.model_dump(mode="json"),
            "target_source": aimed.source,
            "notes": list(aimed.notes),
            "advantage": _at(self._settings, "algorithm.adv_estimator"),
            "loss": _at(self._settings, "actor_rollout_ref.actor.policy_loss.loss_mode"),
            "updates": None if located is None else located.updates,
        }

    def _write(self, step: int, aimed: Aimed, found: ExaminedStep | None) -> None:
        run = self.run
        if run is None:
            return
        with writing(self.guard, run):
            run.write_rollouts(step, aimed.batch.columns())
            if found is None:
                return
            rows = found.examined.diagnostics.rows(found.examined.candidates.labels)
            run.write_contexts(step, {k: v for k, v in rows.items() if k != "step"})
            run.record(
                StepRecord(
                    step=step,
                    utility=utility_means(aimed.batch),
                    summary=found.summary,
                    regime=found.regime.to_dict(),
                    knobs={**aimed.spec.knobs()},
                    statistics=found.statistics.to_dict(),
                    pool=self.pool.steps,
                )
            )


def _at(settings: Mapping[str, Any], name: str) -> Any:
    """A setting by its dotted name; None where it is not there."""
    value: Any = settings
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
