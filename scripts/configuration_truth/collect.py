"""One repository's rows of facts: its scripts run, its files loaded."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from configuration_truth.commands import Command, training_commands
from configuration_truth.facts import Facts
from configuration_truth.hydra_layers import NotComposedError, compose
from configuration_truth.nemo_truth import nemo_config, nemo_facts
from configuration_truth.openrlhf_truth import flags, openrlhf_facts
from configuration_truth.repositories import (
    TRL,
    VERL,
    Repository,
    commit_of,
    files_of,
    required,
    revision,
)
from configuration_truth.sandbox import OPEN, Sandbox
from configuration_truth.trl_truth import trl_facts
from configuration_truth.verl_truth import code_of, verl_facts

_SHELL = (".sh", ".bash", ".slurm", ".sbatch", ".sub")
_MISSING = re.compile(r"line \d+: (\w+): (?:unbound variable|.)")
_METHOD = re.compile(r"(?:^|[/_.-])(grpo|dpo|sft|orpo|kto|rloo)(?=[/_.-])")
_TRAINS = re.compile(
    r"actor_rollout_ref|openrlhf|\bverl\b|run_(vlm_)?(grpo|dpo|sft|distill)|main_(ppo|dapo)|"
    r"(grpo|dpo|sft)\w*\.py|\btrl\b|\bpretrain\b|\.(sh|env)\b"
)
_MOST_COMMANDS = 8

Row = dict[str, Any]


@dataclass
class Collector:
    """Reads the checkouts of a folder.

    Attributes:
        checkouts: Folder with a checkout ``owner+name`` a repository.
        trees: Folder for checkouts that are put together of several.
        sandbox: Where scripts run.
        seen: Hashes of files that a row was made of already; a copy of one makes none.
        done: Repository and path of files whose rows an earlier call wrote.
    """

    checkouts: Path
    trees: Path
    sandbox: Sandbox
    seen: set[str] = field(default_factory=set)
    done: set[tuple[str, str]] = field(default_factory=set)

    def rows(self, repository: Repository) -> Iterator[Row]:
        """Rows of a repository, one a command, up to its number of files."""
        checkout = self.checkouts / repository.folder
        quota = {"shell": repository.most, "yaml": repository.most}
        commit = commit_of(checkout)
        for path in files_of(checkout):
            kind = "yaml" if path.endswith((".yaml", ".yml")) else "shell"
            if (repository.name, path) in self.done:
                quota[kind] -= 1
                continue
            digest = hashlib.sha256((checkout / path).read_bytes()).hexdigest()
            if quota[kind] == 0 or digest in self.seen:
                continue
            made = list(self._of_file(repository, path))
            if made:
                self.seen.add(digest)
                quota[kind] -= 1
            for at, row in enumerate(made):
                first = {"repository": repository.name, "commit": commit, "path": path}
                yield {**first, "sha256": digest, "command": at, "commands": len(made), **row}

    def _of_file(self, repository: Repository, path: str) -> Iterator[Row]:
        checkout = self.checkouts / repository.folder
        if path.endswith(_SHELL):
            if _TRAINS.search((checkout / path).read_text(encoding="utf-8", errors="replace")):
                root, inside = self._tree(repository, path)
                for command in self._commands(root, inside)[:_MOST_COMMANDS]:
                    yield self._row(command, root, inside)
        elif path.endswith((".yaml", ".yml")):
            row = self._of_yaml(repository, checkout, path)
            if row is not None:
                yield row

    def _tree(self, repository: Repository, path: str) -> tuple[Path, str]:
        """The root that a script is run in, and its path there."""
        checkout = self.checkouts / repository.folder
        if not repository.verl:
            return checkout, path
        of_recipe = repository.verl == "required"
        wanted = required(checkout / path.split("/")[0]) if of_recipe else repository.verl
        verl = self.checkouts / VERL.replace("/", "+")
        commit = revision(verl, wanted)
        tree = self.trees / f"{repository.folder}-{commit}"
        if not tree.exists():
            base, own = (tree, tree / "recipe") if of_recipe else (tree / "verl", tree)
            base.mkdir(parents=True)
            archive = subprocess.run(
                ["git", "-C", str(verl), "archive", commit, "verl", "setup.py"],
                capture_output=True,
                check=True,
            )
            subprocess.run(["tar", "x", "-C", str(base)], input=archive.stdout, check=True)
            shutil.copytree(checkout, own, True, shutil.ignore_patterns(".git"), dirs_exist_ok=True)
        return tree, f"recipe/{path}" if of_recipe else path

    def _commands(self, root: Path, path: str) -> list[Command]:
        """The training commands of a script, by the least help that lets it reach one."""
        own, project = str(Path(path).parent), _project(root, path)
        exported: dict[str, str] = {}
        attempts = [(project, (), "plain"), (own, (), "plain")]
        attempts += [(where, (OPEN,) * 4, "lenient") for where in (project, project, own)]
        attempts += [(project, (), "lenient")]
        for where, arguments, manner in attempts:
            record = self.sandbox.run(root, path, where, arguments, manner, exported)
            commands = training_commands(record.calls, path)
            if commands or (record.status == 0 and manner == "plain" and where == own):
                return commands
            if manner == "lenient":
                exported |= dict.fromkeys(_MISSING.findall(record.errors), OPEN)
        return []

    def _row(self, command: Command, root: Path, path: str) -> Row:
        line = command.line if command.source == path else 0
        row: Row = {
            "framework": command.framework,
            "line": line,
            "program": _plain(command.program),
        }
        try:
            facts = self._facts(command, root, path)
        except NotComposedError as error:
            return {**row, "facts": None, "why": str(error)[:160]}
        return {**row, "facts": facts}

    def _facts(self, command: Command, root: Path, path: str) -> Facts | None:
        # arguments of the script that nobody gave stand alone
        words = tuple(word for word in command.words if word != OPEN)
        program = command.program
        if command.framework == "verl":
            config, package = compose(program, words, root, command.where, path)
            return verl_facts(program, config, code_of(package))
        if command.framework == "openrlhf":
            return openrlhf_facts(program, words, root, path)
        if command.framework == "nemo_rl":
            named, overrides = _nemo_words(words)
            below = _file(root, command.where, named or _own_config(root, program))
            return nemo_facts(nemo_config(below, overrides), root, program)
        values = dict(flags(words))
        method = _METHOD.search(f"/{program.replace(' ', '/')}.")
        if isinstance(values.get("config"), str):
            named = str(values.pop("config"))
            values = {**_yaml(_file(root, command.where, named)), **values}
        if method is None:
            raise NotComposedError("no method in the program's name")
        return trl_facts(method.group(1), values, root, self.checkouts / TRL.replace("/", "+"))

    def _of_yaml(self, repository: Repository, checkout: Path, path: str) -> Row | None:
        row: Row = {"line": 0, "program": ""}
        if repository.name == "NVIDIA-NeMo/RL":
            if not path.startswith("examples/configs/") or "/evals/" in path:
                return None
            try:
                facts = nemo_facts(nemo_config(checkout / path), checkout)
            except NotComposedError as error:
                return {**row, "framework": "nemo_rl", "facts": None, "why": str(error)[:160]}
            return facts and {**row, "framework": "nemo_rl", "facts": facts}
        method = _METHOD.findall(f"/{path}")
        if not method or (checkout / "verl").exists() or "accelerate" in path:
            return None
        try:
            values = _yaml(checkout / path)
            if not {"model_name_or_path", "learning_rate", "output_dir"} & set(values):
                return None
            trl = self.checkouts / TRL.replace("/", "+")
            facts = trl_facts(method[-1], values, checkout, trl)
        except NotComposedError:
            return None
        return {**row, "framework": "trl", "facts": facts}


def _plain(program: str) -> str:
    return program.removeprefix("/repo/")


def _project(root: Path, path: str) -> str:
    """The nearest folder above a script that is a package's root."""
    for folder in Path(path).parents:
        if any((root / folder / name).exists() for name in ("setup.py", "pyproject.toml", ".git")):
            return str(folder)
    return "."


