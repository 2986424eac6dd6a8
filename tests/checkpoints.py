"""Checkpoints made from others: what a test changes in one, written as `paddle.save` writes a state dict."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

import ppls


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint, to be changed."""
    return {name: np.array(array) for name, array in ppls.read(path).items()}


def save(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Writes what `paddle.save(layer.state_dict())` writes: a pickled dictionary with the name table."""
    table = {name: f"param_{i}" for i, name in enumerate(arrays)}
    path.write_bytes(pickle.dumps({**arrays, "StructuredToParameterName@@": table}, protocol=4))
    return path
