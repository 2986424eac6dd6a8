"""The torch module to be judged: run as it is, observed layer by layer, and never helped."""

from __future__ import annotations

import importlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ppls.errors import ParityError, UsageError, all_lines
from ppls.imports import CannotImportError, import_named
from ppls.models.float64 import to_float64 as to_float64
from ppls.parity.reference.structure import places

Array = np.ndarray[Any, Any]
ModelCallable = Callable[[Path], nn.Module]


class CandidateError(Exception):
    """Something the candidate did that a correct one does not; the message says what."""


def import_callable(specification: str) -> ModelCallable:
    """Finds `MODULE:CALLABLE`; the working folder is importable.

    Raises `UsageError` where the specification is malformed, `ParityError` where nothing of that name can be imported.
    """
    module_name, separator, attribute = specification.partition(":")
    if not (separator and module_name and attribute):
        raise UsageError(f"--model {specification}: expected MODULE:CALLABLE, for example my_port:build")
    working_folder = os.getcwd()
    if working_folder not in sys.path:
        sys.path.insert(0, working_folder)
    importlib.invalidate_caches()
    try:
        found = import_named(module_name, attribute)
    except CannotImportError as error:
        raise ParityError(f"--model {specification}: cannot be imported:", error.lines) from error.__cause__
    if not callable(found):
        raise UsageError(f"--model {specification}: {attribute} is not callable")
    return found  # type: ignore[no-any-return]


def make_candidate(model: ModelCallable, converted: Path) -> nn.Module:
    """Calls the user's callable with the converted file. Raises `ParityError` where it raises or returns no module."""
    try:
        module = model(converted)
    except (Exception, SystemExit) as error:
        raise ParityError("the candidate could not be made:", all_lines(error)) from error
    if not isinstance(module, nn.Module):
        raise ParityError(f"the candidate is a {type(module).__name__}; --model must return a torch.nn.Module")
    return module


def run(module: nn.Module, array: Array) -> list[Array]:
    """As `run_by_place`: the outputs in order."""
    return list(run_by_place(module, array).values())


def run_by_place(module: nn.Module, array: Array) -> dict[str, Array]:
    """Runs the candidate as it is on one input and returns its outputs, in order, by their places in what it returns.

    Raises `CandidateError` where it raises, returns something else than tensors, or changes its input.
    """
    x = torch.from_numpy(array.copy())
    try:
        with torch.no_grad():
            result = module(x)
        outputs = {place: tensor.detach().cpu() for place, tensor in tensors_by_place(result).items()}
    except CandidateError:
        raise
    except (Exception, SystemExit) as error:
        raise CandidateError(f"raised {type(error).__name__}: {error}") from error
    if not np.array_equal(x.numpy(), array):
        raise CandidateError("changed its input")
    return {place: _to_numpy(tensor) for place, tensor in outputs.items()}


See = Callable[[str, int, list[Array], list[Array]], None]


@contextmanager
def observed(layers: Mapping[str, nn.Module], see: See) -> Iterator[list[str]]:
    """Calls `see(name, call number, inputs, outputs)` after each call of one of the layers, with all their tensors.

    The inputs are copied before the layer runs, since it may change them in place. Yields the names of the layers that
    cannot be observed, TorchScript's.
    """
    counts: dict[str, int] = {}
    waiting: dict[str, list[Array]] = {}
    handles = []
    hidden = []

    def before(name: str, inputs: Any, options: Any) -> None:
        waiting[name] = [_to_numpy(tensor).copy() for tensor in _tensors_in([inputs, options])]

    def after(name: str, result: Any) -> None:
        call = counts.get(name, 0)
        counts[name] = call + 1
        see(name, call, waiting.pop(name, []), [_to_numpy(tensor) for tensor in _tensors_in(result)])

    for name, layer in layers.items():
        try:
            handles.append(
                layer.register_forward_pre_hook(
                    lambda layer, inputs, options, name=name: before(name, inputs, options), with_kwargs=True
                )
            )
            handles.append(layer.register_forward_hook(lambda layer, inputs, result, name=name: after(name, result)))
        except RuntimeError:  # TorchScript calls no hooks
            hidden.append(name)
    try:
        yield hidden
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def counted(layers: Mapping[str, nn.Module]) -> Iterator[Mapping[str, int]]:
    """How often each of some layers is called, by name; those that are never called are left out."""
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        for name, layer in layers.items():
            with suppress(RuntimeError):  # TorchScript calls no hooks
                handle = layer.register_forward_hook(lambda *_, name=name: counts.update([name]))
                stack.callback(handle.remove)
        yield counts


def _tensors_in(nest: Any) -> list[Tensor]:
    """As `tensors_of`, of nests that may hold anything else too."""
    return [leaf for leaf in tree_leaves(nest) if isinstance(leaf, Tensor)]


def tensors_of(result: Any) -> list[Tensor]:
    """The tensors in what a module takes or returns, in order: of a tensor, or of nested lists, tuples and dicts."""
    return list(tensors_by_place(result).values())


def tensors_by_place(result: Any) -> dict[str, Tensor]:
    """The same, each by its place in what the module takes or returns; see `ppls.parity.reference.structure.places`."""
    try:
        return dict(places(result, lambda part: isinstance(part, Tensor)))
    except TypeError as error:
        raise CandidateError(f"returned something of type {error} where tensors are expected") from None


def _to_numpy(tensor: Tensor) -> Array:
    tensor = tensor.detach().cpu()
    if tensor.dtype is torch.bfloat16:  # numpy has no bfloat16: float16 says as much, that it is not float32
        tensor = tensor.to(torch.float16)
    array: Array = tensor.numpy()
    return array
