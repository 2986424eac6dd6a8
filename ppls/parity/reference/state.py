"""What a run leaves behind in a model, and in the generators of random numbers, and how it is undone."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle


@contextmanager
def state_kept(model: Any) -> Iterator[None]:
    """Whatever the block does to the model's modes, buffers and attributes, and draws: all is as it was before, after.

    In training mode a forward may update buffers, in place or by putting others in their place, and count its calls.
    What an optimiser would train no forward changes: it is not copied.
    """
    layers = model.sublayers(include_self=True)
    attributes = [(vars(layer), dict(vars(layer))) for layer in layers]
    held = [value for layer in layers for value in vars(layer).values() if isinstance(value, (dict, list, set))]
    contents = [(value, copy.copy(value)) for value in held]  # Paddle holds tensors and hooks in such
    values = [
        (tensor, tensor.numpy().copy())
        for layer in layers
        for tensor in [*layer._buffers.values(), *layer._parameters.values()]
        if tensor is not None and tensor.stop_gradient
    ]
    generators = random.getstate(), np.random.get_state(), paddle.get_rng_state()
    try:
        yield
    finally:
        for now, before in [*attributes, *contents]:
            now.clear()
            now.extend(before) if isinstance(now, list) else now.update(before)
        for tensor, value in values:
            tensor.set_value(value)
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        paddle.set_rng_state(generators[2])
