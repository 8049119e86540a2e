"""Options that several commands share, and what they say: a target, columns, bounds, a clip."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tod.base import SpecError, parse_yaml, read_mapping, read_yaml

if TYPE_CHECKING:
    from tod.cli.configured import ReadConfiguration
    from tod.configurations.told import Told
    from tod.formats import Gate, Reading
    from tod.operators import Operator
    from tod.regimes import Thresholds


def panel(title: str) -> Callable[..., Any]:
    """What declares an option that the help lists under a title."""
    return partial(typer.Option, rich_help_panel=title)


to_read, to_aim = panel("What is read"), panel("The target")
to_judge, to_write = panel("How it is judged"), panel("Where it is written")
to_locate = panel("How a configuration is read")

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Dotted overrides, e.g. train.steps=20.", show_default=False),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a run that is already there.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; default: what the machine has free.")
]
Where = Annotated[str, typer.Option("--on", help="Where: local, ray, or submitit (also Slurm).")]
WhereOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--on-option",
        help="key=value for Ray or submitit, such as slurm_partition=a (may be repeated).",
    ),
]
Paths = Annotated[
    list[str], typer.Argument(help="Rollout files, globs, directories, or a run directory.")
]
Format = Annotated[str, to_read("--format", help="auto, or a format's name (see docs/formats).")]
Map = Annotated[
    list[str] | None,
    to_read("--map", help="Columns by role: utility=reward,context=prompt_id,log_mu=logp."),
]
Steps = Annotated[str | None, to_read(help="Steps a:b, both included.")]
Aim = Annotated[
    str | None,
    to_aim(
        "--target",
        help="A recipe of the atlas, a YAML file, or YAML such as "
        "'{anchor: {mu: 1}, tilts: [{utility: score, eta: 2}]}'.",
    ),
]
Config = Annotated[Path | None, to_aim(help="Training configuration: the target that it implies.")]
Framework = Annotated[
    str | None, to_locate("--framework", help="Whose it is: trl, verl, openrlhf, nemo_rl, tod….")
]
Method = Annotated[
    str | None,
    to_locate(
        "--method", help="Which configuration of a file: grpo, dpo…, its variable or its line."
    ),
]
Set = Annotated[
    list[str] | None,
    to_locate(
        "--set",
        help="KEY=VALUE laid over the file, or a variable that a script takes from outside.",
    ),
]
Version = Annotated[
    str | None,
    to_locate(
        "--version", help="Release whose defaults fill in what the file leaves out, as in 0.17."
    ),
]


def _sharpness(value: float | None) -> float | None:
    """A sharpness as typed.

    Raises:
        SpecError: It is below 0, or no number.
    """
    if value is not None and not 0 <= value < float("inf"):
        raise SpecError(
            f"--eta {value:g}: a sharpness is a number from 0 on, in nats per unit of reward. To "
            "tilt towards small rewards give a target with a negative eta (--target)."
        )
    return value


Eta = Annotated[
    float | None, to_aim(help="Sharpness in nats per unit of reward, from 0.", callback=_sharpness)
]
Ranges = Annotated[
    list[str] | None,
    to_judge(
        "--reward-range",
        help="LOW,HIGH that the verifier can give, or NAME=LOW,HIGH: guarantees an eta.",
    ),
]
Bounds = Annotated[
    Path | None,
    to_judge("--thresholds", help="YAML of bounds, as `tod study calibrate` writes it."),
]
Json = Annotated[str | None, to_write("--json", help="Write JSON to a file, or - for stdout.")]
Html = Annotated[Path | None, to_write(help="Write a self-contained page.")]


def parse_set(items: list[str] | None) -> dict[str, str]:
    """Settings of ``KEY=VALUE`` items, the last of a name winning.

    Raises:
        SpecError: One without ``=``.
    """
    found: dict[str, str] = {}
    for item in items or []:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise SpecError(f"--set {item!r}: write KEY=VALUE, as in algorithm.adv_estimator=grpo.")
        found[name.strip()] = value
    return found


def told_of(
    framework: str | None, method: str | None, settings: list[str] | None, version: str | None
) -> "Told":
    """What the options of one file say of it.

    Raises:
        SpecError: A setting without ``=``.
    """
    from tod.configurations.told import Told

    return Told(framework, method, parse_set(settings), version)


def parse_map(items: list[str]) -> dict[str, str]:
    """Roles and columns of ``role=column`` pairs, comma-separated and repeatable.

    Raises:
        SpecError: A pair without ``=``.
    """
    roles: dict[str, str] = {}
    for pair in (part for item in items for part in item.split(",") if part.strip()):
        role, equals, column = pair.partition("=")
        if not equals or not role.strip() or not column.strip():
            raise SpecError(f"--map {pair!r}: write role=column, as in utility=reward.")
        roles[role.strip()] = column.strip()
    return roles


def parse_ranges(items: list[str]) -> dict[str, tuple[float, float]]:
    """Ranges of rewards by name, the empty name without one, from ``NAME=LOW,HIGH``.

    Raises:
        SpecError: Anything else.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for item in items:
        name, _, ends = item.rpartition("=")
        try:
            low, high = (float(end) for end in ends.split(","))
        except ValueError:
            raise SpecError(
                f"--reward-range {item!r}: write the least and the largest reward, as in 0,1 or "
                "score=-1,1."
            ) from None
        ranges[name.strip()] = (low, high)
    return ranges


