"""Checkpoints: trained parameters as masters, optimiser moments, and a page of plain state.

Random numbers are functions of counters and the data position is the step, so nothing else needs
saving for a resumed run to continue bit for bit (on the same machine and thread count).
"""

import errno
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tod.base import RunError
from tod.base.text import what_is
from tod.engine import rescore, shard_files
from tod.engine.proposals.replay import Buffer, pack, unpack
from tod.engine.session import Session
from tod.engine.sharding import like, whole

SCHEMA = "tod.checkpoint/1"
IN_SHARDS = "tod.checkpoint/2"
SHARDS = "shards"


@dataclass(frozen=True)
class TrainingState:
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


def save(session: Session, state: TrainingState, directory: Path) -> None:
    """Write everything into an empty directory; the caller makes it appear in one step.

    Where the recipe has shards all processes call it, else the main one.

    Raises:
        OSError: The device is full, or cannot be written.
    """
    sharded = session.settings.train.sharding is not None
    if sharded:
        tensors = _tensors(session)
        shard_files.write(tensors, directory / SHARDS)
        if not session.world.main:
            return
        shard_files.wait_until_seen(tensors, directory / SHARDS)
    for network in () if sharded else _networks(session):
        tensors = {name: p.detach().contiguous() for name, p in network.named.items()}
        _write(tensors, directory / f"{network.name}.safetensors")
        if network.optimiser is not None:
            moments = _moments(network.optimiser, network.named)
            _write(moments, directory / f"{network.moments_name}.safetensors")
    if isinstance(session.buffer, Buffer):
        _write_arrays(pack(session.buffer), directory / "replay.safetensors")
    if session.probe is not None:
        _write_arrays(rescore.pack(session.probe), directory / "probe.safetensors")
    schema = IN_SHARDS if sharded else SCHEMA
    page = {"schema": schema, "threads": torch.get_num_threads(), **vars(state)}
    (directory / "state.json").write_text(json.dumps(page, indent=1), encoding="utf-8")


def load(session: Session, directory: Path) -> TrainingState:
    """Put a checkpoint into the session; the state to go on from.

    Raises:
        RunError: It is of another schema, or its tensors are not those of this model.
    """
    from safetensors.torch import load_file

    page = _page(directory)
    if page["schema"] == IN_SHARDS:
        _load_shards(session, directory)
    else:
        _load_whole(session, directory)
    if (directory / "replay.safetensors").exists():
        arrays = load_file(directory / "replay.safetensors")
        session.buffer = unpack(session, {name: value.numpy() for name, value in arrays.items()})
    if (directory / "probe.safetensors").exists():
        arrays = load_file(directory / "probe.safetensors")
        session.probe = rescore.unpack({name: value.numpy() for name, value in arrays.items()})
    return TrainingState(**{key: page[key] for key in vars(TrainingState()) if key in page})


def _load_whole(session: Session, directory: Path) -> None:
    """Put tensors of one file a network where they belong."""
    from safetensors.torch import load_file

    for network in _networks(session):
        stored = load_file(directory / f"{network.name}.safetensors")
        shapes = {name: tuple(value.shape) for name, value in stored.items()}
        _same_shapes(directory, network.named, shapes)
        with torch.no_grad():
            for name, parameter in network.named.items():
                parameter.copy_(like(parameter, stored[name]))
        if network.optimiser is not None:
            moments = load_file(directory / f"{network.moments_name}.safetensors")
            _restore_moments(network.optimiser, network.named, moments)


