"""`tod arc replay`: when alarms would have rung, and what the controller would have done."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tod.base import DataError, SpecError
from tod.base.overrides import apply_override
from tod.cli.options import Json, Map, parse_map

if TYPE_CHECKING:
    from tod.arc import ArcConfig, ArcState, Decision, Rang
    from tod.cli.arc_logged import LoggedRun

SCHEMA = "tod.arc_replay/1"


def replay_command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... [SETTING...]",
            help="Runs, dumps or steps.jsonl files; then settings of the controller, e.g. "
            "ess_target=0.7.",
        ),
    ],
    eta: Annotated[float | None, typer.Option(help="Declared sharpness.")] = None,
    tau: Annotated[float | None, typer.Option(help="Declared weight of KL to old.")] = None,
    beta: Annotated[float | None, typer.Option(help="Declared weight of KL to ref.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Length of the run, for the deadline; default: as logged.")
    ] = None,
    mapping: Map = None,
    json_out: Json = None,
) -> None:
    """When each alarm would have rung in a logged run, and before what.

    Nothing is trained or changed.

    Settings come from the run's own `arc:` block when it has one, then from the command. What was
    logged does not respond to the decisions: up to the first change they are predictions, after it
    a description. Of several runs the table counts catches and false alarms.

    Example: tod arc replay runs/quickstart ess_target=0.6 drift_budget=0.5
    """
    from tod.cli.arc_logged import logged
    from tod.show.arc import of_one, of_several
    from tod.show.output import put_json
    from tod.show.screen import Screen

    paths, overrides = sorted_words(words)
    told = {"eta": eta, "tau": tau, "beta": beta}
    declared = {name: value for name, value in told.items() if value is not None}
    columns = parse_map(mapping or [])
    runs = [_replayed(logged(path, columns), overrides, declared, steps) for path in paths]
    single = len(runs) == 1
    data = runs[0].document() if single else _documents(runs)
    if put_json(data, json_out):
        Screen().print(of_one(data) if single else of_several(data))


@dataclass(frozen=True)
class Replayed:
    """What a replay makes of one run; without declared knobs there are no decisions."""

    run: "LoggedRun"
    config: "ArcConfig"
    rang: "Sequence[Rang]"
    state: "ArcState | None"
    decisions: "Sequence[Decision]"
    ramp: list[float] | None

    def document(self) -> dict[str, Any]:
        """Plain data in the schema ``tod.arc_replay/1``."""
        moved = next((item.step for item in self.decisions if item.before != item.after), None)
        state = self.state
        return {
            "schema": SCHEMA,
            "run": str(self.run.path),
            "steps": [self.run.steps[0], self.run.steps[-1]],
            "examined": self.run.examined,
            "harm": self._harm(),
            "alarms": [asdict(item) for item in self.rang],
            "config": self.config.model_dump(mode="json"),
            "declared": None if state is None else dict(state.declared),
            "deadline": None if state is None else state.deadline,
            "first_change": moved,
            "decisions": [item.to_dict() for item in self.decisions],
            "ramp": self.ramp,
        }

    def _harm(self) -> dict[str, Any] | None:
        harm, at = self.run.harm, self.run.harmed_at
        if harm is None:
            return None
        return {"kind": harm.kind, "step": at, "headline": harm.headline}


def sorted_words(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Runs, and settings of the controller: ``key=value`` is a setting unless it is a path."""
    paths, overrides = [Path(words[0])], []
    for word in words[1:]:
        is_path = Path(word).exists() or ("=" not in word and "/" in word)
        if is_path:
            paths.append(Path(word))
        else:
            overrides.append(word)
    return paths, overrides


def _replayed(
    run: "LoggedRun", overrides: list[str], told: dict[str, float], steps: int | None
) -> Replayed:
    """The alarms and the decisions of one run."""
    from tod.arc import alarms_of, linear_ramp, replay, rings
    from tod.arc.alarms import readings

    declared = told or run.knobs
    config = _config(run.recipe, overrides, declared)
    rang = [
        rings(alarm, run.steps, readings(run.records, alarm.path), run.harmed_at)
        for alarm in alarms_of(config)
    ]
    if not declared:
        return Replayed(run, config, rang, None, (), None)
    length = steps or (run.recipe.get("train") or {}).get("steps") or run.steps[-1]
    state = _first(config, declared, length)
    decisions = replay(config, run.records, state)
    ramp = None
    if state.deadline is not None:
        knobs = [linear_ramp(config, state, step=item.step + 1) for item in decisions]
        ramp = [sharpness_of(item) for item in knobs]
    return Replayed(run, config, rang, state, decisions, ramp)


def _config(
    recipe: dict[str, Any], overrides: list[str], declared: dict[str, float]
) -> "ArcConfig":
    """The run's own controller or a default one, with overrides.

    Raises:
        SpecError: An override is not key=value, or means nothing.
    """
    from tod.arc import ArcConfig

    data: dict[str, Any] = dict(recipe.get("arc") or {})
    data.setdefault("knob", "eta" if "eta" in declared or not declared else "anchors")
    for override in overrides:
        apply_override(data, override)
    return ArcConfig.parse(data, "arc")


def _first(config: "ArcConfig", declared: dict[str, float], steps: int) -> "ArcState":
    from tod.arc import initial

    turned = {"eta": ("eta",), "anchors": ("tau", "beta"), "both": ("eta", "tau", "beta")}
    knobs = {name: declared[name] for name in turned[config.knob] if name in declared}
    return initial(config, **knobs, operator=None, steps=steps)


def sharpness_of(knobs: dict[str, Any]) -> float:
    """Eta, or 1/(tau+beta)."""
    return float(knobs["eta"]) if "eta" in knobs else 1.0 / float(knobs["tau"] + knobs["beta"])


def _documents(runs: Sequence[Replayed]) -> dict[str, Any]:
    """Several runs, and how often every alarm was right.

    Raises:
        SpecError: Their controllers have other alarms.
    """
    from tod.arc import rates

    known = [run for run in runs if run.run.examined]
    if not known:
        raise DataError(
            f"{runs[0].run.path} and the others keep no rollouts: nothing says which of them were "
            "harmed, so no alarm can be called false. Give run directories or dumps."
        )
    if (
        len({tuple(item.alarm for item in run.rang if not item.alarm.of_start) for run in known})
        > 1
    ):
        raise SpecError(
            "these runs have controllers with other bounds: their alarms cannot be counted "
            "together. Give the settings, such as window=4 ess_target=0.5, or one run at a time."
        )
    counted = rates([(run.run.harm is not None, run.rang) for run in known])
    return {
        "schema": SCHEMA,
        "runs": [run.document() for run in runs],
        "unexamined": [str(run.run.path) for run in runs if not run.run.examined],
        "rates": [asdict(item) for item in counted],
    }
