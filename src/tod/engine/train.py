"""The run: collect, update, diagnose, decide, record, again. One direction, one explicit state."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Event, current_thread, main_thread

from tod.arc import ArcState, AuthoriseState, Decision, decide, initial
from tod.engine import checkpoint as checkpoints
from tod.engine import rescore
from tod.engine.authorised import authorised, with_operator
from tod.engine.checkpoint import TrainingState
from tod.engine.collect import BatchEvidence
from tod.engine.distributed import World
from tod.engine.evaluate import evaluate
from tod.engine.extension import pool_of
from tod.engine.proposals.propose import propose
from tod.engine.record import (
    diagnose,
    ledger,
    optimiser,
    reward_ranges,
    turnable,
    write_tables,
)
from tod.engine.running import Clock, Events, Job
from tod.engine.served.training import Syncs, look, told, transfer
from tod.engine.settings import RunSettings
from tod.engine.update import Updated, update
from tod.operators import Operator
from tod.procedure import Examined, Procedure, statistics_of
from tod.regimes import GrowingPool, classify
from tod.runs import HeldOut, Ledger, RunDirectory, StepRecord
from tod.targets import TargetSpec
from tod.targets.target import LARGEST


def train(
    settings: RunSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    allow_imports: bool = False,
    events: Events | None = None,
    world: World | None = None,
) -> Path:
    """Run a recipe to its end; the run directory.

    Args:
        settings: The whole recipe.
        resume: Go on from the last good checkpoint of the directory.
        overwrite: Replace a run that is there.
        allow_imports: Whether utilities may be imported from the person's own code.
        events: Who watches.
        world: The processes; found from the environment if None.

    Raises:
        RunError: The directory cannot be used as asked; nothing in it was touched.
        KeyboardInterrupt: After Ctrl-C, when the step under way was finished and saved. After a
            second one at once, with the last good checkpoint as it was.
    """
    return _Training.carry_out(settings, resume, overwrite, allow_imports, events, world)


class _Training(Job):
    """A run that trains."""

    pool: GrowingPool
    syncs: Syncs
    """What servers showed since the last record."""

    def go(self, resume: bool) -> None:
        """All steps from the state on disk, or from the start."""
        self.syncs = []
        if self.session.synced is not None:
            self.session.synced.begin()
        state = self._start(resume)
        if self.settings.probe is not None and self.session.probe is None:
            self.syncs += transfer(self.session, 0, self.directory)
            self.session.probe = rescore.draw_probe(self.session)
            self.syncs += look(self.session, 0, self.directory, self.session.policy)
        self.pool = GrowingPool()
        if self.directory is not None:
            self.pool = pool_of(self.directory, self.settings, state.step)
        with interrupts(self.events.stopping) as asked:
            while state.step < self.settings.train.steps:
                state = self._step(state)
                stop = any(self.world.gather(asked.is_set()))
                if stop or self._due(state.step, self.settings.train.checkpoint_every):
                    self._save(state)
                if stop:
                    raise KeyboardInterrupt
        if self.directory is not None:
            self.directory.sync()
        place = None if self.directory is None else self.directory.path / "model"
        checkpoints.export(self.session, place)
        self.world.wait()

    def _start(self, resume: bool) -> TrainingState:
        """The state to go on from: a checkpoint's, or a fresh one with step 0 recorded."""
        latest = RunDirectory.open(self.settings.directory).latest_checkpoint() if resume else None
        if latest is not None:
            state = checkpoints.load(self.session, latest)
            if self.directory is not None:
                self.directory.resume_at(state.step, self.settings.train.keep_checkpoints)
            self.events.resumed(state.step)
            return state
        if resume and self.directory is not None:
            self.directory.resume_at(-1)
            self.events.resumed(0)
        state = self._fresh()
        if self.settings.evaluate is not None and self.settings.evaluate.start:
            held_out = self._evaluate()
            self.record(
                StepRecord(
                    step=0,
                    utility={},
                    knobs=self._shown(state),
                    ledger=Ledger(flops=0.0, sample_flops=0.0, score_flops=0.0, train_flops=0.0),
                    held_out=held_out,
                    served=told(self.session, 0, None, self._shown_syncs()),
                )
            )
        return state

    def _step(self, state: TrainingState) -> TrainingState:
        """One batch: evidence, updates, diagnostics, regime, decision, record."""
        step, clock = state.step + 1, Clock(self.world.device)
        operator = self._operator(state)
        procedure = Procedure(target=self._target(state), operator=operator)
        self.session.operator = operator
        self.session.refresh(step)
        self.syncs += transfer(self.session, step, self.directory)
        self.events.phase("sampling")
        evidence = propose(self.session, step)
        self.syncs += look(self.session, step, self.directory)
        clock.mark("sample")
        probed = rescore.reading(self.session, step)
        clock.mark("probe")
        self.events.phase("updating")
        rate = 1.0 if state.arc is None else ArcState.from_dict(state.arc).rate
        updated = update(self.session, evidence, procedure.tilt, operator.update, step, rate)
        self.session.version = step
        clock.mark("train")
        if updated.eta is not None:
            procedure = at_budget(procedure, updated.eta)
        ranges = reward_ranges(self.session)
        examined = diagnose(procedure, evidence, updated, ranges, probed.reading)
        statistics = statistics_of(examined)
        last = step == self.settings.train.steps
        summary = self.pool.add(step, statistics, examined.summary, last=last)
        regime = classify(summary, **turnable(procedure))
        spent = ledger(self.session, evidence, updated, probed)
        rescore.account(self.session, spent)
        state, decision = self._decide(replace(state, step=step), examined, step)
        state, decision = self._authorise(
            state, decision, procedure, evidence, updated, examined, spent
        )
        clock.mark("diagnose")
        held_out = self._evaluate() if self._evaluates(step) else None
        clock.mark("evaluate")
        self._write(step, evidence, examined, decision)
        clock.mark("write")
        record = StepRecord(
            step=step,
            utility={name: float(values.mean()) for name, values in evidence.utility.items()},
            summary=summary,
            statistics=statistics.to_dict(),
            pool=self.pool.steps,
            reward_range=ranges,
            regime=regime.to_dict(),
            knobs=knobs_of(procedure.target),
            ledger=spent,
            decision=None if decision is None else decision.to_dict(),
            held_out=held_out,
            optimiser=optimiser(evidence, updated, procedure.tilt.surpassed(examined.candidates)),
            served=told(self.session, step, evidence.rollouts.version, self._shown_syncs()),
            seconds=clock.seconds,
        )
        self.record(record)
        return state

    def _write(
        self, step: int, evidence: BatchEvidence, examined: Examined, decision: Decision | None
    ) -> None:
        """The tables of a step, and what the controller decided."""
        if self.directory is None:
            return
        write_tables(self.directory, step, self.session, evidence, examined)
        if decision is not None:
            self.directory.decide(decision.to_dict())

    def _decide(
        self, state: TrainingState, examined: Examined, step: int
    ) -> tuple[TrainingState, Decision | None]:
        """The controller's decision, in force from the next batch on."""
        if self.settings.arc is None or state.arc is None:
            return state, None
        before = ArcState.from_dict(state.arc)
        after, decision = decide(self.settings.arc, before, examined, step)
        operator = state.operator
        if self.settings.arc.authorise is None:
            operator = after.operator or state.operator
        state = replace(state, arc=after.to_dict(), knobs=dict(after.knobs), operator=operator)
        return state, decision

    def _authorise(
        self,
        state: TrainingState,
        decision: Decision | None,
        procedure: Procedure,
        evidence: BatchEvidence,
        updated: Updated,
        examined: Examined,
        spent: Ledger,
    ) -> tuple[TrainingState, Decision | None]:
        """The operator of the next batch, where the recipe says how one is authorised."""
        config = self.settings.arc
        if config is None or config.authorise is None or decision is None:
            return state, decision
        before = AuthoriseState(state.operator)
        if state.authorise is not None:
            before = AuthoriseState.from_dict(state.authorise)
        after, said = authorised(
            self.session, before, procedure, evidence, updated, examined, spent.flops
        )
        state = replace(state, authorise=after.to_dict(), operator=after.operator)
        return state, with_operator(decision, said, before.operator, after.operator)

    def _fresh(self) -> TrainingState:
        """The state before the first step; a controller's first knobs are in force in it."""
        config, knobs = self.settings.arc, self.settings.target.knobs()
        if config is None:
            return TrainingState(knobs=dict(knobs))
        first = initial(config, **knobs, operator=None, steps=self.settings.train.steps)
        return TrainingState(
            knobs=dict(first.knobs), arc=first.to_dict(), operator=first.operator or "main"
        )

    def _target(self, state: TrainingState) -> TargetSpec:
        declared = self.settings.target
        return declared.turned(state.knobs) if state.knobs else declared

    def _operator(self, state: TrainingState) -> Operator:
        return self.settings.operator_named(state.operator)

    def _shown(self, state: TrainingState) -> dict[str, float | None]:
        return knobs_of(self._target(state))

    def _evaluates(self, step: int) -> bool:
        evaluation = self.settings.evaluate
        return evaluation is not None and self._due(step, evaluation.every)

    def _due(self, step: int, every: int | None) -> bool:
        return step == self.settings.train.steps or (every is not None and step % every == 0)

    def _evaluate(self) -> HeldOut:
        self.events.phase("evaluating")
        session, step = self.session, self.session.version
        self.syncs += transfer(session, step, self.directory, of="policy")
        found = evaluate(session, self.settings.reported)
        self.syncs += look(session, step, self.directory, session.policy)
        return found

    def _shown_syncs(self) -> Syncs:
        """What servers showed since the last record, which holds it then."""
        shown, self.syncs = self.syncs, []
        return shown

    def _save(self, state: TrainingState) -> None:
        self.events.phase("saving")
        keep = self.settings.train.keep_checkpoints
        with (
            nullcontext()
            if self.directory is None
            else self.directory.checkpoint(state.step, keep=keep) as path
        ):
            if self.settings.train.sharding is not None:
                path = self.world.gather(path)[0]
            if path is not None:
                checkpoints.save(self.session, state, path)
        self.world.wait()


def at_budget(procedure: Procedure, eta: float) -> Procedure:
    """The triple at the sharpness that its KL budget allowed, the largest usable one at most.

    Its diagnostics and its record are of that target; the one declared says only b and U.
    """
    turned = procedure.target.turned({"eta": min(eta, LARGEST)})
    return procedure.revised(target=turned)


def knobs_of(target: TargetSpec) -> dict[str, float | None]:
    """What the target is set to: its own knobs, and the sharpness they make if none is one."""
    return {"eta": target.target.common_sharpness, **target.knobs()}


@contextmanager
def interrupts(noticed: Callable[[], None]) -> Iterator[Event]:
    """Set once Ctrl-C was pressed, so that the run ends after its step; pressed again, at once.

    Outside the main thread, where signals cannot be handled, nothing is changed.
    """
    asked = Event()

    def note(_number: int, _frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        noticed()

    if current_thread() is not main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
