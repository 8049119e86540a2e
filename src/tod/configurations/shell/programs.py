"""Training programs among the words of a command, and whose they are."""

import re
from dataclasses import dataclass

from tod.configurations.shell.marks import known, plain
from tod.configurations.shell.recorded_programs import recorded_program

_MODULE = re.compile(
    r"(?:verl|recipe)\.[\w.]*(?:main|sft_trainer)[\w.]*|openrlhf\.cli\.\w+|trl\.scripts\.[a-z_]+"
)
_VERL_FILE = re.compile(r"(?:.*/)?(?:verl|recipe)/[\w/]*(?:main|sft_trainer)\w*\.py")
_TRL_FILE = re.compile(r"(?:.*/)?trl/scripts/([a-z_]+)\.py")
_NEMO_FILE = re.compile(r"(?:.*/)?run_(grpo|dpo|sft|distillation)[a-z_]*\.py")
_STARTERS = ("python", "python3", "torchrun", "accelerate", "deepspeed", "uv", "ray", "trl")
_NAMES_METHOD = re.compile(r"(?:^|[^a-z])(grpo|dpo|rloo|kto|orpo|cpo|gkd|sft)(?=[^a-z]|$)")


@dataclass(frozen=True)
class Program:
    """A training program.

    Attributes:
        framework: Whose; None where only what it is given can tell.
        name: Module or file.
        start: Place of its first argument among the words.
        method: What its name says of the method.
    """

    framework: str | None
    name: str
    start: int
    method: str | None = None

    @property
    def file(self) -> bool:
        """Whether it is a Python file."""
        return self.name.endswith(".py")


def program_of(words: tuple[str, ...]) -> Program | None:
    """The training program among words; None if there is none."""
    names = [plain(word) for word in words]
    recorded = recorded_program(names)
    if recorded is not None:
        one, at, count = recorded
        name = " ".join(names[at : at + count])
        said = _NAMES_METHOD.search(name.rpartition("/")[2].lower())
        method = said.group(1) if said else None
        method = next((of for word, of in one.says.items() if word in name), method)
        return Program(one.framework, name, at + count - (names[at + count - 1] == "@"), method)
    bases = [name.rpartition("/")[2] for name in names]
    if not any(base in _STARTERS or re.fullmatch(r"python\d?[\d.]*", base) for base in bases):
        return _behind_launcher(names)
    for at, name in enumerate(names):
        if not known(name):
            name = name.rpartition("\ue001")[2].lstrip("/")
        found = _named(name, names, at)
        if found is not None:
            return found
    return None


def _behind_launcher(names: list[str]) -> Program | None:
    """A framework's module that a launcher which was not read starts by ``-m``."""
    if known(names[0]):
        return None
    for at, name in enumerate(names):
        if names[at - 1] == "-m" and _MODULE.fullmatch(name):
            return _named(name, names, at)
    return None


def _named(name: str, names: list[str], at: int) -> Program | None:
    if _MODULE.fullmatch(name):
        framework = name.partition(".")[0].replace("recipe", "verl")
        method = name.rpartition(".")[2] if framework == "trl" else None
        return Program(framework, name, at + 1, method)
    if _VERL_FILE.fullmatch(name):
        module = name.removesuffix(".py").replace("/", ".")
        return Program("verl", module, at + 1)
    if name.rpartition("/")[2] == "trl" and at + 1 < len(names) and names[at + 1][:1] != "-":
        return Program("trl", f"trl {names[at + 1]}", at + 2, names[at + 1])
    trl, nemo = _TRL_FILE.fullmatch(name), _NEMO_FILE.fullmatch(name)
    if trl:
        return Program("trl", name, at + 1, trl.group(1))
    if nemo:
        return Program(None, name, at + 1, nemo.group(1))
    if name.endswith(".py") and not name.startswith("-"):
        said = _NAMES_METHOD.search(name.rpartition("/")[2].lower())
        return Program(None, name, at + 1, said.group(1) if said else None)
    if at and names[at - 1] == "-m" and "." in name and names[at - 2] != "pip":
        said = _NAMES_METHOD.search(name.rpartition(".")[2].lower())
        return Program(None, name, at + 1, said.group(1) if said else None)
    return None