def thresholds_of(path: Path | None) -> "Thresholds | None":
    """Bounds of the regimes from a YAML file as `tod study calibrate` writes it; None without one.

    Bounds that it does not name keep their defaults.

    Raises:
        SpecError: The file cannot be read, or holds something else.
    """
    if path is None:
        return None
    from tod.regimes import Thresholds

    needed = (
        "Bounds are written one a line, as in `overlap_stable: 0.7`, or by `tod study calibrate "
        "RESULTS --output FILE`."
    )
    return Thresholds.parse(read_mapping(path, needed), str(path))


def gate_of(
    clip: str | None, operator: str | None, config: "ReadConfiguration | None"
) -> "Gate | None":
    """The trust region to read with: a clip, a named operator's, or the configuration's if it has.

    Raises:
        SpecError: Both flags are given, or one names no trust region.
    """
    from tod.formats import Gate

    if clip is not None and operator is not None:
        raise SpecError("--clip and --operator both name a trust region: give one of them.")
    if clip is not None:
        return Gate(_clip(clip))
    if operator is not None:
        return Gate.of(_operator(operator))
    if config is None:
        return None
    point = config.point
    unread = point is not None and {"operator", "action.trust_region", "action.level"} & point.open
    found = None if point is None or unread else point.operator
    return Gate.of(found) if found is not None and Gate.has(found) else None


def _clip(text: str) -> Any:
    """Bounds such as ``0.2,0.28``, or one for both sides."""
    from pydantic import ValidationError

    from tod.operators import Clip

    try:
        low, *rest = (float(part) for part in text.split(","))
        (high,) = rest or [low]
        return Clip(low=low, high=high)
    except (ValueError, ValidationError):
        raise SpecError(
            f"--clip {text!r}: write how far rho may fall and rise, as in 0.2,0.28."
        ) from None


def _operator(given: str) -> "Operator":
    """Of a recipe of the atlas, or of a YAML file."""
    from tod.operators import Operator

    path = Path(given)
    if path.suffix not in (".yaml", ".yml"):
        from tod.atlas import recipe

        return recipe(given).operator
    data = read_mapping(path, "A recipe has its operator under `operator`.")
    return Operator.parse(data.get("operator", data), given)


def one_target(target: object, config: object) -> None:
    """Refuse two targets.

    Raises:
        SpecError: Both flags are there.
    """
    if target is not None and config is not None:
        raise SpecError("--target and --config both name a target: give one of them.")


def target_of(
    given: str | None, config: "ReadConfiguration | None", reading: "Reading"
) -> tuple["Reading", Any, Any, list[str]]:
    """The reading, the target that flags name, how it was found, and what to say about it.

    Raises:
        SpecError: Both flags are given, or one names no target.
    """
    one_target(given, config)
    if given is not None:
        return reading, _declared(given), "declared", []
    if config is not None:
        from tod.cli.configured import located

        return located(config, reading)
    return reading, None, None, []


def _declared(given: str) -> Any:
    """A target from a recipe's name, a YAML file or YAML text."""
    from tod.diagnosis import parse_target

    path = Path(given)
    if path.suffix in (".yaml", ".yml", ".json"):
        data = read_yaml(path)
        return parse_target(data.get("target", data) if isinstance(data, dict) else data, given)
    if given.lstrip().startswith("{"):
        return parse_target(parse_yaml(given, f"--target {given!r:.200}"), "--target")
    from tod.atlas import recipe

    if path.is_file():
        raise SpecError(
            f"--target {given}: a target is a recipe's name or YAML. A training configuration goes "
            f"to --config {given}."
        )
    return recipe(given).target
