"""Run a swap study in exact worlds: resumable, over several processes, results as they come.

    python -m tod.study.swap.exact_run studies/exact.yaml --output results/exact --processes 2

Every setting of a block of worlds is one file, written when it is done; a second call does what is
missing. `load_exact` reads what there is.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tod.base import RunError
from tod.runs.atomic import write_atomic
from tod.study.executors import ExecutorTask as Handed
from tod.study.executors import Failure, On, Tally, Tell, Work, carry_out
from tod.study.swap.condition import Condition
from tod.study.swap.exact_results import AGAIN, ExactResult
from tod.study.swap.exact_spec import ExactSpec, GridPoint, read_exact
from tod.study.swap.exact_stack import Stack
from tod.study.swap.exact_training import ExactOperator, train_stack

__all__ = ["load_exact", "run_exact"]

BLOCK = 8
"""Worlds that are trained at once."""
Told = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ExactBlock:
    """A setting in a block of worlds.

    Attributes:
        setting: The setting.
        worlds: Numbers of the worlds.
        control: What it controls; None: the study itself.
    """

    setting: GridPoint
    worlds: tuple[int, ...]
    control: str | None = None

    @property
    def file(self) -> str:
        """Its path below the output."""
        first, last = self.worlds[0], self.worlds[-1]
        return f"worlds_{first}-{last}/{self.control or self.setting.file}.npz"

    def arms(self, spec: ExactSpec) -> tuple[ExactOperator, ...]:
        """Who is trained."""
        if self.control == "ladder":
            operator = spec.operators[str(spec.controls.ladder)]
            return tuple(
                ExactOperator(f"η {eta:g}", operator, eta) for eta in spec.controls.ladder_eta
            )
        arms = [ExactOperator(name, operator) for name, operator in spec.operators.items()]
        name, only = spec.controls.negative, spec.controls.negative_eta
        if name is not None and (only is None or self.setting.eta in only):
            arms.append(ExactOperator(name + AGAIN, spec.operators[name], stream=1))
        return tuple(arms)


def tasks(spec: ExactSpec, worlds: Iterable[int], block: int = BLOCK) -> tuple[ExactBlock, ...]:
    """Everything that a study does, block by block; a ladder of sharpness last."""
    numbers = tuple(worlds)
    every = []
    for start in range(0, len(numbers), block):
        part = numbers[start : start + block]
        every += [ExactBlock(setting, part) for setting in spec.settings]
        if spec.controls.ladder is not None:
            mu = spec.controls.ladder_mu
            setting = GridPoint(eta=1.0, mu=mu, proposal=spec.mu[mu])
            every.append(ExactBlock(setting, part, "ladder"))
    return tuple(every)


def run_exact(
    spec: ExactSpec,
    worlds: Iterable[int] | None = None,
    output: Path | None = None,
    *,
    processes: int = 1,
    told: Told | None = None,
    on: On | None = None,
    tally: Tally | None = None,
    again: Callable[[str, str], None] = lambda _name, _why: None,
) -> list[Condition]:
    """All conditions of a study: those of the operators, then those of the controls.

    Args:
        spec: The study.
        worlds: Numbers of the worlds; those of the spec if None.
        output: Folder of the results; what is there is not run again. None keeps none.
        processes: How many work at once.
        told: Hears how many tasks are done, of how many, and the last one's name.
        on: Where, with tasks at a time of its own; None: ``processes`` of this machine. One at a
            time is done in this process.
        tally: Counts what becomes of the tasks.
        again: Hears the name of a task whose worker was lost, and why; it is begun again.

    Raises:
        RunError: The folder holds results of another spec, or tasks failed in other processes.
    """
    on = On(at_once=processes) if on is None else on
    every = tasks(spec, spec.numbers if worlds is None else worlds)
    done: dict[ExactBlock, ExactResult] = {}
    if output is not None:
        _claim(spec, output)
        there = {task: output / task.file for task in every if (output / task.file).exists()}
        done = {task: ExactResult.load(path) for task, path in there.items()}
    missing = [task for task in every if task not in done]
    heard = told or (lambda _done, _total, _name: None)

    def note(task: ExactBlock, result: ExactResult) -> None:
        done[task] = result
        heard(len(done), len(every), task.file)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if output is None else output
        if on.kind == "local" and on.at_once == 1:
            for task in missing:
                note(task, _written(spec, task, folder))
        else:
            _spread(spec, missing, on, folder, note, Tally() if tally is None else tally, again)
    return conditions_of([done[task] for task in every])


def _spread(
    spec: ExactSpec,
    missing: list[ExactBlock],
    on: On,
    folder: Path,
    note: Callable[[ExactBlock, ExactResult], None],
    tally: Tally,
    again: Callable[[str, str], None],
) -> None:
    """Do what is missing in other processes, each of which leaves a file.

    Raises:
        RunError: Some failed; the others were done.
    """
    text, folder = spec.model_dump_json(), folder.resolve()

    def ended(job: tuple[str, ExactBlock, Path], failure: Failure | None) -> None:
        if failure is None:
            note(job[1], ExactResult.load(job[2] / job[1].file))

    carry_out(
        on.executor(folder),
        Work(_in_worker, _nothing, ("tod.study.swap.exact_run",)),
        [Handed(task.file, (text, task, folder)) for task in missing],
        ended=ended,
        again=lambda job, why: again(job[1].file, why),
        tally=tally,
    )
    if tally.failed:
        name, why = next(iter(tally.failed.items()))
        raise RunError(f"{len(tally.failed)} of {len(missing)} tasks failed; {name}: {why}")


def _nothing() -> None:
    """Nothing has to be made ready."""


def _in_worker(job: tuple[str, ExactBlock, Path], _tell: Tell) -> None:
    text, task, folder = job
    _written(ExactSpec.model_validate_json(text), task, folder)


def _written(spec: ExactSpec, task: ExactBlock, folder: Path) -> ExactResult:
    """One task done and written; as it will be read again."""
    path = folder / task.file
    path.parent.mkdir(parents=True, exist_ok=True)
    run_task(spec, task).save(path)
    return ExactResult.load(path)


def load_exact(output: Path) -> list[Condition]:
    """The conditions of all results in a folder.

    Raises:
        DataError: A file is no result.
    """
    return conditions_of([ExactResult.load(path) for path in sorted(output.glob("*/*.npz"))])


def conditions_of(results: Iterable[ExactResult]) -> list[Condition]:
    """The conditions of some results, controls last."""
    every = list(results)
    own = [c for result in every for c in result.conditions]
    own.sort(key=lambda condition: condition.facts["control"] is not None)
    return own + [c for result in every for c in result.negative]


def run_task(spec: ExactSpec, task: ExactBlock) -> ExactResult:
    """One setting in one block of worlds."""
    stack = _stack(spec.model_dump_json(), task.worlds)
    arms = task.arms(spec)
    ends = train_stack(spec, stack, task.setting, arms)
    return ExactResult.of(spec, stack, task.setting, arms, ends, task.control)


@lru_cache(maxsize=1)
def _stack(spec: str, worlds: tuple[int, ...]) -> Stack:
    """The stack of a block; its random numbers serve all settings."""
    made = ExactSpec.model_validate_json(spec)
    return Stack.of(tuple(made.world(number) for number in worlds), tuple(range(made.seeds)))


def _claim(spec: ExactSpec, output: Path) -> None:
    """Take the folder for this spec, whichever worlds it names."""
    data = spec.model_dump(mode="json", exclude={"worlds", "first_world"})
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    path = output / "spec.json"
    if not path.exists():
        output.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
        return
    if path.read_text(encoding="utf-8") != text:
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        raise RunError(
            f"{output} holds results of another study ({path.name} differs; this one is {digest}). "
            "Choose another --output."
        )


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="exact_run", description="Swap study in exact worlds.")
    parser.add_argument("spec", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--worlds", help="FIRST-LAST; those of the spec by default")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    worlds = None
    if options.worlds:
        first, _, last = options.worlds.partition("-")
        worlds = range(int(first), int(last or first) + 1)
    started = time.monotonic()

    def told(done: int, total: int, name: str) -> None:
        spent = time.monotonic() - started
        sys.stderr.write(f"{done}/{total}  {spent:.0f} s  {name}\n")

    conditions = run_exact(
        read_exact(options.spec), worlds, options.output, processes=options.processes, told=told
    )
    spent = time.monotonic() - started
    sys.stdout.write(f"{len(conditions)} conditions in {options.output}, {spent:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
