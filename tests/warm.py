"""Processes with what they need already imported: forked from a server that imported it once.

Importing torch and transformers takes longer than most of what a test runs in another process. A
server imports them and does nothing else, so that no thread is lost by the fork; each child has its
own output, working directory and environment, and ends like any process: by its exit code, or by a
signal.
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TextIO

LIGHT = (
    "tod.cli.main",
    "tod.atlas",
    "tod.configurations.locate",
    "tod.diagnosis",
    "tod.show",
    "tod.study.audit",
)
TRAINING = (
    *LIGHT,
    "accelerate",
    "tod.engine.train",
    "tod.engine.search.job",
    "transformers.models.llama.modeling_llama",
)


@dataclass
class Started:
    """A process under way."""

    server: "Server"
    pid: int
    words: list[str]
    files: tuple[TextIO, TextIO]

    def wait(self, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Its exit code, output and errors; one that takes longer is killed.

        Raises:
            subprocess.TimeoutExpired: It took longer.
        """
        try:
            code = self.server.ask({"wait": self.pid}, timeout)
        except TimeoutError:
            os.kill(self.pid, signal.SIGKILL)
            self.server.answer(60)
            raise subprocess.TimeoutExpired(self.words, timeout) from None
        texts = []
        for file in self.files:
            file.seek(0)
            texts.append(file.read())
            file.close()
        return subprocess.CompletedProcess(self.words, code, *texts)


class Server:
    """The process that children are forked from.

    Args:
        modules: What it imports.
        blocked: Packages that it and its children find nowhere.
    """

    def __init__(self, modules: Sequence[str], blocked: Sequence[str] = ()) -> None:
        command = [sys.executable, __file__, json.dumps([modules, blocked])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.answer(600) == "ready"
        atexit.register(self.close)

    def close(self) -> None:
        """End it; children under way go on."""
        self._process.communicate()

    def ask(self, request: Mapping[str, Any], timeout: float) -> Any:
        """What it answers to a request."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return self.answer(timeout)

    def answer(self, timeout: float) -> Any:
        """Its next answer; a TimeoutError where there is none in time."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            raise TimeoutError
        return json.loads(self._process.stdout.readline())

    def start(
        self,
        *words: str,
        script: Path | None = None,
        code: str | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Started:
        """Begin a process: a script, some code, or by default the command `tod` with these words.

        Args:
            words: Its arguments.
            script: A file to run as the main program.
            code: Source to run as the main program.
            cwd: Its working directory; None: this process's.
            env: All of its environment; None: this process's.
        """
        files = (tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+"))  # noqa: SIM115
        request = {
            "words": words,
            "script": None if script is None else str(script),
            "code": code,
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "files": [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in files],
        }
        return Started(self, self.ask(request, 60), list(words), files)

    def run(
        self, *words: str, timeout: float = 600, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Begin a process and wait for it; see `start`."""
        return self.start(*words, **how).wait(timeout)

    def run_together(
        self, size: int, *words: str, **how: Any
    ) -> list[subprocess.CompletedProcess[str]]:
        """Begin processes of one world, as `torchrun` does, and wait for them."""
        return [process.wait() for process in self.start_together(size, *words, **how)]

    def start_together(self, size: int, *words: str, **how: Any) -> list[Started]:
        """Begin processes of one world, as `torchrun` does."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        world = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
        shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", **{k: str(world[k]) for k in world}}
        ranks = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]
        return [self.start(*words, env=env, **how) for env in ranks]


@cache
def training() -> Server:
    """With what training needs."""
    return Server(TRAINING)


def _serve(modules: list[str], blocked: list[str]) -> None:
    """Answer requests until there are no more."""
    if blocked:
        sys.meta_path.insert(0, _Blocker(tuple(blocked)))
    for name in modules:
        __import__(name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import or a child prints is no answer

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    answer("ready")
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        if "wait" in request:
            answer(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]))
            continue
        pid = os.fork()
        if pid == 0:
            _child(request)
        answer(pid)


def _child(request: dict[str, Any]) -> None:
    """Be the process that was asked for; never returns."""
    code = 1
    try:
        for number, name in enumerate(["/dev/null", *request["files"]]):
            place = os.open(name, os.O_RDWR)
            os.dup2(place, number)
            os.close(place)
        os.setsid()
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[1:1] = [path for path in paths if path not in sys.path]
        code = _main(request)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _main(request: dict[str, Any]) -> int:
    sys.argv[:] = ["tod", *request["words"]]
    try:
        if request["script"] is not None:
            sys.argv[0] = request["script"]
            sys.path[0] = str(Path(request["script"]).parent)
            runpy.run_path(request["script"], run_name="__main__")
        elif request["code"] is not None:
            exec(request["code"], {"__name__": "__main__"})  # noqa: S102
        else:
            from tod.cli.main import main

            main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        atexit._run_exitfuncs()
    return 0


@dataclass
class _Blocker:
    """Packages that are not there."""

    names: tuple[str, ...]

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Refuse these; leave the others to whoever is asked next."""
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    _serve(*json.loads(sys.argv[1]))
