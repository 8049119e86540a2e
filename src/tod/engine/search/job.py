"""The search: draw, measure, weigh, select, record, again; then the K-scaling curve."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import SpecError, to_numpy
from tod.candidates import Candidates
from tod.engine.collect import BatchEvidence
from tod.engine.costs import ModelCost, spent
from tod.engine.data.task import Example
from tod.engine.distributed import World
from tod.engine.forward.index import Index
from tod.engine.record import cost_of, reward_ranges, unjudged, write_tables
from tod.engine.running import Clock, Events, Job
from tod.engine.search.drawing import candidates_of, gather, prompts_of
from tod.engine.search.particles import particle_statistics
from tod.engine.search.results import bound_note, reranked, summarise, write_answers
from tod.engine.session import Session
from tod.engine.settings import RunSettings
from tod.engine.train import knobs_of
from tod.operators import MinimumBayesRisk, RejectionSampling, Selection, SelectionRule
from tod.procedure import Declared, Procedure, examine, pool_of, statistics_of
from tod.regimes import GrowingPool, classify
from tod.reranking.answers import similarity
from tod.reranking.selecting import select, select_by_pairs, selection_uniforms
from tod.runs import Ledger, RunDirectory, StepRecord, plain, write_atomic


def search(
    settings: RunSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    allow_imports: bool = False,
    events: Events | None = None,
    world: World | None = None,
) -> Path:
    """Select at test time on every prompt; the run directory.

    Args:
        settings: The whole recipe; its action selects.
        resume: Go on after the last whole batch of the directory.
        overwrite: Replace a run that is there.
        allow_imports: Whether utilities may be imported from the person's own code.
        events: Who watches.
        world: The processes; found from the environment if None.

    Raises:
        SpecError: The action trains.
        RunError: The directory cannot be used as asked; nothing in it was touched.
        KeyboardInterrupt: Passed on; every finished batch is on disk.
    """
    if settings.search is None:
        raise SpecError(
            f"action {settings.operator.action.kind!r} trains: run it with `train`, or give an "
            "action that selects (best_of_k, resample, rejection, a vote, minimum_bayes_risk)."
        )
    return _Search.carry_out(settings, resume, overwrite, allow_imports, events, world)


class _Search(Job):
    """A run that selects at test time."""

    pool: GrowingPool
    batches: int

    def go(self, resume: bool) -> None:
        """All batches that are not on disk, then the summary."""
        examples = prompts_of(self.settings, self.session.task)
        many = self.settings.operator.proposal.prompts
        done = self._resumed() if resume else 0
        self.batches = -(-len(examples) // many)
        self.pool = GrowingPool()
        if self.directory is not None:
            self.pool = GrowingPool.of_records(self.directory.steps.read())
        for step in range(done + 1, self.batches + 1):
            first = (step - 1) * many
            self._step(step, examples[first : first + many], first)
        if self.directory is not None:
            self.directory.sync()
            answered = reranked(self.settings, self.directory)
            write_answers(answered, self.directory)
            found = summarise(self.settings, answered)
            text = json.dumps(plain(found), indent=1, ensure_ascii=False)
            write_atomic(self.directory.path / "search.json", text + "\n")
            note = bound_note(found)
            if note is not None:
                warnings.warn(note, stacklevel=2)
        self.world.wait()

    def _resumed(self) -> int:
        """Batches that are whole on disk; what lies beyond them is dropped."""
        directory = RunDirectory.open(self.settings.directory)
        done = _whole(directory)
        self.world.wait()
        if self.directory is not None:
            self.directory.resume_at(done)
        self.events.resumed(done)
        return done

    def _step(self, step: int, examples: list[Example], first: int) -> None:
        """One batch: candidates, weights, diagnostics, regime, selection, record."""
        clock = Clock(self.world.device)
        self.events.phase("sampling")
        evidence = gather(self.session, examples, first)
        clock.mark("sample")
        self.events.phase("selecting")
        candidates, answers = candidates_of(evidence, self.settings.searching.answer)
        triple = Procedure(self.settings.target, self.settings.operator)
        ranges = reward_ranges(self.session)
        examined = examine(triple, candidates, declared=Declared(reward_range=ranges))
        chosen = self._select(candidates, evidence, first)
        clock.mark("select")
        knobs, statistics = knobs_of(self.settings.target), statistics_of(examined)
        summary = self.pool.add(step, statistics, examined.summary, last=step == self.batches)
        record = StepRecord(
            step=step,
            utility=_means(candidates, chosen),
            summary=summary,
            regime=classify(summary, eta=knobs["eta"]).to_dict(),
            knobs=knobs,
            ledger=_ledger(self.session, evidence),
            optimiser=_beyond(self.settings, examined.log_w)
            | unjudged(evidence)
            | particle_statistics(evidence, examined.log_w),
            statistics=statistics.to_dict(),
            pool=self.pool.steps,
            reward_range=ranges,
            seconds=clock.seconds,
        )
        if self.directory is not None:
            selected = np.zeros(len(candidates), dtype=bool)
            selected[chosen.rows[chosen.accepted]] = True
            more = {"answer": answers, "selected": selected}
            write_tables(self.directory, step, self.session, evidence, examined, **more)
        self.record(record)  # after its tables: a step with a record is whole
        if self.directory is not None:
            self.directory.sync()

    def _select(self, candidates: Candidates, evidence: BatchEvidence, first: int) -> Selection:
        """What the rule puts out, by uniforms that depend on a prompt's number alone."""
        rule, contexts = self.settings.operator.action, candidates.contexts
        assert isinstance(rule, SelectionRule)  # noqa: S101 - checked at the start
        pool = pool_of(self.settings.target.target, candidates)
        draws = selection_uniforms(
            self.settings.searching.seed, first + contexts.owner, contexts.position
        )
        if not isinstance(rule, MinimumBayesRisk):
            return select(rule, pool, draws)
        texts = contexts.split(np.array(evidence.completions, dtype=object))

        def pairs(chosen: Any) -> Any:
            return np.concatenate(
                [similarity(texts[c], self.settings.searching.similarity).ravel() for c in chosen]
            )

        return select_by_pairs(rule, pool, draws, pairs)


