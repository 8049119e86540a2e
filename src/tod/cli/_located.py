"""The target of a training configuration, as the atlas locates it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tod.integrations import Reading


def located(config: Path, reading: "Reading") -> tuple[Any, Any, list[str]]:
    """The target that a configuration implies, ``located``, and remarks about it.

    A configuration of ours declares its target. One of a framework is located; where it implies
    no finite target (no KL term, z-scored advantages) the diagnosis falls back to an assumed one
    and the remarks say so.

    Raises:
        SpecError: The file is no configuration that is known.
    """
    from tod.base import SpecError, read_yaml
    from tod.integrations import parse_target

    data = read_yaml(config) if config.suffix in (".yaml", ".yml", ".json") else None
    if isinstance(data, dict) and {"target", "operator"} <= set(data):
        return parse_target(data["target"], str(config)), "declared", []
    try:
        from tod.atlas import locate
    except ImportError:
        raise SpecError(
            f"{config}: locating framework configurations is not available in this installation. "
            "Declare the target with --target or --eta."
        ) from None
    found = locate(config)
    remarks = [f"{item['setting']}: {item['effect']}" for item in found.silent_changes]
    if found.target is None:
        return None, None, [f"{config.name} implies no finite target", *remarks]
    return _named(found.target, reading), "located", remarks


def _named(target: Any, reading: "Reading") -> Any:
    """The located target with its one utility called as the files call theirs."""
    general = target.target
    if len(general.tilts) != 1 or not reading.utility:
        return target
    main = next(iter(reading.utility))
    if general.tilts[0].utility in reading.utility:
        return target
    return general.revised(tilts=[{"utility": main, "eta": general.tilts[0].eta}])
