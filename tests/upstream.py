"""Runs upstream's own code in a process of its own: `python tests/upstream.py JOBS.json FOLDER`.

Each job builds a model of paddleseg, fills it with weights that depend on the seed alone, saves it with `paddle.save`
and records what it computes: `FOLDER/<name>.pdparams` and `FOLDER/<name>.npz` with `input`, `eval`, `train_<i>` and the
running statistics after the train step (`after.<tensor>`), with every dropout and DropPath off. A job with `float64`
runs eval mode in both precisions (`eval`, `eval_float64`) and train mode in double. `paddleseg` names a folder with
that package to use in place of the installed one. A job with `layer` instead runs one BatchNorm2D, one with `call` a
layer or function of Paddle by its name, in float64: `input`, `output`, `gradient` of the output's weighed sum, weights.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def resolve(path):
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def build(spec):
    kwargs = {
        key: build(value) if isinstance(value, dict) and "class" in value else value
        for key, value in spec["kwargs"].items()
    }
    return resolve(spec["class"])(**kwargs)


def fill(model, seed):
    import numpy as np

    random = np.random.RandomState(seed)
    for name, tensor in model.state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith("_scale"):
            continue
        if name.endswith("_variance"):
            value = random.rand(*shape) + 0.5
        elif len(shape) >= 2:
            value = random.randn(*shape) * (2.0 / np.prod(shape[1:])) ** 0.5
        elif name.endswith("weight"):
            value = random.rand(*shape) * 0.5 + 0.5
        else:
            value = random.randn(*shape) * 0.1
        tensor.set_value(value.astype("float32"))


def run_model(job, folder):
    import numpy as np

    if job.get("paddleseg"):
        from ppls.parity.reference.operators import replace_operators

        replace_operators(Path(job["paddleseg"]))
        sys.path.insert(0, job["paddleseg"])
    import paddle

    model = build(job["model"])
    fill(model, job["seed"])
    paddle.save(model.state_dict(), str(folder / f"{job['name']}.pdparams"))
    image = np.random.RandomState(job["seed"] + 1).randn(*job["shape"]).astype("float32")
    record = {"input": image}
    with paddle.no_grad():
        model.eval()
        record["eval"] = model(paddle.to_tensor(image))[0].numpy()
        if job.get("float64"):
            model.to(dtype="float64")
            paddle.set_default_dtype("float64")
            image = image.astype("float64")
            record["eval_float64"] = model(paddle.to_tensor(image))[0].numpy()
        model.train()
        for layer in model.sublayers():
            if "Drop" in type(layer).__name__:
                layer.eval()
        for i, output in enumerate(model(paddle.to_tensor(image))):
            record[f"train_{i}"] = output.numpy()
    for name, tensor in model.state_dict().items():
        if name.endswith(("_mean", "_variance")):
            record[f"after.{name}"] = tensor.numpy()
    paddle.set_default_dtype("float32")
    np.savez(folder / f"{job['name']}.npz", **record)


def run_batch_norm(job, folder):
    import numpy as np
    import paddle

    paddle.set_default_dtype("float64")
    random = np.random.RandomState(0)
    shape = job["shape"]
    layer = paddle.nn.BatchNorm2D(shape[1], epsilon=job["epsilon"], momentum=job["momentum"])
    record = {}
    for name, tensor in layer.state_dict().items():
        tensor.set_value(random.rand(shape[1]) + 0.5)
        record[name] = tensor.numpy()
    image = paddle.to_tensor(random.randn(*shape), stop_gradient=False)
    layer.train()
    output = layer(image)
    seed = random.randn(*shape)
    output.backward(paddle.to_tensor(seed))
    record.update(
        input=image.numpy(),
        seed=seed,
        output=output.numpy(),
        input_gradient=image.grad.numpy(),
        weight_gradient=layer.weight.grad.numpy(),
        bias_gradient=layer.bias.grad.numpy(),
        mean_after=layer._mean.numpy(),
        variance_after=layer._variance.numpy(),
    )
    layer.eval()
    record["eval"] = layer(image).numpy()
    paddle.set_default_dtype("float32")
    np.savez(folder / f"{job['name']}.npz", **record)


def run_call(job, folder):
    """`call` names what is called on the input, `kwargs` its options; a class is built with them first."""
    import numpy as np
    import paddle

    paddle.set_default_dtype("float64")
    random = np.random.RandomState(0)
    function = resolve(job["call"])
    record = {}
    if isinstance(function, type):
        function = function(**job["kwargs"])
        function.eval()
        for name, tensor in function.state_dict().items():
            tensor.set_value(random.rand(*tensor.shape) + 0.5)
            record[f"weights.{name}"] = tensor.numpy()
        options = {}
    else:
        options = job["kwargs"]
    image = paddle.to_tensor(random.randn(*job["shape"]) * job.get("scale", 1.0), stop_gradient=False)
    output = function(image, **options)
    seed = random.randn(*output.shape)
    output.backward(paddle.to_tensor(seed))
    record.update(input=image.numpy(), output=output.numpy(), seed=seed, gradient=image.grad.numpy())
    paddle.set_default_dtype("float32")
    np.savez(folder / f"{job['name']}.npz", **record)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    jobs, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    for job in jobs:
        (run_model if "model" in job else run_call if "call" in job else run_batch_norm)(job, folder)
