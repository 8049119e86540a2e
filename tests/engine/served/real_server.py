"""A vLLM of one's own: started, killed, started again at the same address."""

import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tod.base import ModelError
from tod.engine import tiny
from tod.serving.client import Client
from tod.serving.completions import models

PYTHON, SERVER = os.environ.get("TOD_VLLM_PYTHON"), os.environ.get("TOD_VLLM_SERVER")
real_only = [
    pytest.mark.slow,
    pytest.mark.skipif(not (PYTHON or SERVER), reason="names no vLLM: TOD_VLLM_PYTHON"),
]
own_only = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="names no vLLM to start: TOD_VLLM_PYTHON"),
]
FLAGS = (
    "--dtype float32 --enforce-eager --max-model-len 64 --logprobs-mode processed_logprobs "
    "--max-logprobs -1 --enable-lora --max-lora-rank 8 --max-loras 2 --max-cpu-loras 4 "
    "--generation-config vllm"
)
SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass
class RealServer:
    """A vLLM that serves a directory as ``tiny``.

    Attributes:
        model: The directory.
        port: Where it listens.
        log: What it says.
    """

    model: Path
    port: int
    log: Path
    process: Any = None

    @classmethod
    def on(cls, place: Path) -> "RealServer":
        """One of a copy of the embedded model, which may be written over."""
        shutil.copytree(tiny.path("tod://tiny"), place / "tiny")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return cls(place / "tiny", free.getsockname()[1], place / "log")

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, wait: bool = True) -> None:
        """Start it, and wait until it answers."""
        words = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", self.model]
        words += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", self.port]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [str(word) for word in [*words, *FLAGS.split()]],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | SETTINGS,
            )
        if wait:
            self._wait()

    def kill(self) -> None:
        """End it and its workers at once, as a lost machine does."""
        os.killpg(self.process.pid, 9)
        self.process.wait(60)

    def _wait(self) -> None:
        client = Client(self.url)
        for _ in range(900):
            try:
                models(client)
            except ModelError:
                assert self.process.poll() is None, self.log.read_text()[-2000:]
                time.sleep(1)
            else:
                client.close()
                return
        raise AssertionError(self.log.read_text()[-2000:])
