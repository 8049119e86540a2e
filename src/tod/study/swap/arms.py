"""Running one arm of a study on a language model, and what all arms are compared on."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import DataError
from tod.engine.data.load import load_task
from tod.engine.data.prompts import fitting_ids
from tod.engine.data.task import Example
from tod.engine.distances import CommonPool, draw_pool, sequence_log_probs, token_distributions
from tod.engine.evaluate import evaluate
from tod.engine.models import context_length, load_model
from tod.engine.session import open_session
from tod.engine.settings import RunSettings
from tod.engine.train import train
from tod.runs import RunDirectory
from tod.study.swap.outcomes import Outcome, series_of
from tod.study.swap.spec import Arm, Measure, SwapSpec, as_first, digest, located

__all__ = [
    "Common",
    "common_of",
    "draw_common",
    "outcome_of",
    "outcome_path",
    "repeats_of",
    "run_arm",
    "start_of",
    "start_outcome",
    "start_path",
]

POOL_SEED = 7727
"""Seed of the common completions: no arm's."""


@dataclass(frozen=True)
class Common:
    """What all arms of a task are compared on.

    Attributes:
        pool: Completions that every final policy is asked about.
        every: Distance of the positions at which whole distributions are kept.
        prompts: Hash of the held-out prompts.
    """

    pool: CommonPool
    every: int
    prompts: str


def common_of(spec: SwapSpec, task: str, folder: Path, root: Path) -> Common:
    """The common completions of a task, drawn and written at the first call, else read.

    Args:
        spec: The study.
        task: The task's name.
        folder: Where the study is written.
        root: Folder that paths of models are relative to.
    """
    world, measure = spec.tasks[task], spec.measure
    condition = next(c for c in spec.conditions if task in spec.tasks_of(c))
    operator = next(iter(spec.operators_of(condition, task)))
    settings = spec.arm(task, condition, operator, spec.seeds[0]).settings(root, folder)
    path = folder / f"common-{task}.npz"
    if not path.exists():
        known = {name: located(model, root) for name, model in world.models.items()}
        sources = [known[name] for name in measure.models if name in known]
        unfinished = path.with_suffix(".unfinished.npz")
        draw_common(settings, sources, measure).pool.save(unfinished)
        unfinished.replace(path)
    return _common(settings, measure, CommonPool.load(path))


def draw_common(settings: RunSettings, sources: Sequence[str], measure: Measure) -> Common:
    """Common completions, drawn from some models.

    Args:
        settings: Of one of the arms: its task and its longest completion.
        sources: The models.
        measure: How many.
    """
    loaded = [load_model(source) for source in dict.fromkeys(sources)]
    tokenizer = loaded[0][1]
    longest = (context_length(loaded[0][0]) or 2**31) - _new_tokens(settings)
    prompts = [
        np.asarray(fitting_ids(example, tokenizer, longest), np.int64)
        for example in _held_out(settings, measure)[: measure.prompts]
    ]
    models = [model for model, _ in loaded]
    tokens = _new_tokens(settings)
    pool = draw_pool(
        models, tokenizer, prompts, measure.size, max_new_tokens=tokens, seed=POOL_SEED
    )
    return _common(settings, measure, pool)


