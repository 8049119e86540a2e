"""`tod study calibrate RESULTS`: thresholds refitted on conditions that were compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tod.base import DataError, SpecError
from tod.cli.command import Commands, PanelCommand
from tod.cli.options import Json

if TYPE_CHECKING:
    from tod.regimes import Cut, Thresholds

study = typer.Typer(
    cls=Commands,
    help="What swap studies teach: bounds of the regimes.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
study.callback()(lambda: None)

SCHEMA = "tod.calibration/1"


@study.command("calibrate", cls=PanelCommand)
def calibrate_command(
    results: Annotated[
        Path,
        typer.Argument(
            help="Conditions: JSON (a list, or an object with `conditions`) or Parquet, each with "
            "`excess` and the statistics that were read of it."
        ),
    ],
    statistic: Annotated[
        str, typer.Option(help="Statistic to calibrate: one of the four above, or all.")
    ] = "all",
    limit: Annotated[
        float, typer.Option(help="Operators are apart where their excess is above this.", min=0.0)
    ] = 0.1,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the YAML that --thresholds reads.")
    ] = None,
    json_out: Json = None,
) -> None:
    """Refit the bounds of the regimes where operators were compared.

    A condition is a setting in which operators of one target were run: `excess` is how much
    further apart they ended than their seeds alone explain, beside what a diagnosis read at the
    time: `ess_tri` (smallest leg), `ess_two`, `ess_median`, `ess_q10`, each in [0, 1]. A
    statistic is cut where it best tells the conditions in which operators ended apart (Youden);
    a cut belongs to its own statistic alone. See docs/thresholds.md.

    Example: tod study calibrate docs/examples/conditions.json --output thresholds.yaml
    """
    from tod.regimes import fit_cuts, fit_thresholds
    from tod.show.output import put, put_json

    conditions = _conditions(results, _chosen(statistic))
    try:
        cuts, fitted = fit_cuts(conditions, limit=limit), fit_thresholds(conditions, limit=limit)
    except DataError as error:
        raise DataError(f"{results}: {error}") from None
    apart = sum(item["excess"] > limit for item in conditions)
    if output is not None:
        put(_yaml(cuts, fitted), output, "nothing else")
    if put_json(_plain(cuts, fitted, limit, len(conditions), apart), json_out):
        _show(cuts, fitted, limit, len(conditions), apart)


def _chosen(statistic: str) -> tuple[str, ...]:
    from tod.regimes import STATISTICS

    if statistic == "all":
        return STATISTICS
    if statistic not in STATISTICS:
        raise SpecError(
            f"--statistic {statistic!r}: cuts are made for {', '.join(STATISTICS)}. Name one of "
            "these, or all."
        )
    return (statistic,)


def _conditions(path: Path, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Excess and the chosen statistics of every condition.

    Raises:
        DataError: The file holds no conditions, or a number in it is none.
    """
    from tod.regimes import STATISTICS

    data = _load(path)
    conditions = data.get("conditions") if isinstance(data, dict) else data
    if not isinstance(conditions, list) or not conditions:
        raise DataError(
            f"{path}: no `conditions`. Give a list of them, each with `excess` and some of "
            f"{', '.join(STATISTICS)}; docs/thresholds.md has an example."
        )
    return [_condition(path, place, item, names) for place, item in enumerate(conditions)]


def _load(path: Path) -> Any:
    import json

    if path.suffix == ".parquet":
        from tod.formats.parquet import collect, scan

        return collect(path, scan(path)).to_dicts()
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: not JSON ({error}). Name a JSON or Parquet file of conditions."
        ) from None


def _condition(path: Path, place: int, item: Any, names: tuple[str, ...]) -> dict[str, Any]:
    from math import isfinite

    if not isinstance(item, dict) or not ({*names} & {*item}):
        raise DataError(
            f"{path}, condition {place}: none of {', '.join(names)} is in it. Calibrate a "
            "statistic that was recorded."
        )
    kept = {name: item.get(name) for name in ("excess", *names)}
    for name, value in kept.items():
        if value is None:
            continue
        where = f"{path}, condition {place}: {name} = {value!r}"
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
            raise DataError(f"{where} is not a number.")
        if name != "excess" and not 0 <= value <= 1:
            raise DataError(f"{where} is not in [0, 1].")
    return kept


def _plain(
    cuts: dict[str, "Cut"], fitted: "Thresholds", limit: float, count: int, apart: int
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "schema": SCHEMA,
        "limit": limit,
        "conditions": count,
        "apart": apart,
        "cuts": {name: asdict(cut) for name, cut in cuts.items()},
        "thresholds": fitted.model_dump(),
    }


def _show(
    cuts: dict[str, "Cut"], fitted: "Thresholds", limit: float, count: int, apart: int
) -> None:
    from tod.show.screen import Screen
    from tod.show.screen import table as empty

    console = Screen()
    console.print(f"{count} conditions, operators apart (excess > {limit:g}) in {apart}")
    numbers = ("apart below", "sensitivity", "specificity", "AUROC", "stable from", "n")
    table = empty(("statistic",), numbers)
    for name, cut in cuts.items():
        stable = "never" if cut.stable is None else f"{cut.stable:.3g}"
        shares = [f"{x:.2f}" for x in (cut.sensitivity, cut.specificity, cut.auroc)]
        table.add_row(name, f"{cut.threshold:.3g}", *shares, stable, str(cut.count))
    console.print(table)
    console.print(_yaml(cuts, fitted), end="")


def _yaml(cuts: dict[str, "Cut"], fitted: "Thresholds") -> str:
    """The refitted fields as a ``Thresholds`` document; the others keep their defaults."""
    from tod.regimes import FIELDS

    lines = ["# thresholds: the refitted bounds; others keep their defaults"]
    fields = [field for name in cuts for field in FIELDS.get(name, ()) if field is not None]
    lines += [f"{field}: {getattr(fitted, field):.6g}" for field in fields]
    return "\n".join(lines) + "\n"
