"""The tasks that a job may name: each takes the job and its folder, and returns what goes into the result."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The module of each here, and the function; it is imported when a job asks for it: some need Paddle alone.
TASKS = {
    "build": ("embedded", "build_checkpoint"),
    "run": ("forward", "run"),
    "train": ("training", "train"),
    "export": ("exported", "run_export"),
    "program": ("exported", "run_program"),
    "open_predictor": ("inference", "open_predictor"),
    "open_export": ("inference", "open_export"),
    "time_predictor": ("inference", "time_predictor"),
    "predict": ("predict", "predict"),
}


def task_called(name: str) -> Callable[[dict[str, Any], Path], dict[str, Any]]:
    """What does a task."""
    if name == "versions":  # which every result has
        return lambda job, folder: {}
    module, function = TASKS[name]
    found: Callable[[dict[str, Any], Path], dict[str, Any]] = getattr(
        importlib.import_module(f".{module}", __package__), function
    )
    return found
