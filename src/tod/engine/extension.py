"""A run that goes on to another length, where it is then the run of that length."""

import warnings
from dataclasses import asdict
from typing import Any

from tod.arc import initial
from tod.base import RunError
from tod.diagnostics import Summary
from tod.engine.record import turnable
from tod.engine.settings import LENGTH, MAY_DIFFER, RunSettings, Train, read_today
from tod.engine.update import learning_rate
from tod.population import LegStatistics
from tod.procedure import Procedure
from tod.regimes import GrowingPool, classify
from tod.runs import RunDirectory
from tod.runs.records import plain


def continued(directory: RunDirectory, settings: RunSettings) -> RunDirectory:
    """The directory, whose manifest tells the length that is asked.

    Every step that is done must be what it would have been in a run of that length from the start:
    the learning rates of its updates, and the controller's deadline.

    Raises:
        RunError: The recipe is another one, or the length makes it another one; nothing was
            changed.
    """
    damaged = directory.check_checkpoints()
    if damaged is not None:
        warnings.warn(damaged, stacklevel=2)
    begun = read_today(directory.manifest.recipe)
    there = (begun.get("train") or {}).get("steps")
    if settings.selects or there is None or there == settings.train.steps:
        directory.check_recipe(settings.plain(), free=MAY_DIFFER, there=begun)
        return directory
    directory.check_recipe(settings.plain(), free=(*MAY_DIFFER, LENGTH), there=begun)
    latest = directory.latest_checkpoint()
    done = 0 if latest is None else int(latest.name.rpartition("-")[2])
    asked = settings.train.steps
    if asked < done:
        raise RunError(
            f"{directory.path} has done {done} steps and {asked} were asked: what is done stays. "
            f"Ask for more, or give the shorter run another `output`."
        )
    why = _another(settings, int(there), done) if done else None
    if why is not None:
        raise RunError(
            f"{directory.path} cannot become a run of {asked} steps: {why}. Start that run anew, "
            f"or go on from these weights: model={directory.path} train.steps={asked - done}."
        )
    directory.lengthen(asked)
    return directory


def _another(settings: RunSettings, there: int, done: int) -> str | None:
    """Why the steps that are done would have been others in a run of the length asked."""
    train = settings.train
    before = train.revised(steps=there)
    updates = range(done * train.updates_per_batch)
    if any(learning_rate(before, n) != learning_rate(train, n) for n in updates):
        return (
            f"its {_schedule(train)} is laid over {there} steps, so a run of {train.steps} has "
            "other learning rates from the start (one begun with "
            f"train.schedule_steps={train.steps} or train.schedule=constant can be made longer)"
        )
    if settings.arc is not None and _plan(settings, there) != _plan(settings, train.steps):
        return (
            f"the controller plans over {there} steps, so a run of {train.steps} has "
            "another sharpness from the start"
        )
    return None


def _schedule(train: Train) -> str:
    return "warm-up" if train.schedule == "constant" else f"{train.schedule} schedule"


def _plan(settings: RunSettings, steps: int) -> tuple[int | None, int | None]:
    """Deadline of the controller, and the length that it goes by; the second of ``ramp`` alone."""
    config = settings.arc
    assert config is not None  # noqa: S101 - checked by the caller
    state = initial(config, **settings.target.knobs(), operator=None, steps=steps)
    return state.deadline, state.length if config.plan == "ramp" else None


def pool_of(directory: RunDirectory, settings: RunSettings, step: int) -> GrowingPool:
    """The pool of a run that goes on after a step.

    Where that step was the last of a shorter run, its pool was read because the run ended. Its
    record is read again as one in the middle, so that what follows is what a run of this length
    would have written. An evaluation at it stays.
    """
    *before, last = [*directory.steps.read()] or [{}]
    inner = 0 < step < settings.train.steps and last.get("step") == step
    if not inner or last.get("statistics") is None:
        return GrowingPool.of_records([*before, last])
    pool = GrowingPool.of_records(before)
    summary = Summary.from_dict(last)
    read = pool.add(step, LegStatistics.from_dict(last["statistics"]), summary)
    again: dict[str, Any] = {
        **last,
        "population": plain(asdict(read)["population"]),
        "pool": pool.steps,
        "regime": plain(classify(read, **turnable(_procedure(settings, last["knobs"]))).to_dict()),
    }
    if again != last:
        directory.steps.replace_last(again)
    return pool


def _procedure(settings: RunSettings, knobs: dict[str, float]) -> Procedure:
    """The triple with the knobs that a record says were in force."""
    target = settings.target
    own = {name: knobs[name] for name in target.knobs()}
    return settings.procedure.revised(target=target.turned(own)) if own else settings.procedure
