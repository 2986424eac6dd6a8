"""What a run may change beside its result, put back after use: buffers, modes, counters, generators of numbers."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

_PLAIN = (bool, int, float, str, type(None))


@contextmanager
def state_kept(module: nn.Module) -> Iterator[None]:
    """Whatever the block runs, buffers, modes and plain attributes of `module` are then as they were, generators too.

    Attributes that hold more than a number or a word (a cache, a list) are left alone.
    """
    buffers: list[tuple[nn.Module, str, torch.Tensor, torch.Tensor]] = [
        (owner, name, tensor, tensor.detach().clone())
        for owner in module.modules()
        for name, tensor in owner.named_buffers(recurse=False)
    ]
    plain = [
        (owner, {name: value for name, value in vars(owner).items() if isinstance(value, _PLAIN)})
        for owner in module.modules()
    ]
    modes = [(owner, owner.training) for owner in module.modules() if hasattr(owner, "training")]
    try:
        with generators_kept():
            yield
    finally:
        for owner, training in modes:
            owner.training = training
        for owner, attributes in plain:
            vars(owner).update(attributes)
        for owner, name, tensor, values in buffers:
            if getattr(owner, name, None) is not tensor:
                setattr(owner, name, tensor)
            with torch.no_grad():
                tensor.copy_(values)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Whatever the block draws, torch, numpy and Python then draw what they would have drawn before it."""
    of_torch, of_numpy, of_python = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(of_torch)
        np.random.set_state(of_numpy)
        random.setstate(of_python)


@contextmanager
def working_copy(module: nn.Module) -> Iterator[nn.Module]:
    """A copy of a module, to be changed at will.

    Where one cannot be made (weight_norm and pruning leave tensors that torch refuses to copy) it is the module itself,
    whose state and parameters are put back after.
    """
    try:
        copied = copy.deepcopy(module)
    except Exception:
        with state_kept(module), _parameters_kept(module):
            yield module
    else:
        yield copied


@contextmanager
def _parameters_kept(module: nn.Module) -> Iterator[None]:
    saved: list[tuple[nn.Parameter, Any, Any, Any]] = [
        (parameter, parameter.data, parameter.data.clone(), parameter.grad) for parameter in module.parameters()
    ]
    try:
        yield
    finally:
        for parameter, data, values, gradient in saved:
            data.copy_(values)
            parameter.grad = None  # of another type perhaps
            parameter.data = data
            parameter.grad = gradient
