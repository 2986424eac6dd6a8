"""What upstream code computed that is hard to install: `../shared/golden`, and the checkpoints that it ran."""

from __future__ import annotations

import importlib.util
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ppls
from ppls.parity.candidate import to_float64


def golden_checkpoint(folder: Path, name: str, destination: Path) -> Any:
    """Writes the checkpoint of `golden/<name>.npz` to `destination`; returns what upstream computed with it."""
    specification = importlib.util.spec_from_file_location("golden_weights", folder / "weights.py")
    assert specification is not None
    assert specification.loader is not None
    weights = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(weights)
    record = np.load(folder / f"{name}.npz")
    destination.write_bytes(pickle.dumps(weights.fill(json.loads(str(record["keys"]))), protocol=2))
    return record


def worst_scaled_error(checkpoint: Path, record: Any, dtype: str) -> float:
    """The largest scaled error of ppls's model over all recorded sizes."""
    model: torch.nn.Module = ppls.load(checkpoint)
    if dtype == "float64":
        model = to_float64(model)
    errors = []
    for name in record.files:
        if name.startswith(f"eval_{dtype}_"):
            height, width = map(int, name.split("_")[2].split("x"))
            image = np.random.RandomState(height).randn(1, 3, height, width).astype(dtype)
            with torch.no_grad():
                (logits,) = model(torch.from_numpy(image))
            errors.append(float(np.abs(logits.numpy() - record[name]).max() / np.abs(record[name]).max()))
    assert len(errors) == 2
    return max(errors)