def _nemo_words(words: tuple[str, ...]) -> tuple[str, list[str]]:
    named, overrides, at = "", [], 0
    while at < len(words):
        name, bar, value = words[at].partition("=")
        if name == "--config":
            if not bar:
                at += 1
                value = words[at] if at < len(words) else ""
            named = value
        elif words[at].startswith("--"):
            raise NotComposedError(f"an option that it has not: {name}")
        elif words[at]:
            overrides.append(words[at])
        at += 1
    return named, overrides


def _own_config(root: Path, program: str) -> str:
    """The YAML that a NeMo-RL program takes where none is named."""
    path = root / _plain(program)
    source = path.read_text(encoding="utf-8") if path.is_file() else ""
    named = re.search(r"[\"']configs[\"'],\s*((?:[\"'][\w.-]+[\"'],?\s*)+)", source)
    if named is None:
        raise NotComposedError("it names no configuration, and its program none either")
    parts = re.findall(r"[\"']([\w.-]+)[\"']", named.group(1))
    return str(Path(_plain(program)).parent.joinpath("configs", *parts))


def _file(root: Path, where: str, named: str) -> Path:
    """A file that a command names, in the checkout."""
    path = (
        root / named.removeprefix("/repo/") if named.startswith("/repo/") else root / where / named
    )
    for candidate in (path, root / named):
        if candidate.is_file():
            return candidate
    raise NotComposedError("the file that it names is not in the checkout")


def _yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise NotComposedError("not a YAML file") from None
    if not isinstance(values, dict):
        raise NotComposedError("no settings in it")
    return values
