"""Reward functions as users of TRL write them, for the tests of the utilities."""

import os
import time


def length(completions, **kwargs):
    return [float(len(text)) for text in completions]


def against_answer(prompts, completions, answer, **kwargs):
    assert len(prompts) == len(completions) == len(answer)
    return [1.0 if text == a else -0.5 for text, a in zip(completions, answer, strict=True)]


def of_messages(completions, **kwargs):
    return [len(completion[0]["content"]) for completion in completions]


def token_count(completion_ids, **kwargs):
    return [len(ids) for ids in completion_ids]


def group_share(prompts, completions):
    """Compares the candidates of a context, so it needs the whole context in one call."""
    return [
        completions.count(text) / prompts.count(p)
        for p, text in zip(prompts, completions, strict=True)
    ]


async def eventually(completions, **kwargs):
    return [2.0 for _ in completions]


def sometimes(prompts, completions, **kwargs):
    return [None if p == "a" else 3.0 for p in prompts]


def never(completions, **kwargs):
    return [None] * len(completions)


def process(completions, **kwargs):
    print("printing must not disturb the answers")  # noqa: T201
    return [os.getpid() for _ in completions]


def hang_on_x(completions, **kwargs):
    while "x" in completions:
        time.sleep(0.01)
    return [1] * len(completions)


def die_on_x(completions, **kwargs):
    if "x" in completions:
        os._exit(7)
    return [1] * len(completions)


def raise_on_x(completions, **kwargs):
    if "x" in completions:
        raise LookupError("no x please")
    return [1] * len(completions)


def nan_on_x(completions, **kwargs):
    return [float("nan") if text == "x" else 0 for text in completions]


def infinite_on_x(completions, **kwargs):
    return [float("-inf") if text == "x" else 0 for text in completions]


def short(completions, **kwargs):
    return [1.0] * (len(completions) - 1)


def scalar(completions, **kwargs):
    return 1.0


def nested(completions, **kwargs):
    return [[1.0, 2.0] for _ in completions]


def array(completions, **kwargs):
    import numpy as np

    return np.arange(len(completions), dtype=np.float32)
