"""Checkpoints made from others: what a test changes in one, written as `paddle.save` writes a state dict."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

import ppls
from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter.expected import expected_shapes, recipe_config
from ppls.converter.translate import translate_back
from ppls.mappings.map_file import architectures

State = dict[str, np.ndarray[Any, Any]]


def state_of(architecture: str, recipe: str) -> State:
    """A checkpoint of a recipe, all zeros but for the constants."""
    map = architectures()[architecture]
    config = recipe_config(map, recipe)
    shapes = expected_shapes(map, config) or {}
    stored = {name: StoredTensor("float32", shape, lambda: np.empty(0)) for name, shape in shapes.items()}
    names = translate_back(stored, map, config).tensors
    return {name: np.full(tensor.shape, name.endswith("_scale"), np.float32) for name, tensor in names.items()}


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint, to be changed."""
    return {name: np.array(array) for name, array in ppls.read(path).items()}


def save(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Writes what `paddle.save(layer.state_dict())` writes: a pickled dictionary with the name table."""
    table = {name: f"param_{i}" for i, name in enumerate(arrays)}
    path.write_bytes(pickle.dumps({**arrays, "StructuredToParameterName@@": table}, protocol=4))
    return path
