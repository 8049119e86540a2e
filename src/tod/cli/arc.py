"""`tod arc replay`: what the controller would have done on logged diagnostics."""

from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tod.base import DataError, RunError, SpecError
from tod.base.overrides import apply_override
from tod.cli.options import Json

if TYPE_CHECKING:
    from tod.arc import ArcConfig, ArcState, Decision

SCHEMA = "tod.arc_replay/1"


def replay_command(
    run: Annotated[Path, typer.Argument(help="A run directory, or its steps.jsonl.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings of the controller, e.g. ess_target=0.7.", show_default=False),
    ] = None,
    eta: Annotated[float | None, typer.Option(help="Declared sharpness.")] = None,
    tau: Annotated[float | None, typer.Option(help="Declared weight of KL to old.")] = None,
    beta: Annotated[float | None, typer.Option(help="Declared weight of KL to ref.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Length of the run, for the deadline; default: as logged.")
    ] = None,
    json_out: Json = None,
) -> None:
    """What the controller would have done in a run that was logged.

    Nothing is trained or changed.

    Settings come from the run's own `arc:` block when it has one, then from the overrides. What
    was logged does not respond to the decisions: up to the first change they are predictions,
    after it a description. The plain ramp that reads nothing is shown beside them.

    Example: tod arc replay runs/quickstart ess_target=0.6 drift_budget=0.5
    """
    from tod.arc import replay
    from tod.show.output import put_json
    from tod.show.screen import Screen

    records, recipe = _read(run)
    declared = {
        name: v for name, v in (("eta", eta), ("tau", tau), ("beta", beta)) if v is not None
    }
    declared = declared or _logged_knobs(records, run)
    config = _config(recipe, overrides or [], declared)
    length = steps or (recipe.get("train") or {}).get("steps") or int(records[-1]["step"])
    state = _first(config, declared, length)
    decisions = replay(config, records, state)
    ramp = _ramp(config, state, decisions)
    if put_json(_document(run, config, state, decisions, ramp), json_out):
        console = Screen()
        console.print(_table(decisions, ramp))
        console.print(_sentence(decisions))


def _read(run: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Records of the steps that drew a batch, and the recipe if it is known.

    Raises:
        RunError: There is no such run.
        DataError: No step of it drew a batch.
    """
    from tod.runs import JsonLines, RunDirectory

    recipe: dict[str, Any] = {}
    if run.is_file():
        lines = JsonLines(run)
    elif run.exists():
        directory = RunDirectory.open(run)
        lines, recipe = directory.steps, directory.manifest.recipe
    else:
        raise RunError(f"{run}: no such run. Give a run directory or its steps.jsonl.")
    drawn = [record for record in lines.read() if (record.get("contexts") or {}).get("total")]
    if not drawn:
        raise DataError(
            f"{run} has no record with prompts: there is nothing the controller could have read. "
            "Let the run make a step, or point to its steps.jsonl."
        )
    return drawn, recipe


def _logged_knobs(records: list[dict[str, Any]], run: Path) -> dict[str, float]:
    """The knobs of the first record.

    Raises:
        SpecError: It has none.
    """
    logged = records[0].get("knobs") or {}
    knobs = {name: float(v) for name, v in logged.items() if v is not None}
    if not knobs:
        raise SpecError(
            f"{run}: the first record has no knobs, so the controller does not know what to "
            "return to. Give --eta, or --tau and --beta."
        )
    return knobs


def _config(
    recipe: dict[str, Any], overrides: list[str], declared: dict[str, float]
) -> "ArcConfig":
    """The run's own controller or a default one, with overrides.

    Raises:
        SpecError: An override is not key=value, or means nothing.
    """
    from tod.arc import ArcConfig

    data: dict[str, Any] = dict(recipe.get("arc") or {})
    data.setdefault("knob", "eta" if "eta" in declared else "anchors")
    for override in overrides:
        apply_override(data, override)
    return ArcConfig.parse(data, "arc")


def _first(config: "ArcConfig", declared: dict[str, float], steps: int) -> "ArcState":
    from tod.arc import initial

    turned = {"eta": ("eta",), "anchors": ("tau", "beta"), "both": ("eta", "tau", "beta")}
    knobs = {name: declared[name] for name in turned[config.knob] if name in declared}
    return initial(config, **knobs, operator=None, steps=steps)


def _ramp(
    config: "ArcConfig", state: "ArcState", decisions: "list[Decision]"
) -> list[float] | None:
    """Sharpness of the open-loop ramp after every decision; None without a deadline."""
    from tod.arc import linear_ramp

    if state.deadline is None:
        return None
    knobs = [linear_ramp(config, state, step=item.step + 1) for item in decisions]
    return [_sharpness(item) for item in knobs]


def _sharpness(knobs: dict[str, Any]) -> float:
    return float(knobs["eta"]) if "eta" in knobs else 1.0 / float(knobs["tau"] + knobs["beta"])


def _table(decisions: "list[Decision]", ramp: list[float] | None) -> Any:
    """One row for every stretch that did the same for the same reasons; numbers are its last."""
    from tod.show.screen import table as empty

    table = empty((), ("step", "ESS", "tail", "act.", "eta", "ramp"), collapse_padding=True)
    table.add_column("action", no_wrap=True)
    table.add_column("why", overflow="fold")
    for _, stretch in groupby(enumerate(decisions), key=lambda pair: _kind(pair[1])):
        rows = list(stretch)
        at, item = rows[-1]
        first = rows[0][1].step
        seen = item.observed
        table.add_row(
            str(item.step) if first == item.step else f"{first}-{item.step}",
            _number(next((v for k, v in seen.items() if k.startswith("ess_rel")), None)),
            _number(seen.get("tails.max_weight_median")),
            _number(seen.get("activation")),
            _number(_sharpness(item.after)),
            "-" if ramp is None else _number(ramp[at]),
            item.action,
            item.why,
        )
    return table


def _kind(decision: "Decision") -> tuple[Any, ...]:
    """Equal for neighbours that did the same for the same reasons."""
    on_ramp = "ramp" in decision.why
    missed = tuple(item.what for item in decision.compared if item.ok is False)
    return decision.action, on_ramp or missed


def _number(x: float | None) -> str:
    return "-" if x is None else f"{x:.2f}" if x < 100 else f"{x:.0f}"


def _sentence(decisions: "list[Decision]") -> str:
    moved = [item for item in decisions if item.before != item.after]
    if not moved:
        return f"{len(decisions)} batches, and nothing would have been changed."
    counts = Counter(item.action for item in moved)
    what = ", ".join(f"{action} {count}" for action, count in counts.items())
    return (
        f"{len(decisions)} batches, {len(moved)} changes ({what}), the first at step "
        f"{moved[0].step}: later rows read a run that this change would have altered."
    )


def _document(
    run: Path,
    config: "ArcConfig",
    state: "ArcState",
    decisions: "list[Decision]",
    ramp: list[float] | None,
) -> dict[str, Any]:
    moved = next((item.step for item in decisions if item.before != item.after), None)
    return {
        "schema": SCHEMA,
        "run": str(run),
        "config": config.model_dump(mode="json"),
        "declared": dict(state.declared),
        "deadline": state.deadline,
        "first_change": moved,
        "decisions": [item.to_dict() for item in decisions],
        "ramp": ramp,
    }
