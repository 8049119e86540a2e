"""The prompts of a search, and one batch of their candidates."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

from tod.base import DataError
from tod.candidates import Candidates
from tod.engine.collect import BatchEvidence, drawn, everywhere, judged_or_error
from tod.engine.data.task import Example, Task
from tod.engine.search.particles import together
from tod.engine.session import Session
from tod.engine.settings import RunSettings
from tod.formats.files import natural
from tod.operators import SequentialMonteCarlo
from tod.reranking.answers import answer, answer_codes


def prompts_of(settings: RunSettings, task: Task) -> list[Example]:
    """The prompts that are searched, different ones.

    Raises:
        DataError: The split has none.
    """
    count, split = settings.searching.contexts, settings.searching.split
    held = [] if split == "train" else task.held_out(count)
    if split == "held_out" and not held:
        raise DataError(
            "the task holds no prompt back, and search.split is held_out. Set `task.held_out` or "
            "`task.held_out_path`, or search.split=all."
        )
    left = 0 if split == "held_out" else min(count - len(held), len(task))
    found = [*held, *(task.examples[i] for i in range(left))] if split == "all" else held
    if split == "train":
        return task.batch(0, left)
    if split == "held_out" and len(found) < count and len(task) <= count:
        warnings.warn(
            f"search.contexts={count} asks for more prompts than the task holds back: "
            f"{len(found)} are searched. search.split=all searches every prompt of the task.",
            stacklevel=2,
        )
    return sorted(found, key=lambda example: natural(example.id)) if left else found


def gather(session: Session, examples: Sequence[Example], first: int) -> BatchEvidence:
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
    draws = together if isinstance(session.operator.action, SequentialMonteCarlo) else drawn
    evidence = everywhere(
        session, examples, lambda mine, numbers: draws(session, mine, first + numbers, step=0)
    )
    return judged_or_error(session, evidence)


def candidates_of(
    evidence: BatchEvidence, pattern: str | None
) -> tuple[Candidates, list[str | None]]:
    """The batch as the theory sees it, with answers among its labels, and their texts."""
    plain = evidence.candidates()
    answers = [answer(text, pattern) for text in evidence.completions]
    labels = replace(plain.labels, answer=answer_codes(answers))
    return replace(plain, labels=labels), answers
