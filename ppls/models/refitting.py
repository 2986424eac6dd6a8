"""Weights for a model of other classes, channels or heads of training: what does not fit is drawn anew, and said."""

from __future__ import annotations

import inspect
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ppls.errors import UsageError, first_line
from ppls.models.building import build_to_fit, without_values
from ppls.models.initialization import drawn
from ppls.shown import listed, shown

HEADS_OF_TRAINING = ("auxiliary_heads", "enable_auxiliary_loss")
# Options that a file's weights need not have been made with.
FITTED = ("num_classes", "in_channels", *HEADS_OF_TRAINING)
_MOST = 1 << 16  # classes, channels


def refit(
    build: Callable[..., nn.Module],
    config: Mapping[str, Any],
    wanted: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    where: str,
) -> tuple[nn.Module, dict[str, torch.Tensor], list[str]]:
    """The model of a config in which the `wanted` options are others, to be filled, and what to fill it with.

    Args:
        build: makes the model: a class.
        config: with which the tensors fit.
        wanted: of `FITTED`.
        tensors: of a file.
        where: the file, for messages.

    Returns:
        The model, its tensors, and the names of those that were drawn, as PaddleSeg would; a warning says which they
        are, and which of the file's are not used.

    Raises:
        CheckpointError: the tensors do not fit the config. UsageError: the model has no such option, or of that value.
    """
    build_to_fit(build, config, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, where)
    changed = with_options(build, config, wanted)
    try:
        model = without_values(build, changed)
    except Exception as error:  # a constructor raises what it likes when its options are wrong
        name = getattr(build, "__name__", "model")
        raise UsageError(f"{where}: no {name} with {shown(dict(wanted))} can be built: {first_line(error)}") from None
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    anew = [name for name, shape in shapes.items() if name not in tensors or tensors[name].shape != shape]
    unused = [name for name in tensors if name not in shapes]
    types = [tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()]
    common = max(types, key=types.count, default=torch.float32)
    filled = {
        name: drawn(model, name, tensors[name].dtype if name in tensors else common) if name in anew else tensors[name]
        for name in shapes
    }
    asked = ", ".join(f"{option}={shown(value)}" for option, value in wanted.items())
    for names, what in ((anew, "drawn anew"), (unused, "left out")):
        if names:
            warnings.warn(f"{where}: with {asked} these are {what}: {listed(names, 16)}", stacklevel=4)
    return build_to_fit(build, changed, shapes, where), filled, anew


def with_options(
    build: Callable[..., nn.Module], config: Mapping[str, Any], wanted: Mapping[str, Any]
) -> dict[str, Any]:
    """A config with some of `FITTED` in it, the channels of the image where the model has them: it or its backbone.

    Raises:
        UsageError: the model has no such option, or it cannot have this value.
    """
    known = inspect.signature(build.__init__ if isinstance(build, type) else build).parameters  # type: ignore[misc]
    changed = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    for option, value in wanted.items():
        if option in HEADS_OF_TRAINING and not isinstance(value, bool):
            raise UsageError(f"{option} is {shown(repr(value))}; it is True or False")
        if option not in HEADS_OF_TRAINING:
            value = _number(option, value)
        if option in known:
            changed[option] = value
        elif option == "in_channels" and "backbone" in known:
            backbone = changed.get("backbone", known["backbone"].default)
            if isinstance(backbone, nn.Module):
                raise UsageError(f"{option!r} is for the backbone, and that is a module already: build it for {value}")
            changed["backbone"] = {**({"type": backbone} if isinstance(backbone, str) else backbone), option: value}
        else:
            raise UsageError(f"{option!r} is no option of {getattr(build, '__name__', 'this model')}")
    return changed


def wanted_of(options: dict[str, Any]) -> dict[str, Any]:
    """Takes those of `FITTED` from the options of a call; None is as if it had not been given."""
    taken = {key: options.pop(key) for key in FITTED if key in options}
    return {key: value for key, value in taken.items() if value is not None}


def _number(option: str, value: Any) -> int:
    try:
        number = operator.index(value)  # numpy's integers are numbers too
    except TypeError:
        number = 0
    if isinstance(value, bool) or not 1 <= number <= _MOST:
        raise UsageError(f"{option} is {shown(repr(value))}; it is a number from 1 to {_MOST}")
    return number
