"""Trains a checkpoint for a few steps, in float32 and in float64, into files.

Of float64 everything: losses, gradients, parameters and statistics. Of float32, where the kinks of ReLU part single
gradients, the losses and the norm of the whole gradient. The loss is the plain cross entropy of every head, added up,
and the optimiser SGD with momentum and weight decay, both written out here as they are on the other side, so that
nothing but the model can differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from .figures import labels_of
from .forward import Store, to_float64
from .kinds import is_random
from .network import build, load_strictly, outputs_of, read_checkpoint
from .resize import Resizes

Record = dict[str, Any]


def train(job: Mapping[str, Any], folder: Path) -> Record:
    """Runs the job's `steps`, a list of `{"images": file, "labels": file}`; labels are int64 (N, H, W).

    Returns for each step, in both types, the loss of each head and the norm of the gradient; for the first and the last
    step in float64 also the gradients before, the parameters and the statistics after the update.
    """
    arrays = read_checkpoint(job)
    paddle.set_default_dtype("float32")
    model = build(job["model"])
    load_strictly(model, arrays, job["may_be_missing"], job["may_be_unexpected"])
    del arrays
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    float32 = [record for record, _ in _steps(model, job, folder, "float32")]
    for name, tensor in model.state_dict().items():
        tensor.set_value(before[name])
    to_float64(model)
    store = Store(folder, "training")
    float64 = []
    for number, (record, gradients) in enumerate(_steps(model, job, folder, "float64")):
        state = model.state_dict()
        keep = number in (0, len(job["steps"]) - 1)
        record["gradients"] = {name: store.put(array) for name, array in gradients.items() if keep}
        record["state"] = {name: store.put(tensor.numpy()) for name, tensor in state.items() if keep}
        float64.append(record)
    return {"steps": float64, "float32": float32}


def _steps(model: Any, job: Mapping[str, Any], folder: Path, dtype: str) -> Any:
    """Each step's losses and norm, and the gradients that its update used."""
    model.train()
    for layer in model.sublayers():
        if is_random(layer):  # random: the two sides would drop different values
            layer.eval()
    velocities: dict[str, Any] = {}
    resizes = Resizes(recompute=dtype == "float64")
    for batch in job["steps"]:
        with resizes.watched(model, None):
            losses = _backward(model, folder, batch, dtype)
        gradients = {
            name: parameter.grad.numpy() for name, parameter in model.named_parameters() if parameter.grad is not None
        }
        _update(model, velocities, job)
        squares = (float(np.square(array, dtype="float64").sum()) for array in gradients.values())
        yield {"losses": losses, "gradient_norm": sum(squares) ** 0.5}, gradients


def _backward(model: Any, folder: Path, batch: Mapping[str, str], dtype: str) -> list[float]:
    """The loss of each head; the gradients of their sum are left in the parameters."""
    images = paddle.to_tensor(np.load(folder / batch["images"]).astype(dtype))
    labels = np.load(folder / batch["labels"])
    losses = []
    for logits in outputs_of(model(images)):
        wanted = labels_of(labels, logits.shape)
        if logits.shape[1] == 1:  # a boundary: there or not
            logits = paddle.concat([paddle.zeros_like(logits), logits], axis=1)
        chosen = np.eye(logits.shape[1], dtype=dtype)[wanted].transpose(0, 3, 1, 2)
        log_probability = paddle.nn.functional.log_softmax(logits, axis=1)
        losses.append(-(log_probability * paddle.to_tensor(chosen)).sum() / wanted.size)
    sum(losses[1:], losses[0]).backward()
    return [float(loss) for loss in losses]


def _update(model: Any, velocities: dict[str, Any], job: Mapping[str, Any]) -> None:
    """v = momentum * v + gradient + weight_decay * p; p -= rate * v. A parameter without a gradient stays."""
    with paddle.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.grad is None or parameter.stop_gradient:
                continue
            gradient = parameter.grad + job["weight_decay"] * parameter
            velocity = gradient if name not in velocities else job["momentum"] * velocities[name] + gradient
            velocities[name] = velocity.detach()
            parameter.set_value(parameter - job["rate"] * velocity)
            parameter.clear_gradient(set_to_zero=False)
