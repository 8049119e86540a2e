"""Scripts inside commands: ``bash -c``, ``ssh``, here-documents, wrapped jobs, other scripts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tod.configurations.shell.marks import known, plain

_SHELLS = ("bash", "sh", "zsh", "dash", "ksh")
_QUIET = frozenset(
    [
        "echo",
        "printf",
        "cat",
        "tee",
        "grep",
        "egrep",
        "rg",
        "pkill",
        "pgrep",
        "kill",
        "ps",
        "log",
        "info",
        "warn",
        "error",
        "git",
        "sed",
        "awk",
        "test",
        "python",
        "python3",
        "torchrun",
        "accelerate",
        "deepspeed",
        "uv",
        "trl",
    ]
)
"""Programs whose words are no commands."""
_COMMAND = re.compile(r"(^|[\s;&|(])(python3?|torchrun|accelerate|deepspeed|uv|bash|sh|trl)\s")
_READS = ("ssh", "sbatch", "qsub", "bsub", "srun", "su", "sudo", "docker", "kubectl", "pdsh")


@dataclass(frozen=True)
class Inner:
    """A script inside a command.

    Attributes:
        text: The script; of a file its name.
        file: Whether it is the name of one.
        arguments: ``$1``, ``$2`` …
        inherits: Whether it sees what the outer one exports.
        document: Whether it stands in the lines below the command.
        copied: Whether a scheduler starts a copy of the file, elsewhere.
    """

    text: str
    file: bool = False
    arguments: tuple[str, ...] = ()
    inherits: bool = True
    document: bool = False
    copied: bool = False


def inner_scripts(words: tuple[str, ...], document: str | None) -> Iterator[Inner]:
    """The scripts that a command runs, by its words and by what it is given to read."""
    names = [plain(word).rpartition("/")[2] for word in words]
    if names[0] in _QUIET:
        return
    remote = "ssh" in names or "docker" in names or "kubectl" in names
    for at, name in enumerate(names):
        if name in _SHELLS:
            yield from _of_shell(words[at + 1 :], document, not remote)
            return
        if name == "sbatch" or name == "qsub":
            yield from _of_batch(words[at + 1 :])
    if document is not None and any(name in _READS for name in names):
        yield Inner(document, document=True, inherits=not remote)
    if remote and "ssh" in names:
        text = " ".join(words[names.index("ssh") + 2 :])
        if _COMMAND.search(text):
            yield Inner(text, inherits=False)
        return
    for word in words[1:]:
        text = plain(word).removeprefix("--wrap=")
        if " " in text and _COMMAND.search(text):
            yield Inner(text, inherits=not remote)


def _of_shell(words: tuple[str, ...], document: str | None, inherits: bool) -> Iterator[Inner]:
    at = 0
    while at < len(words):
        word = plain(words[at])
        if re.fullmatch(r"-[a-z]*c", word) and at + 1 < len(words):
            yield Inner(plain(words[at + 1]), False, words[at + 3 :], inherits)
            return
        if word == "-s" or not word.startswith(("-", "+")):
            break
        at += 2 if word in ("-o", "-O") else 1
    rest = words[at:]
    if rest and plain(rest[0]) != "-s":
        yield Inner(rest[0], True, rest[1:], inherits)
    elif document is not None:
        yield Inner(document, False, rest[1:], inherits, True)


def _of_batch(words: tuple[str, ...]) -> Iterator[Inner]:
    for at, word in enumerate(words):
        if known(word) and plain(word).endswith((".sh", ".slurm", ".sbatch", ".bash")):
            yield Inner(word, True, words[at + 1 :], copied=True)
            return
