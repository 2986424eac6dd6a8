"""The tasks that a job may name: each takes the job and its folder, and returns what goes into the result."""

from __future__ import annotations

from .embedded import build_checkpoint
from .exported import run_export
from .forward import run
from .inference import open_predictor, time_predictor
from .predict import predict
from .training import train

TASKS = {
    "versions": lambda job, folder: {},  # which every result has
    "build": build_checkpoint,
    "run": run,
    "train": train,
    "export": run_export,
    "open_predictor": open_predictor,
    "time_predictor": time_predictor,
    "predict": predict,
}
