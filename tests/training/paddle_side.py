"""Paddle's side of the tests of training, in a process of its own: `python -m tests.training.paddle_side OUT.npz`."""

from __future__ import annotations

import sys

import numpy as np
import paddle

from tests.training import cases


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


def main():
    found = {}
    for case in cases.OPTIMIZERS:
        for dtype in ("float32", "float64") if case != "clip_each" else ("float32",):  # Paddle has no other
            found.update(run_optimizer(case, dtype))
    for case in cases.SCHEDULES:
        found.update(run_schedule(case))
    np.savez(sys.argv[1], **found)


if __name__ == "__main__":
    main()
