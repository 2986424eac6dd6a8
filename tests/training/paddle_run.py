"""PaddleSeg goes on with a run, in float64, on batches that were recorded: in a process of its own.

`python -m tests.training.paddle_run CONFIG ITER_N BATCHES.npz STEPS OUT.npz` writes the losses of each step, and the
model's tensors and the velocities after the last by their structured names.
"""

from __future__ import annotations

import sys

import numpy as np
import paddle
from paddleseg.core.train import loss_computation
from paddleseg.cvlibs import Config, SegBuilder

from ppls.parity.reference.forward import to_float64
from ppls.parity.reference.operators import adapt_paddle
from tests.training.paddle_side import allow_mixed_types


def main(config, folder, recorded, steps, out):
    adapt_paddle()
    allow_mixed_types()
    paddle.set_device("cpu")
    builder = SegBuilder(Config(config))
    model = builder.model
    to_float64(model)
    optimizer = builder.optimizer  # made after that, its velocities are wide too
    weights, state = (paddle.load(f"{folder}/model.{ending}") for ending in ("pdparams", "pdopt"))
    model.set_state_dict({name: tensor.astype("float64") for name, tensor in weights.items()})
    schedule = state.pop("LR_Scheduler")
    velocities = {name: tensor.astype("float64") for name, tensor in state.items()}
    optimizer.set_state_dict(velocities | {"LR_Scheduler": schedule})
    model.train()
    losses = []
    with np.load(recorded) as batches:
        images, labels = batches["images"], batches["labels"]
    for image, label in zip(images[: int(steps)], labels[: int(steps)], strict=True):
        image = (image.astype("float32") / 255 - 0.5) / 0.5
        logits = model(paddle.to_tensor(image.astype("float64")))
        found = loss_computation(logits, paddle.to_tensor(label.astype("int64")), None, builder.loss)
        sum(found).backward()
        optimizer.step()
        optimizer._learning_rate.step()
        model.clear_gradients()
        losses.append([float(loss) for loss in found])
    tensors = {f"model/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    names = {tensor.name: name for name, tensor in model.state_dict().items()}
    velocities = optimizer._accumulators["velocity"].items()
    tensors |= {f"velocity/{names[variable]}": tensor.numpy() for variable, tensor in velocities}
    np.savez(out, losses=np.array(losses), **tensors)


if __name__ == "__main__":
    main(*sys.argv[1:])
