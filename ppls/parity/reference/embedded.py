"""Builds the embedded default: a PaddleSeg model with weights that make it a strong witness, saved as a checkpoint.

PaddleSeg's own initialisation will not do: it draws STDC's convolutions with a standard deviation of 0.001, so that a
whole BatchNorm reset to identity moves the output by 2e-7, and starts the gates of attentions at 0, so that the
attentions are not there at all. So every tensor is drawn, whatever layer it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from .figures import root_mean_square
from .kinds import has_statistics
from .network import build, run_all_heads

# With as many BatchNorms as this a random network is chaotic: each, with its ReLU, enlarges what came before by about a
# fifth, rounding too. Biases that keep most ReLUs open keep that down. A PReLU is always open: with a slope of about 1,
# for after a few of 0.25, as upstream starts them, residuals have nothing left below 0.
MANY = 50
OPEN = 1.0
LEAST_VARIANCE = 1e-2  # a BatchNorm that divides by less would amplify the rounding of float32
LEAST_BIAS = 2e-3  # of what its layer gives: a fault in a smaller one does not show
BIAS = 0.1  # of what its layer gives, in place of a smaller one
LEAST_SCALE = 0.1  # what starts below it (gates at 0, scales of layers at 1e-6) hides what it scales
SPREAD = 0.2  # standard deviation of biases and of what else is no matrix
GATE = 0.25  # the exponent of a sigmoid: of strong noise it is hundreds of times as large, and its gate a step
IN_EXPONENT = 0.01  # of what upstream starts below 0: it weighs distances, sums over channels, in a softmax


def build_checkpoint(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Writes the job's `checkpoint`: the model of the job, weights from its `seed`, statistics from its `crops`.

    `crops` is a file of inputs (N, 3, H, W), float32, normalised as the model expects; `classifiers` holds
    regular expressions of the names of the layers that give the logits, `constants` of the tensors that stay as they
    are, since the model of the other side has them built in; `exponents` of layers whose outputs, multiplied with each
    other, are the exponents of a softmax.
    """
    paddle.set_default_dtype("float32")
    paddle.seed(job["seed"])  # a tensor that upstream spreads widely keeps that spread
    model = build(job["model"])
    draw_weights(model, np.random.default_rng(job["seed"]), job["constants"])
    run_all_heads(model)
    crops = paddle.to_tensor(np.load(folder / job["crops"]))
    with paddle.no_grad():
        calibrate(model, job["classifiers"], job["exponents"], crops)
    paddle.save(model.state_dict(), job["checkpoint"])
    return {}


def draw_weights(model: Any, rng: np.random.Generator, constants: Sequence[str] = ()) -> None:
    """Draws every tensor that a checkpoint holds, but for statistics, which are measured, and integers, which index."""
    layers = model.sublayers(include_self=True)
    leaky = any(isinstance(layer, paddle.nn.PReLU) for layer in layers)
    open_by = OPEN if sum(map(has_statistics, layers)) > MANY and not leaky else 0.0
    drawn = {id(tensor) for layer in layers if has_statistics(layer) for tensor in (layer._mean, layer._variance)}
    saved = {
        id(tensor)
        for name, tensor in model.state_dict().items()
        if not any(re.fullmatch(pattern, name) for pattern in constants)
    }
    for layer in layers:
        for name, tensor in [*layer._parameters.items(), *layer._buffers.items()]:
            if id(tensor) not in saved or id(tensor) in drawn:
                continue
            drawn.add(id(tensor))
            start = tensor.numpy()
            if isinstance(layer, paddle.nn.PReLU):
                start = np.ones_like(start)
            if start.dtype.kind == "f":
                shift = open_by if name == "bias" and has_statistics(layer) else 0.0
                tensor.set_value((_drawn(start, rng) + shift).astype(start.dtype))


