"""Checkpoints: trained parameters as masters, optimiser moments, and a page of plain state.

Random numbers are functions of counters and the data position is the step, so nothing else needs
saving for a resumed run to continue bit for bit (on the same machine and thread count).
"""

import errno
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tod.base import RunError
from tod.base.text import what_is
from tod.engine.critic import ValueFunction
from tod.engine.proposals.replay import Buffer, pack, unpack
from tod.engine.session import Session

SCHEMA = "tod.checkpoint/1"


@dataclass(frozen=True)
class State:
    """What a run remembers between steps besides tensors.

    Attributes:
        step: Steps that are done.
        knobs: Knobs in force for the next step.
        operator: Name of the operator in force.
        arc: Controller's state, or None.
        legs: Sums and counts of the overlap legs over steps, for the run's ``ess_two``.
    """

    step: int = 0
    knobs: dict[str, float] = field(default_factory=dict)
    operator: str = "main"
    arc: dict[str, Any] | None = None
    legs: dict[str, list[float]] = field(default_factory=dict)


def save(session: Session, state: State, directory: Path) -> None:
    """Write everything into an empty directory; the caller makes it appear in one step.

    Raises:
        OSError: The device is full, or cannot be written.
    """
    named = _trained(session)
    _write(_plain(named.items()), directory / "policy.safetensors")
    _write(_moments(session.optimiser, named), directory / "optimiser.safetensors")
    if session.behaviour is not None:
        lagging = session.behaviour.named_parameters()
        _write(_plain(lagging), directory / "behaviour.safetensors")
    if session.critic is not None:
        critic = session.critic.named
        moments = _moments(session.critic.optimiser, critic)
        _write(_plain(critic.items()), directory / "critic.safetensors")
        _write(moments, directory / "critic_optimiser.safetensors")
    if isinstance(session.buffer, Buffer):
        packed = {name: torch.from_numpy(value) for name, value in pack(session.buffer).items()}
        _write(packed, directory / "replay.safetensors")
    page = {"schema": SCHEMA, "threads": torch.get_num_threads(), **vars(state)}
    (directory / "state.json").write_text(json.dumps(page, indent=1), encoding="utf-8")


def load(session: Session, directory: Path) -> State:
    """Put a checkpoint into the session; the state to go on from.

    Raises:
        RunError: It is of another schema, or its tensors are not those of this model.
    """
    from safetensors.torch import load_file

    page = _page(directory)
    named = _trained(session)
    stored = load_file(directory / "policy.safetensors")
    _same_shapes(directory, named, stored)
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(stored[name])
        if session.behaviour is not None:
            lagging = load_file(directory / "behaviour.safetensors")
            for name, parameter in session.behaviour.named_parameters():
                parameter.copy_(lagging[name])
    _restore_moments(session.optimiser, named, load_file(directory / "optimiser.safetensors"))
    if session.critic is not None:
        _load_critic(session.critic, directory)
    if (directory / "replay.safetensors").exists():
        arrays = load_file(directory / "replay.safetensors")
        session.buffer = unpack(session, {name: value.numpy() for name, value in arrays.items()})
    return State(**{key: page[key] for key in vars(State())})


def _load_critic(critic: ValueFunction, directory: Path) -> None:
    from safetensors.torch import load_file

    stored = load_file(directory / "critic.safetensors")
    _same_shapes(directory, critic.named, stored)
    with torch.no_grad():
        for name, parameter in critic.named.items():
            parameter.copy_(stored[name])
    moments = load_file(directory / "critic_optimiser.safetensors")
    _restore_moments(critic.optimiser, critic.named, moments)


def export(session: Session, directory: Path) -> None:
    """The trained model as transformers reads it: safetensors, config, tokenizer."""
    session.policy.save_pretrained(directory, safe_serialization=True)
    session.tokenizer.save_pretrained(directory)


def _trained(session: Session) -> dict[str, torch.nn.Parameter]:
    """Trainable parameters by name; tied ones once."""
    return {name: p for name, p in session.policy.named_parameters() if p.requires_grad}


def _write(tensors: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path)
    except SafetensorError as error:
        # the library tells the system's error number only in its text
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from error


def _plain(named: Iterable[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in named}


def _moments(optimiser: torch.optim.Optimizer, named: dict[str, Any]) -> dict[str, torch.Tensor]:
    state = optimiser.state
    return {
        f"{name}/{key}": value.detach().contiguous()
        for name, parameter in named.items()
        for key, value in state.get(parameter, {}).items()
    }


def _restore_moments(
    optimiser: torch.optim.Optimizer, named: dict[str, Any], stored: dict[str, Any]
) -> None:
    optimiser.state.clear()
    for path, value in stored.items():
        name, _, key = path.rpartition("/")
        parameter = named[name]
        place = torch.device("cpu") if key == "step" else parameter.device
        optimiser.state[parameter][key] = value.to(place)


def _page(directory: Path) -> dict[str, Any]:
    try:
        page = json.loads((directory / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{directory}: its state.json cannot be read ({error}).") from None
    if not isinstance(page, dict) or page.get("schema") != SCHEMA:
        found = page.get("schema") if isinstance(page, dict) else what_is(page)
        raise RunError(
            f"{directory} has schema {found!r}, this version reads {SCHEMA!r}. "
            "Resume it with the version that wrote it, or start the run again."
        )
    return page


def _same_shapes(directory: Path, named: dict[str, Any], stored: dict[str, Any]) -> None:
    missing = sorted(set(named) ^ set(stored))
    if missing:
        raise RunError(
            f"{directory} belongs to another model: parameter {missing[0]!r} is on one side only. "
            "Resume with the recipe that started the run."
        )
    for name, parameter in named.items():
        if parameter.shape != stored[name].shape:
            raise RunError(
                f"{directory} belongs to another model: {name!r} is {tuple(stored[name].shape)} "
                f"there and {tuple(parameter.shape)} here."
            )
