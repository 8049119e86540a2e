"""A step of training whose candidates come from servers: send the weights, look, tell."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from tod.base import ModelError
from tod.engine.distributed import World
from tod.engine.sampling.params import SamplingParams
from tod.engine.served.watch import OF_A_PROMPT, TransferProbe, Watched, said, watch
from tod.engine.served.weights import ServedWeights
from tod.engine.session import Session
from tod.operators import due
from tod.runs import RunDirectory

Syncs = list[dict[str, Any]]


def transfer(
    session: Session,
    step: int,
    directory: RunDirectory | None,
    of: Literal["sampler", "policy"] = "sampler",
) -> Syncs:
    """Let the servers draw from the weights that are due, and look at those that got them.

    Nothing is sent twice: where the servers hold the version already they only change to it.

    Args:
        session: The run.
        step: Step that is about to draw, from 1; 0: before the first.
        directory: Where a mismatch is noted.
        of: ``sampler``: the policy as it was at the last refresh; ``policy``: as it is.

    Raises:
        ModelError: A server cannot load the weights, or holds others and the recipe says stop.
    """
    weights = session.synced
    if weights is None:
        return []
    current = of == "policy" or step == 0
    version = session.version if current else drawn_version(session, step)
    model = session.policy if current or session.behaviour is None else session.behaviour
    _together(session.world, lambda: weights.use(version, model))
    return look(session, step, directory, model)


def look(session: Session, step: int, directory: RunDirectory | None, model: Any = None) -> Syncs:
    """Look at the servers that got weights since the last time; nothing where there are none.

    Before a batch these are all, after it those that were started anew while it was drawn.

    Args:
        session: The run.
        step: Step that draws.
        directory: Where a mismatch is noted.
        model: What they should hold; None: what the step's candidates are drawn from.

    Raises:
        ModelError: As in ``transfer``.
    """
    weights = session.synced
    if weights is None or not any(session.world.gather(bool(weights.unwatched))):
        return []
    if model is None:
        model = session.policy if session.behaviour is None else session.behaviour
    world = session.world
    _all_unwatched(world, weights)
    mine = _together(world, lambda: _watched(session, weights, model) if world.main else [])
    found: list[Watched] = world.gather(mine)[0]
    for one in found:
        if not one.good:
            _noted(session, step, directory, one)
    weights.unwatched = []
    return [one.to_dict() for one in found]


def drawn_version(session: Session, step: int) -> int:
    """Batches that the weights were trained on which draw at a step (from 1)."""
    refresh = session.operator.proposal.refresh
    if refresh is None:
        return 0
    return next((s - 1 for s in range(step, 0, -1) if due(refresh, s)), 0)


def told(
    session: Session, step: int, version: Int[np.ndarray, " N"] | None, syncs: Syncs
) -> dict[str, Any] | None:
    """What the step's record says of the servers; None without any."""
    if session.synced is None:
        return None
    lag = None if version is None else step - 1 - version
    return {
        "version": drawn_version(session, step),
        "lag": None if lag is None else float(lag.mean()),
        "most": None if lag is None else int(lag.max()),
        "syncs": syncs,
    }


def _watched(session: Session, weights: ServedWeights, model: Any) -> list[Watched]:
    proposal = session.operator.proposal
    count = -(-weights.sampler.spec.sync.sequences // OF_A_PROMPT)
    params = SamplingParams(
        max_new_tokens=proposal.max_new_tokens, temperature=proposal.temperature
    )
    prompts = tuple(session.prompts(session.task.batch(0, count)))
    probe = TransferProbe(prompts, params, session.stop_ids, session.settings.seed)
    return watch(weights, model, probe)


def _noted(session: Session, step: int, directory: RunDirectory | None, one: Watched) -> None:
    """Write down that a server is out of sync, then stop or warn as the recipe says."""
    if directory is not None:
        directory.mismatch({"step": step, **one.to_dict()})
    policy = session.settings.policy
    if policy is not None and policy.sync.on_mismatch == "stop":
        raise ModelError(
            f"step {step}: {said(one)} The step was not taken; --resume goes on from the last "
            "checkpoint. `policy.sync.on_mismatch: warn` goes on with such candidates."
        )
    if session.world.main:
        warnings.warn(f"step {step}: {said(one)}", stacklevel=2)


def _all_unwatched(world: World, weights: ServedWeights) -> None:
    """In the main process, which looks: every server that any process gave weights."""
    urls = set().union(*world.gather([client.url for client in weights.unwatched]))
    weights.unwatched = [client for client in weights.sampler.clients if client.url in urls]


def _together(world: World, make: Callable[[], Any]) -> Any:
    """``make()`` of every process, when all have come this far.

    Raises:
        ModelError: As one of them met it, in all of them.
    """
    value, problem = None, None
    try:
        value = make()
    except ModelError as error:
        if world.size == 1:
            raise
        problem = str(error)
    problems: Sequence[str | None] = world.gather(problem)
    first = next((text for text in problems if text is not None), None)
    if first is not None:
        raise ModelError(first)
    return value
