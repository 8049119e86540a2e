"""A study so small that it is run in tests."""

from typing import Any


def study(**changes: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "recipe": {
            "target": {"kind": "verifier", "eta": 5.0, "utility": "correct"},
            "operator": {
                "proposal": {"prompts": 4, "size": 4, "max_new_tokens": 16},
                "action": {"kind": "weighted_regression", "weights": "target", "centred": True},
            },
            "train": {"steps": 2},
            "evaluate": {"held_out_prompts": 8, "samples_per_prompt": 2, "start": False},
        },
        "tasks": {
            "countdown": {
                "models": {"base": "tod://tiny", "teacher": "tod://tiny-teacher"},
                "set": {"task": {"kind": "countdown"}},
            }
        },
        "operators": {
            "centred": {},
            "raw": {"operator.action.centred": False},
            "again": {"seed_offset": 100},
        },
        "conditions": [
            {"name": "η 1", "set": {"eta": 1.0}},
            {"name": "η 2, teacher", "set": {"eta": 2.0, "anchors.teacher": "{teacher}"}},
        ],
        "seeds": [0, 1, 2],
        **changes,
    }
