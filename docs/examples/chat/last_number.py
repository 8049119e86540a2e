"""The reward of GSM8K: 1 where the last number of the completion is the answer, else 0."""

import re


def correct(prompts, completions, answer, **columns):  # noqa: ARG001
    """As reward functions of TRL are called; a chat's completion is a list of messages."""
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    found = [re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", "")) for text in texts]
    return [
        float(bool(numbers) and float(numbers[-1]) == float(right))
        for numbers, right in zip(found, answer, strict=True)
    ]
