"""Runs a shell script where it can do nothing, and records the commands that it would have run.

A script runs in new user, network, mount, process, IPC and name namespaces: no interface is up, its
root is a folder with bash, the core utilities and a few text tools, read-only; its checkout is an
overlay whose writes go to memory and are dropped; /proc is read-only; no capability and no new
privilege; limits of processor time, memory, file size and wall time; a process of its own nobody
where the caller is root. Every program it would start is a stub. Only scripts that run under this
isolation are run: where the kernel refuses a namespace, nothing is run at all.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
OPEN = "TODOPEN"
"""What a stub prints: a word with it was computed by a program that did not run."""
NOBODY = 65534
"""User and group that scripts run as where the caller is root."""
_LARGEST = 2**20
"""Bytes of a file that is copied for scripts."""

_REAL = """
bash env prlimit setpriv umount basename cat chmod cp cut date dirname echo expr false head id join
ln ls mkdir mktemp mv nice nohup paste printenv printf pwd readlink realpath rm rmdir seq sha256sum
sort split stat stdbuf tac tail tee test timeout touch tr true truncate tsort uname uniq wc xargs
yes grep egrep sed awk find getopt
"""
_STUBS = """
python python3 python2 torchrun accelerate deepspeed ray srun sbatch ssh docker podman uv uvx trl
pip pip3 conda mamba micromamba poetry pixi singularity apptainer kubectl pdsh mpirun mpiexec sudo
nsys ncu numactl taskset nvidia-smi npu-smi rocm-smi wandb huggingface-cli hf git curl wget sleep
nproc hostname ip ifconfig ping nc lsof ps pkill killall top free df apt apt-get make tmux screen
script parallel module scontrol sinfo squeue salloc jq yq bc swanlab tensorboard vllm sglang
gsutil aws rsync tar unzip llamafactory-cli axolotl swift megatron
enroot dotenv kill reboot mount umount chroot unshare
nsenter su
"""


class NotIsolatedError(RuntimeError):
    """The kernel gives no isolation here, so nothing is run."""


@dataclass(frozen=True)
class Call:
    """One call of a stub.

    Attributes:
        line: Line of the script at work, 0 where it is not known.
        source: File that the line is of, as bash names it.
        where: Working directory, below ``/repo`` or elsewhere in the empty root.
        words: The program's name and its arguments.
        environment: What was exported.
    """

    line: int
    source: str
    where: str
    words: tuple[str, ...]
    environment: dict[str, str]


@dataclass(frozen=True)
class Record:
    """What running a script came to.

    Attributes:
        status: Its exit status; 137 if it ran past its time.
        errors: The end of what it wrote to standard error.
        calls: Calls of stubs in order.
    """

    status: int
    errors: str
    calls: list[Call] = field(default_factory=list)


@dataclass(frozen=True)
class Sandbox:
    """An empty root that scripts are run in; make one with `sandbox`."""

    state: Path
    seconds: float = 10.0

    def run(
        self,
        checkout: Path,
        script: str,
        where: str = ".",
        arguments: Sequence[str] = (),
        manner: str = "plain",
        environment: Mapping[str, str] | None = None,
    ) -> Record:
        """Run a script of a checkout and read what its stubs recorded.

        Args:
            checkout: Root of the repository's working tree.
            script: The script, relative to the checkout.
            where: Working directory, relative to the checkout.
            arguments: Its arguments.
            manner: ``plain``, or ``lenient``: a missing folder or sourced file is passed over.
            environment: What its caller exports, beside a few fixed names.

        Raises:
            NotIsolatedError: The namespaces could not be made.
        """
        enter = [str(HERE / "enter.sh"), str(self.state / "base"), str(self.state / "rootfs")]
        exported = [f"{name}={value}" for name, value in (environment or {}).items()]
        inside = [manner, f"/repo/{where}", *exported, "/bin/bash", f"/repo/{script}", *arguments]
        command = [*_unshare(), "/bin/bash", "-p", *enter, str(self._copy(checkout))]
        command += [f"{self.seconds:g}", *inside]
        done = subprocess.run(
            command, capture_output=True, timeout=self.seconds + 30, check=False, cwd="/"
        )
        if done.returncode != 0:
            raise NotIsolatedError(done.stderr.decode(errors="replace").strip()[-300:])
        return _record(done.stdout)

    def _copy(self, checkout: Path) -> Path:
        """The checkout's small files, owned by whom scripts run as; copied once."""
        folder = hashlib.sha256(str(checkout.resolve()).encode()).hexdigest()[:16]
        copy = self.state / "checkouts" / folder
        if not copy.exists():
            shutil.copytree(checkout, copy, symlinks=True, ignore=_not_copied)
            if os.geteuid() == 0:
                subprocess.run(["chown", "-RhP", f"{NOBODY}:{NOBODY}", str(copy)], check=True)
        return copy