def _load_shards(session: Session, directory: Path) -> None:
    """Put what processes wrote, however many they were, where it belongs."""
    shapes = shard_files.sizes(directory / SHARDS)
    places: dict[str, torch.Tensor] = {}
    for network in _networks(session):
        first = f"{network.name}/"
        there = {n.removeprefix(first): s for n, s in shapes.items() if n.startswith(first)}
        wanted = {first + name: tuple(p.shape) for name, p in network.named.items()}
        shard_files.require_rows(directory / SHARDS, shapes, wanted)
        _same_shapes(directory, network.named, there)
        places |= {first + name: p.detach() for name, p in network.named.items()}
        if network.optimiser is not None:
            moments = _empty_moments(network, shapes)
            wanted = {name: tuple(value.shape) for name, value in moments.items()}
            shard_files.require_rows(directory / SHARDS, shapes, wanted)
            places |= moments
    shard_files.read(places, directory / SHARDS)


def _empty_moments(network: "_Network", names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Moments to be filled, by their names in a checkpoint; the optimiser has them."""
    assert network.optimiser is not None  # noqa: S101 - only of one that is trained
    network.optimiser.state.clear()
    found: dict[str, torch.Tensor] = {}
    for name in names:
        of, _, key = name.removeprefix(f"{network.moments_name}/").rpartition("/")
        if name.startswith(f"{network.moments_name}/"):
            parameter = network.named[of]
            found[name] = torch.zeros(1) if key == "step" else torch.zeros_like(parameter)
            value = found[name][0] if key == "step" else found[name]
            network.optimiser.state[parameter][key] = value
    return found


def export(session: Session, directory: Path | None) -> None:
    """The trained model as transformers reads it: safetensors, config, tokenizer.

    All processes call it; the one with a directory writes.
    """
    session.world.turns.end()
    weights = _gathered(session) if session.in_shards else None
    if directory is not None:
        session.policy.save_pretrained(directory, safe_serialization=True, state_dict=weights)
        session.tokenizer.save_pretrained(directory)


def _gathered(session: Session) -> dict[str, torch.Tensor]:
    """The policy's tensors whole, on the host of the main process, tied ones once; {} elsewhere."""
    seen: dict[int, torch.Tensor] = {}
    found = {}
    for name, value in session.policy.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            gathered = whole(value.detach())
            seen[id(value)] = gathered.cpu() if session.world.main else value
        found[name] = seen[id(value)]
    return found if session.world.main else {}


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


def _tensors(session: Session) -> dict[str, torch.Tensor]:
    """Parameters and moments of all networks by ``NETWORK/PARAMETER`` and ``…/KIND``."""
    found: dict[str, torch.Tensor] = {}
    for network in _networks(session):
        found |= {f"{network.name}/{name}": p.detach() for name, p in network.named.items()}
        if network.optimiser is not None:
            for name, value in _moments(network.optimiser, network.named).items():
                found[f"{network.moments_name}/{name}"] = value if value.ndim else value.reshape(1)
    return found


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
        if key != "step":
            value = like(parameter, value.to(parameter.device))
        optimiser.state[parameter][key] = value


def _page(directory: Path) -> dict[str, Any]:
    try:
        page = json.loads((directory / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{directory}: its state.json cannot be read ({error}).") from None
    if not isinstance(page, dict) or page.get("schema") not in (SCHEMA, IN_SHARDS):
        found = page.get("schema") if isinstance(page, dict) else what_is(page)
        raise RunError(
            f"{directory} has schema {found!r}, this version reads {SCHEMA!r} and "
            f"{IN_SHARDS!r}. "
            "Resume it with the version that wrote it, or start the run again."
        )
    return page


def _same_shapes(
    directory: Path, named: dict[str, Any], stored: Mapping[str, tuple[int, ...]]
) -> None:
    missing = sorted(set(named) ^ set(stored))
    if missing:
        raise RunError(
            f"{directory} belongs to another model: parameter {missing[0]!r} is on one side only. "
            "Resume with the recipe that started the run."
        )
    for name, parameter in named.items():
        if tuple(parameter.shape) != stored[name]:
            raise RunError(
                f"{directory} belongs to another model: {name!r} is {stored[name]} "
                f"there and {tuple(parameter.shape)} here."
            )
