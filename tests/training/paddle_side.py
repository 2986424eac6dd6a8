"""Paddle's side of the tests of training, in a process of its own: `python -m tests.training.paddle_side OUT.npz`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paddle
from paddleseg.utils import init_ema_params, update_ema_model

from ppls.parity.reference.operators import adapt_paddle
from tests.training import cases
from tests.training.data import paddle_side as data_side


def run_optimizer(case, dtype):
    kind, options, in_groups = cases.OPTIMIZERS[case]
    start = cases.start(dtype)
    parameters = {}
    for name, array in start.items():
        parameters[name] = paddle.create_parameter(list(array.shape), dtype)
        parameters[name].set_value(array)
    given = list(parameters.values())
    if in_groups:
        given = [
            {
                "params": [parameters[name] for name in names],
                **{{"lr_mult": "learning_rate"}.get(key, key): value for key, value in more.items()},
            }
            for names, more in cases.grouped(parameters, options.get("weight_decay"))
        ]
    clip = cases.clip_of(case)
    if clip:
        options = {**options, "grad_clip": getattr(paddle.nn, clip[0])(**clip[1])}
    optimizer = getattr(paddle.optimizer, kind)(learning_rate=0.01, parameters=given, **options)
    for step in range(cases.STEPS):
        optimizer.set_lr(cases.rate(step))
        loss = paddle.zeros([], dtype)
        for name, gradient in cases.gradients(step, dtype).items():
            loss = loss + (parameters[name] * paddle.to_tensor(gradient)).sum()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    found = {f"optimizer/{case}/{dtype}/{name}": parameter.numpy() for name, parameter in parameters.items()}
    names = {parameter.name: name for name, parameter in parameters.items()}
    for kind, accumulators in optimizer._accumulators.items():
        for variable, tensor in accumulators.items():
            found[f"optimizer/{case}/{dtype}/{names[variable]}/{kind}"] = tensor.numpy()
    return found


def run_schedule(case):
    kind, options, warmup = cases.SCHEDULES[case]
    schedule = getattr(paddle.optimizer.lr, kind)(**options)
    if warmup:
        schedule = paddle.optimizer.lr.LinearWarmup(
            learning_rate=schedule, warmup_steps=warmup[0], start_lr=warmup[1], end_lr=0.1
        )
    rates = []
    for _ in range(cases.RUN):
        rates.append(schedule())
        schedule.step()
    state = schedule.state_dict()
    return {f"schedule/{case}": np.array(rates), f"schedule_state/{case}": np.array(repr(state))}


def allow_mixed_types():
    """Paddle 3 refuses `float * int`, classes that are floats, float32 beside float64: all that PaddleSeg asks for."""
    for name in ("__mul__", "__rmul__", "__add__", "__radd__", "__sub__", "__rsub__"):
        setattr(paddle.Tensor, name, _in_the_others_type(getattr(paddle.Tensor, name)))
    one_hot = paddle.nn.functional.one_hot
    paddle.nn.functional.one_hot = lambda x, num_classes: one_hot(x.astype("int64"), num_classes)
    convolution = paddle.nn.functional.conv2d
    paddle.nn.functional.conv2d = lambda x, weight, *rest, **options: convolution(
        x, weight.astype(x.dtype), *rest, **options
    )
    cross_entropy = paddle.nn.functional.binary_cross_entropy_with_logits

    def in_the_logits_type(logit, *others, **options):
        others = [other.astype(logit.dtype) for other in others]
        options = {
            name: option.astype(logit.dtype) if isinstance(option, paddle.Tensor) else option
            for name, option in options.items()
        }
        return cross_entropy(logit, *others, **options)

    paddle.nn.functional.binary_cross_entropy_with_logits = in_the_logits_type


def _in_the_others_type(operator):
    def run(one, other):
        if isinstance(other, paddle.Tensor):
            if one.is_floating_point() and not other.is_floating_point():
                other = other.astype(one.dtype)
            elif other.is_floating_point() and not one.is_floating_point():
                one = one.astype(other.dtype)
            elif other.dtype == paddle.bool:
                other = other.astype(one.dtype)
        return operator(one, other)

    return run


def build_loss(kind, options):
    from paddleseg.cvlibs import manager

    options = dict(options)
    if kind == "MixedLoss":
        options["losses"] = [build_loss(*inner) for inner in options["losses"]]
    loss = manager.LOSSES[kind](**options)
    if kind == "DetailAggregateLoss":
        loss.fuse_kernel.set_value(np.array(cases.FUSE_KERNEL, "float32").reshape(1, 3, 1, 1))
    return loss


def run_average(dtype):
    paddle.set_default_dtype(dtype)
    model, average = (paddle.nn.Sequential(paddle.nn.Conv2D(2, 3, 1), paddle.nn.BatchNorm2D(3)) for _ in range(2))
    paddle.set_default_dtype("float32")
    found = {}
    for iteration in cases.ITERATIONS:
        arrays = [paddle.to_tensor(array) for array in cases.averaged(iteration, dtype).values()]
        model.set_state_dict(dict(zip(model.state_dict(), arrays, strict=True)))
        if iteration:
            update_ema_model(average, model, step=iteration)
        else:
            init_ema_params(average, model)
        for name, tensor in zip(cases.AVERAGED, average.state_dict().values(), strict=True):
            found[f"average/{dtype}/{iteration}/{name}"] = tensor.numpy()
    return found


def run_loss(case):
    kind, options, given = cases.LOSSES[case]
    arrays, labels = cases.given(given)
    logits = [paddle.to_tensor(array, stop_gradient=False) for array in arrays]
    labels = paddle.to_tensor(labels)
    loss = build_loss(kind, options)
    paddle.rand = lambda shape: paddle.to_tensor(cases.uniform(shape))
    paddle.randperm = lambda count: paddle.arange(count - 1, -1, -1)
    if given == "embedded":
        value = loss({"seg": logits[0], "embed": logits[1]}, labels.astype("float32"))
    elif given.startswith("two_logits"):
        value = loss(*logits, *([labels] if given.endswith("labels") else []))
    else:
        value = loss(logits if given in ("with_edges", "at_points") else logits[0], labels)
    values = value if isinstance(value, list) else [value]
    paddle.add_n(values).backward()
    found = {f"loss/{case}/value": np.array([float(value) for value in values])}
    for place, tensor in enumerate(logits):
        if tensor.grad is not None:
            found[f"loss/{case}/gradient/{place}"] = tensor.grad.numpy()
    found[f"loss/{case}/labels"] = labels.numpy()
    return found


def main():
    found = data_side.results(Path(sys.argv[1]).parent)
    for case in cases.OPTIMIZERS:
        for dtype in ("float32", "float64") if case != "clip_each" else ("float32",):  # Paddle has no other
            found.update(run_optimizer(case, dtype))
    for case in cases.SCHEDULES:
        found.update(run_schedule(case))
    for dtype in ("float32", "float64"):
        found.update(run_average(dtype))
    adapt_paddle()
    allow_mixed_types()
    for case in cases.LOSSES:
        try:
            found.update(run_loss(case))
        except Exception as error:
            raise RuntimeError(case) from error
    np.savez(sys.argv[1], **found)


if __name__ == "__main__":
    main()
