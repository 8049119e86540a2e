"""TRL, live: what the trainer holds in memory, examined, written and logged while it trains.

from tod.live.trl import instrument
trainer = GRPOTrainer(...)
instrument(trainer)
"""

from tod.live.trl.callback import TodCallback, instrument

__all__ = ["TodCallback", "instrument"]
