"""Which server draws the candidates, and how it is asked."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, FiniteFloat

from tod.base import Spec

Count = Annotated[int, Field(ge=1, strict=True)]
Positive = Annotated[FiniteFloat, Field(gt=0.0)]


def _addresses(value: Any) -> Any:
    """One address or several, without a slash at the end."""
    listed = (value,) if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not listed:
        raise ValueError("give an address such as http://localhost:8000, or a list of them")
    for one in listed:
        if not isinstance(one, str) or not one.startswith(("http://", "https://")):
            raise ValueError(f"{one!r} is no address of a server: it begins with http:// or https")
        if not one.isprintable():
            raise ValueError(f"{one!r} is no address of a server: a character is not printable")
        if "@" in one.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "an address holds a user or a password, which would be written into records: leave "
                "them out, and name an environment variable with the server's key as `key`"
            )
    cleaned = tuple(one.rstrip("/").removesuffix("/v1") for one in listed)
    if len(set(cleaned)) < len(cleaned):
        raise ValueError("an address is there twice: each server once")
    return cleaned


class SyncSpec(Spec):
    """How the adapters that are trained reach the servers, and what is done where they did not."""

    adapters: Path | None = None
    """Directory in which they are written and from which the servers read them; None:
    ``adapters`` in the run directory."""
    sequences: Count = 8
    """Candidates that every server draws and scores after every transfer, to be scored here too."""
    on_mismatch: Literal["stop", "warn"] = "stop"
    """What is done where a server draws from something else than it was sent."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Precision that the servers compute in: how much of a gap may be rounding."""


class Servers(Spec):
    """Servers and how they are asked.

    They speak the completions protocol of OpenAI with vLLM's ``return_token_ids`` and
    ``prompt_logprobs``.
    """

    server: Annotated[tuple[str, ...], BeforeValidator(_addresses)]
    """Address, or a list of them: all hold the same weights, each takes what it has room for."""
    model: str
    """What the servers call the model."""
    in_flight: Count = 8
    """Requests at a time of every server, each of one prompt with all its candidates."""
    timeout: Positive = 600.0
    """Seconds that one request may take."""
    patience: Positive = 300.0
    """Seconds that a server may be away before it is given up."""
    key: str | None = None
    """Environment variable that holds the key of the servers; None: they want none."""


class ServedPolicy(Servers):
    """Servers that draw the candidates in the place of this process."""

    sync: SyncSpec = SyncSpec()
    """Training: how the servers get the weights."""