def _drawn(start: Any, rng: np.random.Generator) -> Any:
    """Other values for a tensor: what it does is told by its shape and by what upstream starts it at."""
    first = float(start.flat[0])
    if (start == first).all() and (start.size == 1 or first != 0.0):  # a scale, or a gate
        return (first if abs(first) >= LEAST_SCALE else 1.0) * rng.uniform(0.5, 1.5, start.shape)
    if start.ndim == 1 and (start < 0).all():
        return IN_EXPONENT * rng.uniform(start.min(), 0.0, start.shape)
    if start.ndim < 2 or not start.any():  # a bias, or an embedding that is learned from nothing
        return rng.normal(start.mean(), max(SPREAD, float(start.std())), start.shape)
    fan_in = start.shape[0] if start.ndim == 2 else np.prod(start.shape[1:])  # a Linear's weight is (in, out)
    return rng.normal(0.0, max(np.sqrt(2.0 / fan_in), float(start.std())), start.shape)


def calibrate(model: Any, classifiers: list[str], exponents: list[str], crops: Any) -> None:
    """Sets every BatchNorm's statistics to those of its own input, in one pass: each after the ones before it.

    In the same pass biases that would be lost are enlarged, and each classifier is scaled so that its logits have a
    root mean square of 1, and the factors of each exponent so that the exponent has: larger ones make of a softmax a
    choice of one, which rounding may tip.
    """
    handles = [layer.register_forward_pre_hook(_set_statistics) for layer in model.sublayers() if has_statistics(layer)]
    convolutions = [layer for layer in model.sublayers() if isinstance(layer, paddle.nn.Conv2D)]
    handles += [layer.register_forward_post_hook(_turned) for layer in convolutions]
    weighted = (paddle.nn.Conv1D, paddle.nn.Conv2D, paddle.nn.Linear)
    biased = [layer for layer in model.sublayers() if isinstance(layer, weighted) and layer.bias is not None]
    handles += [layer.register_forward_post_hook(_with_a_bias_that_shows) for layer in biased]
    for patterns, scale in ((classifiers, _scale_logits), (exponents, _scale_factor)):
        handles += [
            layer.register_forward_post_hook(scale)
            for name, layer in model.named_sublayers()
            if any(re.fullmatch(pattern, name) for pattern in patterns)
        ]
    model(crops)
    for handle in handles:
        handle.remove()


def _set_statistics(layer: Any, inputs: Any) -> None:
    values = inputs[0].numpy().astype("float64")
    axes = tuple(axis for axis in range(values.ndim) if axis != 1)
    layer._mean.set_value(values.mean(axis=axes).astype("float32"))
    layer._variance.set_value(np.maximum(values.var(axis=axes), LEAST_VARIANCE).astype("float32"))


def _turned(layer: Any, inputs: Any, output: Any) -> Any:
    """The output of a layer on a single pixel, the other way round where few images have a channel above 0.

    With as few channels as a squeeze may have that happens; a ReLU behind it is shut then, and hides what comes after.
    """
    if output.shape[2:] != [1, 1] or (output.numpy().max(axis=(1, 2, 3)) > 0.0).mean() > 0.5:
        return output
    for tensor in (layer.weight, layer.bias):
        if tensor is not None:
            tensor.set_value(-tensor)
    return -output


def _with_a_bias_that_shows(layer: Any, inputs: Any, output: Any) -> Any:
    """The output of a layer, whose bias is enlarged where it would be lost: sums over all pixels are thousands."""
    size, own = root_mean_square(output.numpy()), root_mean_square(layer.bias.numpy())
    if not 0.0 < own < LEAST_BIAS * size:
        return output
    layer.bias.set_value(layer.bias * (BIAS * size / own))
    return layer.forward(*inputs)


def _scale_logits(layer: Any, inputs: Any, logits: Any) -> Any:
    return _scaled(layer, logits, 1.0)


def _scale_factor(layer: Any, inputs: Any, factor: Any) -> Any:
    if has_statistics(layer):
        return _scaled(layer, factor, GATE)
    channels = factor.shape[-1 if isinstance(layer, paddle.nn.Linear) else 1]  # the product is a sum over them
    return _scaled(layer, factor, channels**-0.25)


def _scaled(layer: Any, output: Any, size: float) -> Any:
    """A layer's output, made to have this root mean square, and the layer to give it."""
    scale = root_mean_square(output.numpy()) / size
    for tensor in (layer.weight, layer.bias):
        if tensor is not None:
            tensor.set_value(tensor / scale)
    return output / scale
