"""From recorded calls to training commands: launchers unwrapped, the program read off its words."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from configuration_truth.sandbox import Call

_PYTHON = re.compile(r"^(python[\d.]*|torchrun|accelerate|deepspeed|accelerate-launch)$")
_NOT_TRAINING = re.compile(
    r"(generat|eval|merge|convert|preprocess|serve|server|infer|prepare|download|data_|check|"
    r"json_dump|init_random|worker|judge|gateway|visuali|plot|setup|router|test_(?!suites))"
)
_VERL_WORDS = re.compile(
    r"^[+~]*(actor_rollout_ref|algorithm|critic|data|trainer|reward_model|model|optim)\.\w"
)
_DISTRIBUTED = ("torch.distributed.run", "torch.distributed.launch", "accelerate.commands.launch")


@dataclass(frozen=True)
class Command:
    """A training command.

    Attributes:
        framework: ``verl``, ``nemo_rl``, ``openrlhf`` or ``trl``.
        program: Module or file that it runs.
        words: What follows the program.
        line: Line of the script that runs it; 0 where it is not known.
        source: The script that the line is of, relative to the checkout.
        where: Working directory, relative to the checkout; ``..`` where it is outside.
        environment: What was exported.
    """

    framework: str
    program: str
    words: tuple[str, ...]
    line: int
    source: str
    where: str
    environment: dict[str, str]


def training_commands(calls: Sequence[Call], script: str) -> list[Command]:
    """The training commands among recorded calls, each once, in order.

    Args:
        calls: What the stubs recorded.
        script: The script that ran, relative to the checkout.
    """
    there: list[Command] = []
    for call in calls:
        for program, words in _program(call.words):
            framework = framework_of(program, words)
            if framework is None:
                continue
            source = _below(call.source) or script
            command = Command(
                framework,
                program,
                words,
                call.line,
                source,
                _below(call.where) or "..",
                call.environment,
            )
            same = (command.program, command.words)
            if all((other.program, other.words) != same for other in there):
                there.append(command)
    return there


def framework_of(program: str, words: Sequence[str]) -> str | None:
    """Whose training program it is; None for any other program."""
    name = re.split(r"[./]", program.removesuffix(".py"))[-1]
    if _NOT_TRAINING.search(name) or _NOT_TRAINING.search(program.rsplit("/", 1)[-1]):
        return None
    if program.startswith("openrlhf.cli.") and "train" in name:
        return "openrlhf"
    if program.startswith("trl ") or re.search(r"trl[./]scripts[./]", program):
        return "trl"
    if re.match(r"run_(vlm_)?(grpo|dpo|sft|distillation|ppo|rm)", name):
        return "nemo_rl"
    if sum(bool(_VERL_WORDS.match(word)) for word in words) >= 3:
        return "verl"
    if re.match(r"^(verl|recipe)\.", program) and re.search(r"main|train", name):
        return "verl"
    flags = {word[2:].partition("=")[0] for word in words if word.startswith("--")}
    if "pretrain" in flags and {"rollout_batch_size", "micro_train_batch_size"} & flags:
        return "openrlhf"
    own = {"num_generations", "reward_funcs", "beta", "dataset_name", "config"}
    if re.search(r"(grpo|dpo|sft|kto|orpo|rloo)", name) and own & flags:
        return "trl"
    return None


def _program(words: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The Python program of a call and its own words, if it runs one."""
    name = PurePosixPath(words[0]).name
    if name == "trl" and len(words) > 1:
        yield f"trl {words[1]}", tuple(words[2:])
        return
    if not _PYTHON.match(name):
        return
    at = 1
    while at < len(words):
        word, before = words[at], words[at - 1]
        if before in ("-m", "--module") and word not in _DISTRIBUTED:
            yield word, tuple(words[at + 1 :])
            return
        if word in ("-c", "-"):
            return
        if word.endswith(".py") and not before.startswith("--config"):
            yield word, tuple(words[at + 1 :])
            return
        at += 1


def _below(path: str) -> str | None:
    """A path below /repo, relative to it."""
    parts = PurePosixPath(path).parts
    if parts[:2] == ("/", "repo"):
        return str(PurePosixPath(*parts[2:])) if len(parts) > 2 else "."
    return None