@contextmanager
def sandbox(seconds: float = 10.0) -> Iterator[Sandbox]:
    """An empty root for scripts, removed at the end.

    Raises:
        NotIsolatedError: A program that the root needs is not on this machine.
    """
    state = Path(tempfile.mkdtemp(prefix="scripts-"))
    try:
        state.chmod(0o755)
        (state / "base").mkdir()
        _make_root(state / "rootfs")
        yield Sandbox(state, seconds)
    finally:
        shutil.rmtree(state, ignore_errors=True)


def isolated() -> bool:
    """Whether this machine gives the isolation."""
    names = ("unshare", "setpriv", "prlimit")
    if any(shutil.which(name) is None for name in names):
        return False
    mounted = ["/bin/sh", "-c", "mount -t tmpfs none /tmp"]  # in a space of mounts of its own
    done = subprocess.run([*_unshare(), *mounted], capture_output=True, check=False, cwd="/")
    return done.returncode == 0


def _not_copied(folder: str, names: list[str]) -> list[str]:
    """History, and what is too large to be a script or a configuration."""
    paths = {name: Path(folder) / name for name in names if name != ".git"}
    return [
        name
        for name in names
        if name not in paths
        or (paths[name].is_file() and paths[name].stat().st_size > _LARGEST)
        or not (paths[name].is_symlink() or paths[name].is_file() or paths[name].is_dir())
    ]


def _unshare() -> list[str]:
    nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    flags = "--user --map-root-user --net --mount --pid --fork --ipc --uts --cgroup --kill-child"
    return [*(nobody if os.geteuid() == 0 else []), "unshare", *flags.split()]


def _make_root(root: Path) -> None:
    for name in ("dev", "etc", "old", "ours", "proc", "records", "repo", "root", "stubs", "tmp"):
        (root / name).mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    for name in ("null", "zero", "urandom"):
        (root / "dev" / name).touch()
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (root / "dev" / name).symlink_to(f"/proc/self/{target}")
    for name in _REAL.split():
        _copy_program(name, root)
    (root / "usr/bin/sh").symlink_to("bash")
    for name in ("inside.sh", "startup.sh", "stub"):
        shutil.copy(HERE / name, root / "ours" / name)
    (root / "ours/stub").chmod(0o755)
    for name in _STUBS.split():
        (root / "stubs" / name).symlink_to("/ours/stub")


def _copy_program(name: str, root: Path) -> None:
    """A program and the libraries it is linked to, where its loader looks for them."""
    path = shutil.which(name)
    if path is None:
        raise NotIsolatedError(f"{name} is not on this machine")
    shutil.copyfile(path, root / "usr/bin" / name)
    (root / "usr/bin" / name).chmod(0o755)
    said = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    for word in said.split():
        if word.startswith("/") and not (root / word[1:]).exists():
            (root / word[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, root / word[1:])


def _record(raw: bytes) -> Record:
    """The fields that inside.sh wrote, each closed by a zero byte."""
    fields = [part.decode(errors="replace") for part in raw.split(b"\0")]
    status, errors = int(fields[0]), fields[1]
    calls, at = [], 2
    while at + 5 < len(fields):
        line, source, where, words, exported = fields[at : at + 5]
        start, end = at + 5, at + 6 + int(words)
        at = end + int(exported)
        environment = dict(part.partition("=")[::2] for part in fields[end:at])
        calls.append(Call(int(line), source, where, tuple(fields[start:end]), environment))
    return Record(status, errors, calls)
