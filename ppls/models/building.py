"""A model is built only after it is known to have the very tensors of its file, whatever the file's config says."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from ppls.completeness import differences
from ppls.errors import CheckpointError, first_line
from ppls.shown import shown

Shape = tuple[int, ...]

# Numbers of layers, widths, sizes: a number larger than this and than every side of a tensor only makes work.
_LARGEST_NUMBER = 16_384
_MODULES_PER_TENSOR, _FREE_MODULES = 2, 100  # PaddleSeg's models have fewer modules than tensors
_MOST_LINES = 20
MOST_MODULES = 10_000  # of a model; the largest of PaddleSeg's has some two thousand


def build_to_fit(
    build: Callable[..., nn.Module], config: Mapping[str, Any], shapes: Mapping[str, Shape], where: str
) -> nn.Module:
    """The model of a config, if its tensors have these names and shapes; they are to be filled, and have no values yet.

    Args:
        build: makes the model: a class.
        config: its options, which may come from anywhere.
        shapes: the shape of every tensor that the model is to have, by name.
        where: the file, for messages.

    Raises:
        CheckpointError: no model can be built with this config, or one of other tensors.
    """
    largest = max((side for shape in shapes.values() for side in shape), default=0)
    try:
        if any(abs(number) > max(largest, _LARGEST_NUMBER) for number in _whole_numbers(config)):
            raise ValueError("a number that is larger than every side of its tensors")
        model = without_values(build, config, most_modules=_MODULES_PER_TENSOR * len(shapes) + _FREE_MODULES)
    except Exception as error:  # a constructor raises what it likes when its options are wrong
        name = getattr(build, "__name__", "model")
        raise CheckpointError(
            f"{where}: no {name} of its {len(shapes)} tensors can be built with {shown(dict(config))}: "
            f"{first_line(error)}"
        ) from None
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if problems := differences(expected, shapes):
        more = [f"and {len(problems) - _MOST_LINES} more"] if len(problems) > _MOST_LINES else []
        raise CheckpointError(f"{where}: the weights do not fit the model:", [*problems[:_MOST_LINES], *more])
    return build(**config) if _keeps_others(model) else model


def tensors_of(build: Callable[..., nn.Module], config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the model that a config describes.

    Raises:
        ValueError: it has more modules than any model. Whatever the class raises.
    """
    return {name: tuple(tensor.shape) for name, tensor in without_values(build, config).state_dict().items()}


def without_values(
    build: Callable[..., nn.Module], config: Mapping[str, Any], *, most_modules: int = MOST_MODULES
) -> nn.Module:
    """The model that a config describes, on the meta device: its tensors have shapes, and take no memory.

    Raises:
        ValueError: it has more modules than that. Whatever the class raises.
    """
    count = 0

    def counted(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > most_modules:
            raise ValueError(f"more than {most_modules:,} layers")

    handle = register_module_module_registration_hook(counted)
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")  # of sizes of 0: what is wrong with them is said where they do not fit
            return build(**config)
    finally:
        handle.remove()


def _keeps_others(model: nn.Module) -> bool:
    """Whether a model has tensors that no state dict fills: those of its own making."""
    filled = {id(tensor) for tensor in model.state_dict(keep_vars=True).values()}
    return any(
        isinstance(value, Tensor) and value.is_meta and id(value) not in filled
        for module in model.modules()
        for value in (*module._parameters.values(), *module._buffers.values(), *vars(module).values())
    )


def _whole_numbers(value: object) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _whole_numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _whole_numbers(item)
