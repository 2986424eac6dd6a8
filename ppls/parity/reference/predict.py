"""PaddleSeg's own predict.py, from image files to the pictures of what it predicts."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddleseg import transforms

from .network import build, load_strictly, read_checkpoint

upstream = importlib.import_module("paddleseg.core.predict")  # of that name the package has the function
_models: dict[str, Any] = {}  # by the checkpoint's digest


def predict(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The seconds of one pass over the job's images, whose pictures are written into the folder."""
    if job["sha256"] not in _models:
        model = build(job["model"])
        load_strictly(model, read_checkpoint(job), job["may_be_missing"], job["may_be_unexpected"])
        _models[job["sha256"]] = model
    upstream.utils.utils.load_entire_model = lambda model, path: None  # it has its weights
    steps = [{**step} for step in job["steps"]]
    prepare = transforms.Compose([getattr(transforms, step.pop("type"))(**step) for step in steps])
    begin = time.perf_counter()
    upstream.predict(_models[job["sha256"]], "", prepare, list(job["images"]), None, str(folder / "predicted"))
    return {"seconds": [time.perf_counter() - begin]}
