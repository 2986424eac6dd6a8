"""Builds the embedded default: a PaddleSeg model with weights that make it a strong witness, saved as a checkpoint.

PaddleSeg's own initialisation will not do: it draws STDC's convolutions with a standard deviation of 0.001, and a whole
BatchNorm reset to identity then moves the output by 2e-7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from .kinds import has_statistics
from .network import build, outputs_of, run_all_heads

# With as many BatchNorms as this a random network is chaotic: each, with its ReLU, enlarges what came before by about a
# fifth, rounding too. Biases that keep most ReLUs open keep that down.
MANY = 60
OPEN = 1.0
LEAST_VARIANCE = 1e-2  # a BatchNorm that divides by less would amplify the rounding of float32


def build_checkpoint(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Writes the job's `checkpoint`: the model of the job, weights from its `seed`, statistics from its `crops`.

    `crops` is a file of inputs (N, 3, H, W), float32, normalised as the model expects; `classifiers` holds
    regular expressions of the names of the layers that give the logits, in the order of the heads.
    """
    paddle.set_default_dtype("float32")
    model = build(job["model"])
    _draw_weights(model, np.random.default_rng(job["seed"]))
    run_all_heads(model)
    crops = paddle.to_tensor(np.load(folder / job["crops"]))
    with paddle.no_grad():
        logits = _calibrate(model, crops)
        _scale_logits(model, job["classifiers"], logits)
    paddle.save(model.state_dict(), job["checkpoint"])
    return {}


def _draw_weights(model: Any, rng: np.random.Generator) -> None:
    normalisations = sum(has_statistics(layer) for layer in model.sublayers())
    bias = OPEN if normalisations > MANY else 0.0
    for _, layer in model.named_sublayers():
        kind = type(layer).__name__
        if "Norm" in kind:
            layer.weight.set_value(rng.uniform(0.5, 1.5, layer.weight.shape).astype("float32"))
            layer.bias.set_value(rng.normal(bias, 0.2, layer.bias.shape).astype("float32"))
        elif any(part in kind for part in ("Conv", "Linear")) and hasattr(layer, "weight"):
            shape = layer.weight.shape
            fan_in = int(shape[0] if "Linear" in kind else np.prod(shape[1:]))  # a Linear's weight is (in, out)
            layer.weight.set_value(rng.normal(0.0, np.sqrt(2.0 / fan_in), layer.weight.shape).astype("float32"))
            if getattr(layer, "bias", None) is not None:
                layer.bias.set_value(rng.normal(0.0, 0.1, layer.bias.shape).astype("float32"))


def _calibrate(model: Any, crops: Any) -> list[Any]:
    """Sets every BatchNorm's statistics to those of its own input, in one pass: each after the ones before it."""
    handles = []
    for layer in model.sublayers():
        if has_statistics(layer):
            handles.append(layer.register_forward_pre_hook(_set_statistics))
    logits = [tensor.numpy() for tensor in outputs_of(model(crops))]
    for handle in handles:
        handle.remove()
    return logits


def _set_statistics(layer: Any, inputs: Any) -> None:
    values = inputs[0].numpy().astype("float64")
    layer._mean.set_value(values.mean(axis=(0, 2, 3)).astype("float32"))
    layer._variance.set_value(np.maximum(values.var(axis=(0, 2, 3)), LEAST_VARIANCE).astype("float32"))


def _scale_logits(model: Any, classifiers: list[str], logits: list[Any]) -> None:
    """Scales each classifier so that its logits have a root mean square of 1."""
    layers = dict(model.named_sublayers())
    names = [name for pattern in classifiers for name in layers if re.fullmatch(pattern, name)]
    for index, name in enumerate(names):
        weight = layers[name].weight
        weight.set_value(
            (weight.numpy() / np.sqrt(np.mean(np.square(logits[index], dtype="float64")))).astype("float32")
        )
