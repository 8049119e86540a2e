"""The composition of a located point by the names of its parts."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tod.configurations.point import Located


def flat_parts(one: "Located") -> dict[str, Any]:
    """Plain data by part, as ``action.trust_region``; none where nothing has a composition."""
    if one.read is None:
        return {}
    data = one.read.model_dump(mode="json")
    parts = {f"proposal.{name}": value for name, value in data["proposal"].items()}
    parts |= {f"action.{name}": value for name, value in data["action"].items()}
    return parts | {f"auxiliary.{name}": value for name, value in data["auxiliary"].items()}
