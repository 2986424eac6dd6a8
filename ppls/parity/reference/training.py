"""Trains a checkpoint for a few steps in float64: losses, gradients, parameters and statistics, into files.

The loss is the plain cross entropy of every head, added up, and the optimiser SGD with momentum and weight decay, both
written out here as they are on the other side, so that nothing but the model can differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from .figures import labels_of
from .forward import Store, to_float64
from .network import build, load_strictly, outputs_of, read_checkpoint
from .resize import Resizes

Record = dict[str, Any]


def train(job: Mapping[str, Any], folder: Path) -> Record:
    """Runs the job's `steps`, a list of `{"images": file, "labels": file}`; labels are int64 (N, H, W).

    Returns whether every resize was by a power of two and, for each step, the loss of each head; for the first and the
    last step also the gradients before, the parameters and the statistics after the update.
    """
    arrays = read_checkpoint(Path(job["checkpoint"]), job["sha256"], job.get("renamed"))
    paddle.set_default_dtype("float64")
    model = build(job["model"])
    to_float64(model)
    load_strictly(model, arrays, job["may_be_missing"], job["may_be_unexpected"])
    del arrays
    _prepare(model)
    store = Store(folder, "training")
    velocities: dict[str, Any] = {}
    steps: list[Record] = []
    resizes = Resizes()
    for number, batch in enumerate(job["steps"]):
        with resizes.watched(model, None):
            losses = _backward(model, folder, batch)
        keep = number in (0, len(job["steps"]) - 1)
        record: Record = {"losses": losses, "gradients": {}, "state": {}}
        if keep:
            record["gradients"] = {
                name: store.put(parameter.grad.numpy())
                for name, parameter in model.named_parameters()
                if parameter.grad is not None
            }
        _update(model, velocities, job)
        if keep:
            record["state"] = {name: store.put(tensor.numpy()) for name, tensor in model.state_dict().items()}
        steps.append(record)
    return {"steps": steps, "dyadic": resizes.dyadic}


def _prepare(model: Any) -> None:
    model.train()
    for layer in model.sublayers():
        if "Drop" in type(layer).__name__:  # random: the two sides would drop different values
            layer.eval()


def _backward(model: Any, folder: Path, batch: Mapping[str, str]) -> list[float]:
    """The loss of each head; the gradients of their sum are left in the parameters."""
    images = paddle.to_tensor(np.load(folder / batch["images"]).astype("float64"))
    labels = np.load(folder / batch["labels"])
    losses = []
    for logits in outputs_of(model(images)):
        wanted = labels_of(labels, logits.shape)
        if logits.shape[1] == 1:  # a boundary: there or not
            logits = paddle.concat([paddle.zeros_like(logits), logits], axis=1)
        chosen = np.eye(logits.shape[1])[wanted].transpose(0, 3, 1, 2)
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
