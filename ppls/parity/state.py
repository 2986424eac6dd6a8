"""What a run may change beside its result, put back after use: buffers, modes, counters, generators of numbers."""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ppls.parity.global_state import global_state_kept

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
        with global_state_kept():
            yield
    finally:
        for owner, training in modes:
            owner.training = training
        for owner, attributes in plain:
            vars(owner).update(attributes)
        for owner, name, tensor, values in buffers:
            if getattr(owner, name, None) is not tensor:
                setattr(owner, name, tensor)
            with torch.inference_mode(tensor.is_inference()), torch.no_grad():  # made in a run, in that mode
                tensor.copy_(values)


def copied(module: nn.Module) -> nn.Module | None:
    """A copy of a module; None where it cannot be copied.

    Functions that were put on a module or among its hooks, and hold parts of it, hold the copy's: `copy.deepcopy` alone
    shares them.
    """
    copies: dict[int, Any] = {}
    try:
        other = copy.deepcopy(module, copies)
        shared = {id(function) for holder in _holders(module) for function in holder.values()}
        for holder in _holders(other):  # one that makes its functions anew when it is copied has its own
            for name, value in list(holder.items()):
                if isinstance(value, types.FunctionType) and id(value) in shared:
                    holder[name] = _of_copies(value, copies)
    except Exception:  # of a parametrized or a compiled layer, among others
        return None
    return other


def _holders(module: nn.Module) -> Iterator[dict[Any, Any]]:
    """What holds functions of a module: its attributes, and its hooks among them."""
    for part in module.modules():
        yield vars(part)
        yield from [value for value in vars(part).values() if isinstance(value, dict)]


def _of_copies(function: types.FunctionType, copies: dict[int, Any]) -> types.FunctionType:
    """The same function, which holds copies: in its closure, and as defaults."""
    if id(function) in copies:
        return copies[id(function)]  # type: ignore[no-any-return]
    held = function.__closure__ or ()
    cells = tuple(types.CellType() for _ in held)
    made = types.FunctionType(function.__code__, function.__globals__, function.__name__, None, cells or None)
    copies[id(function)] = made
    for cell, old in zip(cells, held, strict=True):
        try:
            content = old.cell_contents
        except ValueError:  # nothing yet
            continue
        cell.cell_contents = _copy_of(content, copies)
    made.__defaults__ = _copy_of(function.__defaults__, copies)
    made.__kwdefaults__ = _copy_of(function.__kwdefaults__, copies)
    made.__dict__.update(function.__dict__)
    return made


_HOLDING = (nn.Module, torch.Tensor, types.MethodType, functools.partial, list, tuple, dict)


def _copy_of(content: Any, copies: dict[int, Any]) -> Any:
    if isinstance(content, types.FunctionType):
        return _of_copies(content, copies)
    return copy.deepcopy(content, copies) if isinstance(content, _HOLDING) else content


@contextmanager
def working_copy(module: nn.Module) -> Iterator[nn.Module]:
    """A copy of a module, to be changed at will.

    Where one cannot be made (weight_norm and pruning leave tensors that torch refuses to copy) it is the module itself,
    whose state, parameters and attributes are put back after.
    """
    other = copied(module)
    if other is not None:
        yield other
        return
    with _attributes_kept(module), state_kept(module), _parameters_kept(module):
        yield module


@contextmanager
def _attributes_kept(module: nn.Module) -> Iterator[None]:
    """What is set on a module, its parts, tensors and hooks among them, is then what it was."""
    kept = [
        (part, {name: copy.copy(value) if isinstance(value, dict) else value for name, value in vars(part).items()})
        for part in module.modules()
    ]
    try:
        yield
    finally:
        for part, attributes in kept:
            vars(part).clear()
            vars(part).update(attributes)


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
