"""What a row of a SkyRL dump was worth: given beside it, from its returns, or its advantage."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tod.formats.reward_columns import explains
from tod.formats.reward_files import Beside
from tod.formats.rows import Rows
from tod.formats.token_rows import Sink


@dataclass
class Worth:
    """The utilities of the rows of one dump, and what is to be said of them.

    Attributes:
        dump: Arrays ``advantages``, ``returns`` and ``values``, [rows, tokens] or None.
        given: Rewards from a file beside the dump, or None.
        rows: Where notes go.
        varied: Whether some row's advantages differ from token to token.
        curved: Whether some row's returns do.
    """

    dump: Any
    given: Beside | None
    rows: Rows
    varied: bool = False
    curved: bool = False

    def utility(self, step: int, row: int, on: Any) -> dict[str, float] | None:
        """All that may be a utility of a row; None where a file beside lacks it."""
        found: dict[str, float] = {}
        if self.given is not None:
            known = self.given.of(step, row)
            if known is None:
                return None
            found |= known
        if self.dump.values is not None and self.dump.returns is not None:
            returns = self.dump.returns[row][on]
            self.curved |= _varies(returns)
            found.setdefault("return", float(returns[0]))
        if self.dump.advantages is not None:
            own = self.dump.advantages[row][on]
            self.varied |= _varies(own)
            found["advantage"] = float(own[-1])
        return found

    def explain(self, sink: Sink, owner: Any, path: Path) -> None:
        """Keep the utilities that mean something, and say what they are."""
        extra = sink.utility.pop("advantage", None)
        returns = sink.utility.pop("return", None)
        if self.given is not None:
            reward = next(iter(sink.utility.values()), [])
            reward = [*reward, *[np.nan] * (sink.count - len(reward))]
            self._check(reward, extra, owner, path)
        elif returns is not None and not self.curved:
            sink.utility["return"] = returns
            self.rows.note(
                "SkyRL drops the rewards before this dump; the critic's returns are one number per "
                "answer (gamma = lambda = 1), so they are the rewards, KL penalties included"
            )
        elif extra is not None and not self.varied:
            sink.utility["advantage"] = extra
            self.rows.extras["stand_in"] = True
            self.rows.note(
                "SkyRL drops the rewards before this dump; `advantage` stands in for them. Within "
                "a context it is the reward shifted and scaled, so eta is per unit of advantage: "
                "tier B at most. --map rewards=FILE brings the rewards themselves"
            )
        elif extra is not None:
            self.rows.note(
                "advantages differ from token to token (a critic): they cannot stand for rewards"
            )

    def _check(self, reward: Any, advantage: Any, owner: Any, path: Path) -> None:
        """Whether the rewards are in the order of the rows, as far as advantages can tell."""
        if advantage is None or self.varied:
            self.rows.note("the order of the rewards cannot be checked: no advantages per answer")
        elif not explains(np.array(reward), np.array(advantage), np.asarray(owner)):
            self.rows.note(
                f"{path.name}: its advantages do not follow the rewards given: another order of "
                "rows, another file, or advantages that are not the centred reward"
            )


def _varies(values: Any) -> bool:
    return bool(np.ptp(values) > 1e-6 * max(1.0, float(np.abs(values).max())))
