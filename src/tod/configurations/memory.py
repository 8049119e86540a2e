"""GPU memory that a file's model needs before a batch is seen, by the size in its name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tod.configurations.framework import Computed

__all__ = ["Memory", "memory_of", "parameters_named"]

_SIZE = re.compile(r"(?<![A-Za-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([BbMm])(?![A-Za-z0-9])")
_ACTIVE = re.compile(r"(?<![A-Za-z0-9])A\d+(?:\.\d+)?[Bb](?![A-Za-z0-9])")
STATES, COPY = 16, 2
"""Bytes a trained parameter takes (16-bit weight and gradient; 32-bit weight and Adam's two
moments: 2 + 2 + 4 + 4 + 4), and one of a copy that is only read (16 bits)."""
MODELS = (
    "model_name_or_path",
    "actor_rollout_ref.model.path",
    "actor.model_name_or_path",
    "model.model_name_or_path",
    "pretrain",
    "policy.model_name",
)
"""Settings that name the trained model, by framework."""
OTHERWISE = ("lora", "peft", "optim_target_modules", "load_in_", "quantiz", "freeze")
"""In the names of settings, set and not off, under which not all parameters are trained so."""
PLAIN = ("adamw", "adamw_torch", "adamw_torch_fused", "adam", "torch.optim.AdamW")
"""Optimisers with two moments of 32 bits."""
GPUS = (
    ("trainer.n_gpus_per_node", "trainer.nnodes"),
    ("cluster.gpus_per_node", "cluster.num_nodes"),
)
"""GPUs of a node and nodes, of the frameworks whose files say them."""


@dataclass(frozen=True)
class Memory:
    """Bytes over all GPUs, before activations, the sampler's own and its cache.

    Attributes:
        model: What the file calls the model.
        parameters: How many it has, taken from that name.
        reference: Whether a second copy, of π_ref, is loaded.
        gpus: GPUs that the file writes down; None: it does not.
    """

    model: str
    parameters: float
    reference: bool
    gpus: int | None = None

    @property
    def total(self) -> float:
        """Bytes."""
        return self.parameters * (STATES + COPY * self.reference)

    @property
    def words(self) -> str:
        """The estimate with what it assumes."""
        size, each = f"{self.parameters / 1e9:.3g}B", STATES + COPY * self.reference
        share = ""
        if self.gpus:
            share = f", {_gigabytes(self.total / self.gpus)} on each of {self.gpus}"
        return (
            f"{_gigabytes(self.total)}{share}, without activations, sampler and critic; assumed: "
            f"{size} by its name, {each} bytes a parameter (Adam{', π_ref' * self.reference})"
        )


def memory_of(given: Mapping[str, Any], reference: bool) -> Memory | None:
    """The estimate for a file's settings; None where they do not say enough, or train otherwise.

    Args:
        given: Flat settings as the file writes them.
        reference: Whether a copy of π_ref is loaded.
    """
    name = next((given[key] for key in MODELS if given.get(key) is not None), None)
    size = parameters_named(name) if isinstance(name, str) else None
    if size is None or any(map(_otherwise, given, given.values())):
        return None
    optimiser = next((given[key] for key in given if key.rpartition(".")[2] == "optim"), None)
    if isinstance(optimiser, Computed) or str(optimiser or "adamw") not in PLAIN:
        return None
    return Memory(str(name).rstrip("/").rpartition("/")[2], size, reference, _gpus(given))


def parameters_named(name: str) -> float | None:
    """Parameters by a model's name: ``7B``, ``0.5b``, ``135M``, ``8x7B``; None if it says none.

    The experts of a mixture share their attention: ``8x7B`` is read as 8 · 7 billion, which is
    too many. Several sizes in one name, as of a distilled model, say none; ``A3B`` is how many
    of a mixture act on a token, and is not counted.
    """
    last = _ACTIVE.sub("", name.rstrip("/").rpartition("/")[2]).replace("_", "-")
    found = {
        float(times or 1) * float(size) * (1e9 if unit in "Bb" else 1e6)
        for times, size, unit in _SIZE.findall(last)
    }
    return found.pop() if len(found) == 1 else None


def _otherwise(name: str, value: Any) -> bool:
    """Whether a setting says that parameters are frozen, adapted or stored in fewer bits."""
    off = value is None or str(value).strip().lower() in ("false", "0", "none", "null", "", "{}")
    unread = name.startswith("**")  # a word that may hold any setting
    return unread or (not off and any(word in name.lower() for word in OTHERWISE))


def _gpus(given: Mapping[str, Any]) -> int | None:
    for each, nodes in GPUS:
        count, times = given.get(each), given.get(nodes, 1)
        if type(count) is int and type(times) is int and count > 0 < times:
            return count * times
    return None


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB"
