"""Settings outside a triple that a translation writes over, and those that it drops."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tod.configurations.also_different import CARED, kind_of
from tod.configurations.framework import ANY, Computed, decisive
from tod.configurations.point import Located

__all__ = ["Carried", "carried"]

_WRITTEN = {
    "trl": {"learning rate": "learning_rate", "epochs": "num_train_epochs"},
    "verl": {
        "model": "actor_rollout_ref.model.path",
        "learning rate": "actor_rollout_ref.actor.optim.lr",
        "epochs": "trainer.total_epochs",
    },
    "tod": {"learning rate": "train.learning_rate"},
}
"""By framework: what a kind of setting is called there, where it means the same."""
_READ = {
    "model": ("model_name_or_path", "actor_rollout_ref.model.path", "policy.model_name", "model"),
    "learning rate": ("learning_rate", "optim.lr", "actor.adam.lr", "kwargs.lr"),
    "epochs": ("num_train_epochs", "trainer.total_epochs"),
}
"""Ends of the names under which frameworks have them; other settings of the kind mean others."""
_NAME = re.compile(r"[\w.@/-]+", re.ASCII)
"""A model's name or path that is safe to write into a command; no scheme."""
_OTHERS = ("critic", "reward", "ref")
_TRIPLE = ("target.", "operator.", "train.updates_per_batch", "name", "utilities", "output")


@dataclass(frozen=True)
class Carried:
    """What becomes of a file's settings outside its triple.

    Attributes:
        values: Settings to write there.
        names: Here, with the value: there.
        dropped: Here, with the value, of what is not written; what people ask about comes first.
    """

    values: Mapping[str, Any]
    names: Mapping[str, str]
    dropped: Mapping[str, str]


def carried(located: Located, to: str) -> Carried:
    """What of a configuration's settings outside its triple is written for another framework.

    Args:
        located: The configuration.
        to: ``trl``, ``verl`` or ``tod``.
    """
    values, names, dropped = dict[str, Any](), dict[str, str](), dict[str, str]()
    for what, key, value in sorted(_outside(located), key=lambda one: _order(one[0])):
        there = _WRITTEN[to].get(what, "")
        if there and there not in values and _plain(what, key, value):
            values[there] = value
            names[f"{key}={value}"] = there
        else:
            dropped[key] = str(value)
    return Carried(values, names, dropped)


def _outside(located: Located) -> Iterator[tuple[str, str, Any]]:
    """Kind, name and value of every setting that the triple does not hold."""
    ours = located.framework == "tod"
    for key, value in located.written.items():
        held = key.startswith(_TRIPLE) if ours else key in decisive(located.framework)
        if not key.startswith(ANY) and not held:
            yield kind_of(key, located.framework), key, value


def _plain(what: str, key: str, value: Any) -> bool:
    """Whether a setting is the trained model's own, and its value is known."""
    mine = key.endswith(_READ[what]) and not key.startswith(_OTHERS)
    if what == "model":
        return mine and isinstance(value, str) and _NAME.fullmatch(value) is not None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return mine and number and not isinstance(value, Computed)


def _order(what: str) -> int:
    return [*CARED, ""].index(what) if what in CARED or not what else len(CARED)
