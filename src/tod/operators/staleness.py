"""How stale μ may become: when the current policy is copied into it."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tod.base import Spec, SpecError

Count = Annotated[int, Field(ge=1)]


class LinearRefresh(Spec):
    """Intervals between copies that change linearly with the step, rounded, then stay."""

    kind: Literal["linear"] = "linear"
    first: Count
    """Steps between copies at the start."""
    last: Count
    """Steps between copies from step ``over`` on."""
    over: Count
    """Steps over which it changes."""

    def interval(self, step: int) -> int:
        """Steps until the copy after the one that is made before ``step`` (from 1)."""
        done = min(1.0, (step - 1) / self.over)
        return round(self.first + done * (self.last - self.first))


def _readable(value: Any) -> Any:
    """One complaint in the place of one by every form there is."""
    if isinstance(value, dict):
        try:
            return LinearRefresh.parse(value)
        except SpecError as error:
            raise ValueError(str(error).replace("\n", " ")) from None
    listed = isinstance(value, list | tuple)
    for number in value if listed else () if value is None else (value,):
        whole = isinstance(number, int) and not isinstance(number, bool) and number >= 1
        if not (whole or isinstance(number, LinearRefresh)):
            raise ValueError(
                f"refresh is a whole number of steps from 1 on, a list of such intervals, "
                f"`{{kind: linear, first: 1, last: 8, over: 60}}` or null, not {value!r}"
            )
    if listed and not value:
        raise ValueError("refresh is an empty list: null never refreshes")
    return tuple(value) if listed else value


Refresh = Annotated[Count | tuple[Count, ...] | LinearRefresh | None, BeforeValidator(_readable)]
"""Steps between copies of the policy into μ: one number; a list of intervals, the last of which
stays; a linear change; None: never."""


def due(refresh: int | tuple[int, ...] | LinearRefresh | None, step: int) -> bool:
    """Whether the policy is copied into μ before ``step`` (from 1, where μ always is the policy).

    It follows from the step alone, so that a resumed run refreshes as an uninterrupted one.
    """
    if refresh is None:
        return False
    if isinstance(refresh, int):
        return (step - 1) % refresh == 0
    at, number = 1, 0
    while at < step:
        if isinstance(refresh, LinearRefresh):
            at += refresh.interval(at)
        else:
            at += refresh[min(number, len(refresh) - 1)]
        number += 1
    return at == step