def _common(settings: RunSettings, measure: Measure, pool: CommonPool) -> Common:
    every = max(1, pool.rollouts.sequences.total // measure.positions)
    prompts = [example.prompt for example in _held_out(settings, measure)]
    return Common(pool, every, digest(prompts))


def _held_out(settings: RunSettings, measure: Measure) -> list[Example]:
    """The prompts that arms are evaluated on."""
    count = settings.evaluate.held_out_prompts if settings.evaluate else measure.prompts
    return load_task(settings.task, settings.prompt_seed).held_out(count)


def start_of(arm: Arm, common: Common, folder: Path, root: Path) -> Outcome:
    """Where an arm starts: evaluated once for all arms that start there, and written, else read.

    Args:
        arm: The arm.
        common: What its end is measured on.
        folder: Where the study is written.
        root: Folder that paths of models are relative to.
    """
    path = start_path(folder, arm)
    if path.exists():
        return Outcome.load(path)
    outcome = start_outcome(arm.settings(root, folder / "unfinished"), common)
    path.parent.mkdir(parents=True, exist_ok=True)
    outcome.save(path)
    return outcome


def start_outcome(settings: RunSettings, common: Common) -> Outcome:
    """What a run's starting model is worth, and says of the common completions."""
    with closing(open_session(settings)) as session:
        held_out = evaluate(session, settings.reported)
        model = session.policy.eval()
        return Outcome(
            facts={"model": settings.model, "prompts": common.prompts},
            evaluated=np.zeros(1, int),
            held_out=np.array([held_out.by_prompt or ()]),
            log_probs=sequence_log_probs(model, common.pool),
            distributions=token_distributions(model, common.pool, common.every),
            series={},
        )


def start_path(folder: Path, arm: Arm) -> Path:
    """Where the start of an arm is kept: one file for a task, a model and a way to evaluate it."""
    evaluation = {**(as_first(arm.recipe)["evaluate"] or {}), "every": None}
    proposal = arm.recipe["operator"]["proposal"]
    decoding = [proposal.get(name) for name in ("max_new_tokens", "temperature")]
    named = digest([arm.recipe["model"], arm.recipe["task"], evaluation, decoding])
    return folder / "starts" / f"{arm.task}--{named}.npz"


def outcome_path(folder: Path, arm: Arm) -> Path:
    """Where an arm's outcome is kept."""
    return folder / "arms" / f"{arm.slug}.npz"


def repeats_of(folder: Path) -> Path:
    """Where arms that are run a second time leave their outcomes."""
    return folder / "repeats"


def run_arm(arm: Arm, common: Common, folder: Path, root: Path) -> Outcome:
    """Train one arm and write what it leaves.

    Args:
        arm: The arm.
        common: What its end is measured on.
        folder: Where the study is written; the run itself is removed afterwards.
        root: Folder that paths of models are relative to.
    """
    path = outcome_path(folder, arm)
    work = folder / "unfinished" / arm.slug
    run = RunDirectory.open(train(arm.settings(root, work), overwrite=True))
    names = {"task": arm.task, "condition": arm.condition, "operator": arm.operator}
    outcome = outcome_of(run, common, {**names, "seed": arm.seed, "recipe": arm.hashed})
    path.parent.mkdir(parents=True, exist_ok=True)
    outcome.save(path)
    shutil.rmtree(work)
    return outcome


def outcome_of(run: RunDirectory, common: Common, facts: Mapping[str, Any]) -> Outcome:
    """What a finished run leaves.

    Args:
        run: Its directory, with the trained model in it.
        common: What its end is measured on.
        facts: What it is called.

    Raises:
        DataError: It was not evaluated by held-out prompt, or its model is not there.
    """
    records = list(run.steps.read())
    evaluated = [record for record in records if (record.get("held_out") or {}).get("by_prompt")]
    evaluated = [record for record in evaluated if record["step"] > 0]
    if not evaluated:
        raise DataError(
            f"{run.path}: no evaluation by held-out prompt is recorded, so its utility cannot be "
            "paired. Run it again with this version and `evaluate:` set."
        )
    model, _ = load_model(str(run.path / "model"))
    series = series_of(records)
    return Outcome(
        facts={
            **facts,
            "prompts": common.prompts,
            "flops": float(series["flops"].sum()) if np.isfinite(series["flops"]).all() else None,
            "steps": len(series["flops"]),
            "skipped": int((series["grad_norm"] == 0).sum()),
            "seconds": sum(sum((r.get("seconds") or {}).values()) for r in records),
        },
        evaluated=np.array([record["step"] for record in evaluated]),
        held_out=np.array([record["held_out"]["by_prompt"] for record in evaluated]),
        log_probs=sequence_log_probs(model, common.pool),
        distributions=token_distributions(model, common.pool, common.every),
        series=series,
    )


def _new_tokens(settings: RunSettings) -> int:
    return int(settings.operator.proposal.max_new_tokens)
