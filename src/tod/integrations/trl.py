"""Old name of `tod.live.trl`."""

from tod.live.trl import TodCallback as TodCallback
from tod.live.trl import instrument as instrument
