"""Signs that a screen uses, in plain words, where they occur."""

from collections.abc import Iterable
from textwrap import wrap

SIGNS = {
    "σ_c": "the spread of a prompt's rewards",
    "σ_batch": "the spread of the step's rewards",
    "k3": "an estimate of the KL from single samples",
    "Ū": "the mean reward of a prompt",
}
"""Sign → what it stands for."""


def legend(lines: Iterable[str], width: int = 80) -> list[str]:
    """A line or two that say what the signs of some lines mean; none where none occurs.

    >>> legend(["rewards are divided by σ_c"])
    ["(σ_c: the spread of a prompt's rewards)"]
    """
    text = "\n".join(lines)
    told = [f"{sign}: {said}" for sign, said in SIGNS.items() if sign in text]
    return wrap(f"({'; '.join(told)})", width) if told else []
