"""What a search holds in memory, and one batch of candidates with their anchors."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from tod.base import DataError
from tod.candidates import Candidates
from tod.engine.collect import Evidence, draw, joined, scored
from tod.engine.costs import Work
from tod.engine.data import Example, Task, load_task
from tod.engine.distributed import World
from tod.engine.forecast import forecast
from tod.engine.forward import token_log_probs
from tod.engine.memory import available, require
from tod.engine.models import load_model
from tod.engine.rollouts import Rollouts
from tod.engine.search.answers import answer, answer_codes
from tod.engine.session import Session, held_once
from tod.engine.settings import RunSettings
from tod.engine.utilities import Scorer


def open_search(settings: RunSettings, world: World, allow_imports: bool) -> Session:
    """The models of a search, none of which is trained; one that has two names is held once.

    Raises:
        SpecError: A utility is to be imported and that was not allowed.
        ModelError: A model cannot be loaded.
        ResourceError: It would not fit into memory; nothing was loaded.
    """
    assert settings.search is not None  # noqa: S101 - filled in when the action selects
    scorer = Scorer(settings.text_utilities, allow_imports)
    task = load_task(settings.task, settings.search.seed)
    require(forecast(settings, task).memory, available(world.device.type))
    dtype = settings.search.dtype
    model, tokenizer = load_model(settings.model, dtype=dtype, device=world.device)
    frozen = {"ref": model}
    for name, source in (("ref", settings.anchors.ref), ("teacher", settings.anchors.teacher)):
        wanted = name in settings.target.target.names or settings.operator.proposal.source == name
        if wanted and source not in (None, settings.model):
            frozen[name] = load_model(source, dtype=dtype, device=world.device)[0]
    if settings.anchors.teacher == settings.model:
        frozen["teacher"] = model
    frozen |= held_once(settings.judges, model, dtype, world)
    for held in (model, *frozen.values()):
        held.eval().requires_grad_(False)
    return Session(
        settings=settings,
        world=world,
        policy=model,
        tokenizer=tokenizer,
        optimiser=None,  # type: ignore[arg-type] # nothing is trained
        task=task,
        scorer=scorer,
        operator=settings.operator,
        frozen=frozen,
        behaviour=model,
    )


def prompts_of(settings: RunSettings, task: Task) -> list[Example]:
    """The prompts that are searched, different ones.

    Raises:
        DataError: The split has none.
    """
    assert settings.search is not None  # noqa: S101 - filled in when the action selects
    count, split = settings.search.contexts, settings.search.split
    found = task.held_out(count) if split == "held_out" else task.batch(0, min(count, len(task)))
    if not found:
        raise DataError(
            "the task holds no prompt back, and search.split is held_out. Set `task.held_out` or "
            "`task.held_out_path`, or search.split=train."
        )
    return found


def gather(session: Session, examples: Sequence[Example], first: int) -> Evidence:
    """Candidates of some prompts, drawn, measured and scored: each process its share.

    Args:
        session: The models.
        examples: Prompts of the batch.
        first: Number of the first of them in the whole search: what is drawn depends on a
            prompt's number, not on its batch.

    Raises:
        UtilityError: A utility failed or returned nonsense.
        DataError: A prompt does not fit.
    """
    mine = session.world.share(len(examples))
    part = None
    if len(mine):
        part = _gathered(session, [examples[i] for i in mine], first + mine)
    return joined([found for found in session.world.gather(part) if found is not None])


def _gathered(
    session: Session, examples: list[Example], numbers: Int[np.ndarray, " c"]
) -> Evidence:
    settings = session.settings
    assert settings.search is not None  # noqa: S101 - filled in when the action selects
    size, seed = settings.operator.proposal.size, settings.search.seed
    rollouts, completions = draw(
        session,
        session.sampler,
        examples,
        size,
        session.params,
        seed=seed,
        step=0,
        numbers=numbers,
    )
    utility, judged = scored(session, examples, rollouts, completions)
    anchors, work = _anchors(session, rollouts)
    work |= judged
    return Evidence(rollouts, tuple(examples), completions, utility, anchors, work)


def _anchors(session: Session, rollouts: Rollouts) -> tuple[dict[str, Any], dict[str, Work]]:
    """Log-probs that log q*/μ needs after cancellation; μ's own record where they are the same."""
    models = {"old": session.policy, **session.frozen}
    full = session.params.top_k is None and not session.params.truncates_mass
    anchors: dict[str, Any] = {}
    work: dict[str, Work] = {}
    for name in sorted(session.settings.target.target.needs() - {"mu"}):
        if models[name] is session.sampler and full:
            assert rollouts.log_mu is not None  # noqa: S101 - sampled, never greedy
            anchors[name] = rollouts.log_mu.astype(np.float64)
            continue
        with torch.no_grad():
            temperature = session.operator.proposal.temperature
            found = token_log_probs(models[name], rollouts, temperature=temperature)
        anchors[name] = found.log_prob.double().cpu().numpy()
        work[name] = found.work
    return anchors, work


def candidates_of(evidence: Evidence, pattern: str | None) -> tuple[Candidates, list[str | None]]:
    """The batch as the theory sees it, with answers among its labels, and their texts."""
    plain = evidence.candidates()
    answers = [answer(text, pattern) for text in evidence.completions]
    labels = replace(plain.labels, answer=answer_codes(answers))
    return replace(plain, labels=labels), answers
