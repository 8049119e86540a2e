"""One server: a request, its answer as bytes, and whether a failure may pass by itself."""

import os
import time
from typing import Any

from tod.base import ModelError
from tod.base.extras import load
from tod.base.text import visible

LARGEST = 1 << 28
"""Bytes of an answer: 256 MiB, a thousand candidates of ten thousand tokens."""
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Answers of a server that is busy or being restarted."""


class Unavailable(ModelError):
    """A server that did not answer, or asked to be left alone: the same request may go through.

    Args:
        said: What happened.
        wait: Seconds that the server asked for; None if it said nothing.
    """

    def __init__(self, said: str, wait: float | None = None) -> None:
        self.wait = wait
        super().__init__(said)


class Missing(ModelError):
    """A server that does not know what was named: a model, an adapter, or a way to ask (404)."""


class Client:
    """A server's address and the connections to it.

    Args:
        url: Its address, without ``/v1``.
        timeout: Seconds that one request may take, answered bit by bit too.
        key: Environment variable that holds its key.

    Raises:
        ModelError: The variable is not set.
        MissingPackage: httpx2 is not installed.
    """

    def __init__(self, url: str, *, timeout: float = 600.0, key: str | None = None) -> None:
        self.url, self.timeout = url, timeout
        self._http = load("httpx2")
        headers = {}
        if key is not None:
            if not os.environ.get(key):
                raise ModelError(f"{key} is not set: it should hold the key of server {url}.")
            headers["Authorization"] = f"Bearer {os.environ[key]}"
        limits = self._http.Limits(max_connections=None)
        patient = self._http.Timeout(timeout, connect=min(timeout, 10.0))
        # requests stay with the server that was named: neither proxies nor other addresses
        self._client = self._http.Client(
            headers=headers, timeout=patient, limits=limits, trust_env=False
        )

    def get(self, path: str) -> bytes:
        """The answer to a question; errors as in ``post``."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> bytes:
        """The answer to a request.

        Raises:
            Unavailable: It did not answer, or not now.
            Missing: It does not know what the request names.
            ModelError: It refuses the request, or answers more than 256 MiB.
        """
        return self._ask("POST", path, body)

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> bytes:
        until = time.monotonic() + self.timeout
        try:
            with self._client.stream(method, self.url + path, json=body) as response:
                content = self._content(path, response, until)
                status, wait = response.status_code, response.headers.get("retry-after")
        except self._http.TransportError as error:
            said = visible(str(error)) or type(error).__name__
            raise Unavailable(f"server {self.url} does not answer {path}: {said}.") from error
        if status == 200:
            return content
        said = visible(content[:300].decode("utf-8", "replace").strip())
        if status in PASSING:
            raise Unavailable(
                f"server {self.url} answers {path} with {status}: {said}", _wait(wait)
            )
        refusal = Missing if status == 404 else ModelError
        raise refusal(f"server {self.url} refuses {path} with {status}: {said}")

    def _content(self, path: str, response: Any, until: float) -> bytes:
        held = bytearray()
        for piece in response.iter_bytes():
            held += piece
            if time.monotonic() >= until:
                raise Unavailable(
                    f"server {self.url} still answers {path} after {self.timeout:g} s."
                )
            if len(held) > LARGEST:
                raise ModelError(
                    f"server {self.url} answers {path} with more than {LARGEST >> 20} MiB: it is "
                    "not read further. Ask for fewer candidates of a prompt, or shorter ones."
                )
        return bytes(held)


def _wait(told: str | None) -> float | None:
    """Seconds of a ``Retry-After``; None for a date or nothing."""
    try:
        return None if told is None else min(max(float(told), 0.0), 60.0)
    except ValueError:
        return None
