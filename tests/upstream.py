"""Runs upstream's own code in a process of its own: `python tests/upstream.py JOBS.json FOLDER`.

Each job builds a model of paddleseg, fills it with weights that depend on the seed alone, saves it with `paddle.save`
and records what it computes: `FOLDER/<name>.pdparams` and `FOLDER/<name>.npz` with `input`, `eval`, `train_<i>` and the
running statistics and other buffers after the train step (`after.<tensor>`), with every dropout and DropPath off. A job
with `float64` runs eval mode in both precisions (`eval`, `eval_float64`) and train mode in double, where a resize whose
ratio float32 does not hold is recomputed, as `ppls-verify --float64` has it; `exact` says whether every one of them
could be; `exponents` are regular expressions of layers that are drawn small. A job with `export` is exported as well,
as `FOLDER/<name>/model.json` or, under `FLAGS_enable_pir_api=0`, `.pdmodel`; with `count_padding`, its average pools
count what they pad with, which no option of upstream's says. One with `layer` instead runs one BatchNorm2D, one with
`call` a layer or function of Paddle by its name, in float64: `input`, `output`, `gradient` of the output's weighed sum,
weights.

Jobs that name `paddleseg`, a folder with that package, use it in place of the installed one. A job with `may_be_absent`
leaves `FOLDER/<name>.absent` where upstream has no class of that name. Every model is built in a process of its own,
since some of upstream's layers give their parameters names that one process may have once, but Paddle is imported once.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path


class AbsentError(Exception):
    """Upstream has no class of this name."""


def resolve(path):
    module, name = path.rsplit(".", 1)
    try:
        return getattr(importlib.import_module(module), name)
    except (AttributeError, ModuleNotFoundError):
        raise AbsentError(path) from None


def build(spec):
    kwargs = {
        key: build(value) if isinstance(value, dict) and "class" in value else value
        for key, value in spec["kwargs"].items()
    }
    return resolve(spec["class"])(**kwargs)


SMALL = 0.1  # what a softmax is made of: large, it is a choice of one, which rounding may tip


def fill(model, seed, exponents=()):
    import numpy as np

    random = np.random.default_rng(seed)
    for name, tensor in model.state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith("_scale") or not tensor.is_floating_point():
            continue
        if name.endswith("_variance"):
            value = random.random(shape, dtype=np.float32) + 0.5
        elif len(shape) >= 2:
            value = random.standard_normal(shape, dtype=np.float32) * (2.0 / np.prod(shape[1:])) ** 0.5
        elif name.endswith("weight"):
            value = random.random(shape, dtype=np.float32) * 0.5 + 0.5
        else:
            value = random.standard_normal(shape, dtype=np.float32) * 0.1
        small = any(re.fullmatch(layer, name.rpartition(".")[0]) for layer in exponents)
        tensor.set_value((value * SMALL if small else value).astype("float32"))


def run_model(job, folder):
    import numpy as np
    import paddle

    from ppls.parity.reference.draws import replayed
    from ppls.parity.reference.structure import places

    model = build(job["model"])
    fill(model, job["seed"], job.get("exponents", ()))
    paddle.save(model.state_dict(), str(folder / f"{job['name']}.pdparams"))
    if job.get("export"):
        export(model, folder / job["name"] / "model", job.get("count_padding", False))
    image = np.random.RandomState(job["seed"] + 1).randn(*job["shape"]).astype("float32")
    record = {"input": image}
    watched = nullcontext()
    with paddle.no_grad():
        model.eval()
        record["eval"] = first_of(model(paddle.to_tensor(image))).numpy()
        if job.get("float64"):
            from ppls.parity.reference.resize import Resizes

            model.to(dtype="float64")
            paddle.set_default_dtype("float64")
            image = image.astype("float64")
            resizes = Resizes(recompute=True)
            watched = resizes.watched(model, None)
        with watched:
            if job.get("float64"):
                record["eval_float64"] = first_of(model(paddle.to_tensor(image))).numpy()
            model.train()
            for layer in model.sublayers():
                if "Drop" in type(layer).__name__:
                    layer.eval()
            with replayed(0):
                results = model(paddle.to_tensor(image))
            for i, (_, output) in enumerate(places(results, paddle.is_tensor)):
                record[f"train_{i}"] = output.numpy()
    if job.get("float64"):
        record["exact"] = resizes.exact
    buffers = {name for name, tensor in model.named_buffers() if tensor.is_floating_point()}
    for name, tensor in model.state_dict().items():
        if name.endswith(("_mean", "_variance")) or name in buffers:
            record[f"after.{name}"] = tensor.numpy()
    np.savez(folder / f"{job['name']}.npz", **record)


def first_of(outputs):
    return first_of(outputs[0]) if isinstance(outputs, (list, tuple)) else outputs


def export(model, path, count_padding):
    import paddle
    from paddleseg.models import layers

    layers.UAFM.check = nothing  # it asserts, in words that the older of the two forms does not have
    model.eval()
    if count_padding:
        for layer in model.sublayers():
            if isinstance(layer, paddle.nn.AvgPool2D):
                layer.exclusive = False
    paddle.jit.save(model, str(path), input_spec=[paddle.static.InputSpec([-1, 3, -1, -1], "float32")])
    model.train()


def nothing(self, *inputs):
    pass


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


def use_paddleseg(checkout):
    """Imports upstream: that of a folder in place of the installed one where one is named."""
    from ppls.parity.reference.operators import adapt_paddle, replace_operators

    adapt_paddle()
    if checkout:
        replace_operators(Path(checkout))
        sys.path.insert(0, checkout)
    importlib.import_module("paddleseg.models")


def run_apart(job, folder):
    """Does the job in a process of its own, forked from this one; returns its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        run_model(job, folder)
        status = 0
    except AbsentError as absent:
        if job.get("may_be_absent"):
            (folder / f"{job['name']}.absent").write_text(str(absent))
            status = 0
        else:
            traceback.print_exc()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    jobs, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    use_paddleseg(*{job.get("paddleseg") for job in jobs})
    for job in jobs:
        if "model" in job:
            if run_apart(job, folder):
                sys.exit(f"the job {job['name']} failed")
        else:
            (run_call if "call" in job else run_batch_norm)(job, folder)
