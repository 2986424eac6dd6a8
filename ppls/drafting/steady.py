"""A module run so that the same input gives the same output: nothing random, normalisations in eval mode."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ppls.drafting.units import units_of

_aten = torch.ops.aten


class _NothingRandom(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dropouts keep everything, and a draw of what is kept gives its mean, by which torch's own code divides."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _aten.native_dropout.default:
            return args[0].clone(), torch.ones_like(args[0], dtype=torch.bool)
        if func is _aten.bernoulli_.float:
            return args[0].fill_(args[1])
        return func(*args, **(kwargs or {}))


@contextmanager
def steady(model: nn.Module, training: bool) -> Iterator[None]:
    """Within, the model is in eval mode, or in train mode as far as that decides which layers run.

    Afterwards its modes and buffers are what they were.
    """
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.train(training)
    for unit in units_of(model):
        if unit.kind.endswith("norm"):
            unit.module.training = False
    for module in modes:
        if isinstance(module, nn.modules.dropout._DropoutNd) or "drop" in type(module).__name__.lower():
            module.training = False
    try:
        with (
            warnings.catch_warnings(),
            torch.no_grad(),
            torch.random.fork_rng(devices=[]),
            _NothingRandom(),  # type: ignore[no-untyped-call]
        ):
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def tensors_in(nest: Any) -> list[Tensor]:
    """All tensors in what a module takes or returns."""
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(nest) if isinstance(leaf, Tensor)]
