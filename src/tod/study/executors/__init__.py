"""Many tasks at once: in processes of this machine, on Ray, or by submitit (also Slurm).

``On.parse("ray", (), at_once=4).executor(folder)`` is an executor, and ``carry_out`` does tasks
with it: each in one worker at a time, told as it goes on. A task whose worker is lost is handed out
again, a bounded number of times; what a lost worker still says is not heard.
"""

from tod.study.executors.carry_out import TRIES, carry_out
from tod.study.executors.on import KINDS, On
from tod.study.executors.tally import Tally, TaskRow
from tod.study.executors.task import Attempt, Executor, ExecutorTask, Failure, News, Tell, Work

__all__ = [
    "KINDS",
    "TRIES",
    "Attempt",
    "Executor",
    "ExecutorTask",
    "Failure",
    "News",
    "On",
    "Tally",
    "TaskRow",
    "Tell",
    "Work",
    "carry_out",
]
