"""Checkpoints: trained parameters as masters, optimiser moments, and a page of plain state.

Random numbers are functions of counters and the data position is the step, so nothing else needs
saving for a resumed run to continue bit for bit (on the same machine and thread count).
"""

import errno
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tod.base import RunError
from tod.base.text import what_is
from tod.engine import rescore
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
        authorise: What authorisation of operators remembers, or None.
        legs: Sums and counts of the overlap legs over steps, for the run's ``ess_two``.
    """

    step: int = 0
    knobs: dict[str, float] = field(default_factory=dict)
    operator: str = "main"
    arc: dict[str, Any] | None = None
    authorise: dict[str, Any] | None = None
    legs: dict[str, list[float]] = field(default_factory=dict)


def save(session: Session, state: State, directory: Path) -> None:
    """Write everything into an empty directory; the caller makes it appear in one step.

    Raises:
        OSError: The device is full, or cannot be written.
    """
    for network in _networks(session):
        tensors = {name: p.detach().contiguous() for name, p in network.named.items()}
        _write(tensors, directory / f"{network.name}.safetensors")
        if network.optimiser is not None:
            moments = _moments(network.optimiser, network.named)
            _write(moments, directory / f"{network.moments_name}.safetensors")
    if isinstance(session.buffer, Buffer):
        _write_arrays(pack(session.buffer), directory / "replay.safetensors")
    if session.probe is not None:
        _write_arrays(rescore.pack(session.probe), directory / "probe.safetensors")
    page = {"schema": SCHEMA, "threads": torch.get_num_threads(), **vars(state)}
    (directory / "state.json").write_text(json.dumps(page, indent=1), encoding="utf-8")


def load(session: Session, directory: Path) -> State:
    """Put a checkpoint into the session; the state to go on from.

    Raises:
        RunError: It is of another schema, or its tensors are not those of this model.
    """
    from safetensors.torch import load_file

    page = _page(directory)
    for network in _networks(session):
        stored = load_file(directory / f"{network.name}.safetensors")
        _same_shapes(directory, network.named, stored)
        with torch.no_grad():
            for name, parameter in network.named.items():
                parameter.copy_(stored[name])
        if network.optimiser is not None:
            moments = load_file(directory / f"{network.moments_name}.safetensors")
            _restore_moments(network.optimiser, network.named, moments)
    if (directory / "replay.safetensors").exists():
        arrays = load_file(directory / "replay.safetensors")
        session.buffer = unpack(session, {name: value.numpy() for name, value in arrays.items()})
    if (directory / "probe.safetensors").exists():
        arrays = load_file(directory / "probe.safetensors")
        session.probe = rescore.unpack({name: value.numpy() for name, value in arrays.items()})
    return State(**{key: page[key] for key in vars(State()) if key in page})


def export(session: Session, directory: Path) -> None:
    """The trained model as transformers reads it: safetensors, config, tokenizer."""
    session.policy.save_pretrained(directory, safe_serialization=True)
    session.tokenizer.save_pretrained(directory)


@dataclass(frozen=True)
class _Network:
    """Parameters by name, of which a checkpoint holds a file, and their optimiser if they train."""

    name: str
    named: dict[str, torch.nn.Parameter]
    optimiser: torch.optim.Optimizer | None = None
    moments_name: str = ""


def _networks(session: Session) -> Iterator[_Network]:
    """All that moves in a run: what is trained, tied parameters once, and a copy that lags."""
    named = session.policy.named_parameters()
    trained = {name: p for name, p in named if p.requires_grad}
    yield _Network("policy", trained, session.optimiser, "optimiser")
    if session.behaviour is not None:
        yield _Network("behaviour", dict(session.behaviour.named_parameters()))
    if session.critic is not None:
        critic = session.critic
        yield _Network("critic", critic.named, critic.optimiser, "critic_optimiser")


def _write(tensors: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path)
    except SafetensorError as error:
        # the library tells the system's error number only in its text
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from error


def _write_arrays(arrays: Mapping[str, Any], path: Path) -> None:
    _write({name: torch.from_numpy(value) for name, value in arrays.items()}, path)


def _moments(optimiser: torch.optim.Optimizer, named: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The optimiser's moments by parameter and kind."""
    return {
        f"{name}/{key}": value.detach().contiguous()
        for name, parameter in named.items()
        for key, value in optimiser.state.get(parameter, {}).items()
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
    except (OSError, ValueError, RecursionError) as error:
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
