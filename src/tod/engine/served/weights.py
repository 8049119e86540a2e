"""The trained adapters on the servers: written, loaded by version, looked at, unloaded."""

import re
import secrets
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tod.base import ModelError
from tod.base.extras import load
from tod.engine.served.sampler import ServedSampler
from tod.runs import write_atomic
from tod.serving.adapters import adapters, load_adapter, unload_adapter
from tod.serving.client import Client, Unavailable
from tod.serving.pool import answers

AT_A_TIME = 2
"""Versions on the servers: one that draws for training, one that is evaluated."""
REMEMBERED = 3
"""Earlier versions that a server is compared with, and those of the start."""

_TOKEN = re.compile(rb"[0-9a-f]{8}")
"""What ``secrets.token_hex(4)`` makes: folders are removed by these names, and by no other."""
TENSORS = "adapter_model.safetensors"

State = dict[str, torch.Tensor]


@dataclass
class ServedWeights:
    """Which versions of the policy the servers hold, and which they held before.

    A version is the number of batches that its weights were trained on. Every one has a name of
    its own on the servers, so that no request can be answered with another one's. Names begin with
    the token of the processes that made them: neither another run's adapters, nor those that a
    killed process left, can be taken for them.

    Attributes:
        sampler: The servers.
        within: Directory that the servers see; adapters are in a folder of their own in it.
        main: Whether this process writes them and asks the servers to load them.
        token: Of the processes that train, the same in all of them.
        notes: File that names the tokens whose adapters may still be there; None: none is written.
        ours: Whether ``within`` is the run's and goes when nothing is in it.
        left: Tokens of earlier processes of the run.
        loaded: Versions on the servers, the one in force last.
        states: Adapters of the versions that were sent, by version: what a server may still hold.
        unwatched: Servers that got weights since they were last looked at.
    """

    sampler: ServedSampler
    within: Path
    main: bool = True
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    notes: Path | None = None
    ours: bool = False
    left: tuple[str, ...] = field(init=False)
    loaded: list[int] = field(default_factory=list)
    states: dict[int, State] = field(default_factory=dict)
    unwatched: list[Client] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Have servers that lost their weights given them again; read what was left before."""
        self.sampler.restore = self._restored
        there = self.main and self.notes is not None and self.notes.is_file()
        said = self.notes.read_bytes() if there and self.notes else b""
        self.left = tuple(word.decode() for word in said.split() if _TOKEN.fullmatch(word))

    @property
    def prefix(self) -> str:
        """How the names of these processes' adapters begin."""
        return _prefix(self.token)

    @property
    def place(self) -> Path:
        """The folder of their own."""
        return self._place(self.token)

    def name(self, version: int) -> str:
        """What the servers call a version."""
        return f"{self.prefix}{version}"

    def begin(self) -> None:
        """Remove what earlier processes of this run left, and note what this one may leave."""
        if not self.main:
            return
        still = [token for token in self.left if not self._removed(token)]
        if self.notes is not None:
            write_atomic(self.notes, "\n".join([*still, self.token]) + "\n")

    def use(self, version: int, model: Any) -> bool:
        """Let the servers draw from a version; whether it had to be sent.

        Args:
            version: Batches that the model was trained on.
            model: The model with its adapters.

        Raises:
            ModelError: A server cannot load it, or is away for longer than it may be.
        """
        fresh = version not in self.loaded
        if fresh:
            self.states[version] = adapter_of(model)
            if self.main:
                write_adapter(model, self.place / f"v{version}")
                self.each(lambda client: self._load(client, version))
            self.unwatched = list(self.sampler.clients)
        self.loaded = [v for v in self.loaded if v != version] + [version]
        self.sampler.model, self.sampler.version = self.name(version), version
        self._drop_old()
        return fresh

    def close(self) -> None:
        """Unload what the servers that answer still hold, and remove it from disk."""
        if not self.main:
            return
        if self._removed(self.token) and self.notes is not None:
            self.notes.unlink(missing_ok=True)
        if self.ours:
            with suppress(OSError):  # nothing was written, or something else is in it
                self.within.rmdir()

    def each(self, ask: Callable[[Client], Any]) -> None:
        """Ask every server, waiting for one that is away as long as the recipe allows."""
        patience = self.sampler.spec.patience
        for client in self.sampler.clients:
            answers([client], [0], lambda c, _: ask(c), patience=patience)

    def _drop_old(self) -> None:
        """Unload the versions before the last ones, and forget those before the remembered."""
        gone, self.loaded = self.loaded[:-AT_A_TIME], self.loaded[-AT_A_TIME:]
        for version in gone if self.main else ():
            self.each(lambda client, v=version: unload_adapter(client, self.name(v)))  # type: ignore[misc]
            shutil.rmtree(self.place / f"v{version}", ignore_errors=True)
        newest = sorted(self.states)[-REMEMBERED - 1 :]
        self.states = {v: s for v, s in self.states.items() if v in newest or v == 0}

    def _load(self, client: Client, version: int) -> None:
        """Load a version on a server, also where an answer was lost and it is asked again.

        Where another process of the run was quicker the server refuses: it has it then.
        """
        name = self.name(version)
        if name in adapters(client, self.prefix):
            return
        try:
            load_adapter(client, name, (self.place / f"v{version}").absolute())
        except Unavailable:
            raise
        except ModelError:
            if name not in adapters(client, self.prefix):
                raise

    def _removed(self, token: str) -> bool:
        """Remove a token's adapters from disk and from servers; whether all of these answered."""
        answered = True
        for client in self.sampler.clients:
            try:
                for name in adapters(client, _prefix(token)):
                    unload_adapter(client, name)
            except ModelError:
                answered = False
        shutil.rmtree(self._place(token), ignore_errors=True)
        return answered

    def _place(self, token: str) -> Path:
        return self.within / f"tod-{token}"

    def _restored(self, client: Client, name: str) -> None:
        """Give a server that was started anew the weights in force; it is looked at afterwards."""
        with self.lock:
            versions = [v for v in self.loaded if self.name(v) == name]
            if not versions:
                raise ModelError(
                    f"server {client.url} has no model {name!r}, and it is none of this run's "
                    "adapters: look at `policy.model`."
                )
            self._load(client, versions[0])
            if client not in self.unwatched:
                self.unwatched.append(client)


def _prefix(token: str) -> str:
    return f"tod-{token}-v"


def write_adapter(model: Any, directory: Path) -> None:
    """The adapter as servers read it: its config and its tensors; nothing else is written."""
    from safetensors.torch import save_file

    peft = load("peft")
    directory.mkdir(parents=True, exist_ok=True)
    tensors = peft.get_peft_model_state_dict(model)
    model.peft_config["default"].save_pretrained(directory)
    save_file({n: v.detach().cpu().contiguous() for n, v in tensors.items()}, directory / TENSORS)


def adapter_of(model: Any) -> State:
    """The tensors of a model's adapters, copied, by the names of its ``state_dict``."""
    state = model.state_dict()
    return {name: state[name].detach().clone() for name in state if "lora_" in name}