def _means(candidates: Candidates, chosen: Selection) -> dict[str, float | None]:
    """Mean of every utility over all candidates and over what was selected, and of how many."""
    rows = chosen.rows[chosen.accepted]
    found: dict[str, float | None] = {"selected": float(chosen.accepted.mean())}
    for name, values in candidates.utility.items():
        found[name] = float(to_numpy(values).mean())
        found[f"selected.{name}"] = float(to_numpy(values)[rows].mean()) if len(rows) else None
    return found


def _beyond(settings: RunSettings, log_w: Any) -> dict[str, float | None]:
    """Share of candidates beyond rejection's bound, where one is declared."""
    rule = settings.operator.action
    share = rule.beyond(log_w) if isinstance(rule, RejectionSampling) else None
    return {} if share is None else {"beyond_bound": share}


def _ledger(session: Session, evidence: BatchEvidence) -> Ledger:
    """Tokens and operations of one batch; every prompt is counted once."""
    useful = Index(evidence.rollouts).useful + evidence.dropped
    sampled = (ModelCost.of(session.sampler), useful)
    return spent(sampled, [(cost_of(session, n), work) for n, work in evidence.work.items()])


def _whole(directory: RunDirectory) -> int:
    """The last step such that it and all before it have a record and both tables."""
    recorded = {int(record["step"]) for record in directory.steps.read()}
    for table in (directory.contexts, directory.rollouts):
        rows = table.scan()
        found = [] if rows is None else rows.select("step").unique().collect()["step"].to_list()
        recorded &= set(found)
    done = 0
    while done + 1 in recorded:
        done += 1
    return done
