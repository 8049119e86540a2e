"""Low-rank adapters on a server: loaded by a name from a directory, listed, unloaded."""

from pathlib import Path

from tod.base import ModelError
from tod.serving.client import Client, Missing
from tod.serving.completions import models

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


def load_adapter(client: Client, name: str, directory: Path) -> None:
    """Let a server read an adapter and serve it by a name that it does not know yet.

    Args:
        client: The server.
        name: What requests call it.
        directory: Where the server finds ``adapter_config.json`` and its safetensors.

    Raises:
        Unavailable: It did not answer.
        ModelError: It takes no adapters while it runs, or refuses this one.
    """
    try:
        client.post(LOAD, {"lora_name": name, "lora_path": str(directory)})
    except ModelError as error:
        if type(error) not in (ModelError, Missing):
            raise
        raise ModelError(
            f"{error} It should have loaded the adapter in {directory}: start it with "
            "--enable-lora, --max-lora-rank of the recipe's rank or more and "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, on a machine that sees that directory "
            "(`policy.sync.adapters`)."
        ) from error


def unload_adapter(client: Client, name: str) -> None:
    """Let a server forget an adapter, whether or not it knows it; errors as in ``load_adapter``."""
    try:
        client.post(UNLOAD, {"lora_name": name})
    except Missing:
        return


def adapters(client: Client, prefix: str) -> tuple[str, ...]:
    """What a server serves whose name begins so."""
    return tuple(name for name in models(client) if name.startswith(prefix))
