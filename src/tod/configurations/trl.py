"""TRL configurations: the configuration class decides which reader takes over."""

from collections.abc import Mapping
from typing import Any

from tod.base import SpecError
from tod.configurations import trl_pairs as _trl_pairs
from tod.configurations import trl_rl as _trl_rl
from tod.configurations.located import Located
from tod.configurations.settings import Settings
from tod.configurations.trl_facts import DEFAULTS, ELSEWHERE, NEUTRAL, OWN, TRAINERS, VERSION

_SUBCOMMANDS = {name.removesuffix("Config").lower(): name for name in DEFAULTS}
_READERS = {
    "GRPOConfig": _trl_rl.grpo,
    "GMPOConfig": _trl_rl.grpo,
    "RLOOConfig": _trl_rl.rloo,
    "DPOConfig": _trl_pairs.dpo,
    "CPOConfig": _trl_pairs.cpo,
    "ORPOConfig": _trl_pairs.orpo,
    "KTOConfig": _trl_pairs.kto,
    "SFTConfig": _trl_pairs.sft,
    "DistillationConfig": _trl_pairs.distillation,
    "GKDConfig": _trl_pairs.gkd,
    "OnlineDPOConfig": _trl_pairs.online_dpo,
}


def locate_trl(values: Mapping[str, Any], method: str | None = None, where: str = "") -> Located:
    """A TRL configuration as a point of the atlas; defaults are those of TRL 1.16.

    Args:
        values: Flat keys of the configuration.
        method: Configuration class, trainer or `trl` subcommand; found by the keys if None.
        where: The file, for messages.

    Raises:
        SpecError: The class is not known, or cannot be told from the keys.
    """
    name = class_of(values, method, where)
    settings = Settings(_cleaned(values), DEFAULTS[name], NEUTRAL)
    return _READERS[name](settings, name, VERSION).located()


def _cleaned(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without private fields and what merely names the class."""
    naming = ("config_class", "trainer", "_class", "class")
    kept = {k: v for k, v in values.items() if not k.startswith("_") and k not in naming}
    cap = kept.pop("vllm_importance_sampling_cap", None)
    return kept if cap is None else {"vllm_importance_sampling_clip_max": cap, **kept}


def class_of(values: Mapping[str, Any], method: str | None, where: str) -> str:
    """The configuration class, from its name or from settings that only it has."""
    if method is None:
        said = (values.get(key) for key in ("config_class", "trainer", "_class", "class"))
        method = next((str(name) for name in said if name), None)
    if method is not None:
        name = TRAINERS.get(method, method)
        name = _SUBCOMMANDS.get(name.lower(), name)
        if name in DEFAULTS:
            return name
        if name in ELSEWHERE:
            raise SpecError(f"{where}: no reader for TRL's {name!r}: {ELSEWHERE[name]}")
        raise SpecError(
            f"{where}: no reader for TRL's {method!r}. Known: {', '.join(sorted(DEFAULTS))}."
        )
    votes = {name: len(own & set(values)) for name, own in OWN.items()}
    best = max(votes.values())
    winners = [name for name, count in votes.items() if count == best]
    if best and len(winners) == 1:
        return winners[0]
    fits = [name for name in DEFAULTS if name in winners or not best]
    raise SpecError(
        f"{where}: TRL settings, but of which method? No setting of it belongs to one class alone "
        f"(could be {', '.join(fits)}). Say so: --method {fits[0].removesuffix('Config').lower()}."
    )
