"""Prompts of a run: what a recipe's ``task:`` block says, as batches addressed by step."""

from tod.engine.data.load import load_task
from tod.engine.data.prompts import fitting_ids, prompt_ids, prompt_text, unknown_message
from tod.engine.data.task import Example, Prompt, Task
from tod.engine.data.task_specs import (
    CountdownTask,
    DatasetsTask,
    JsonlTask,
    ParquetTask,
    ReasoningGymTask,
    TaskSpec,
)

__all__ = [
    "CountdownTask",
    "DatasetsTask",
    "Example",
    "JsonlTask",
    "ParquetTask",
    "Prompt",
    "ReasoningGymTask",
    "Task",
    "TaskSpec",
    "fitting_ids",
    "load_task",
    "prompt_ids",
    "prompt_text",
    "unknown_message",
]
