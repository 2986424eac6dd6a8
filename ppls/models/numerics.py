"""Numerics that no tensor shows: a normalisation's epsilon and momentum, from Paddle's values to a torch module's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

# The kinds of layers that have numerics, as maps call them.
_KINDS: dict[str, type[nn.Module] | tuple[type[nn.Module], ...]] = {
    "batch_norm": (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    "layer_norm": nn.LayerNorm,
    "group_norm": nn.GroupNorm,
}

# Paddle's name of a value: torch's name, and torch's value for it.
_VALUES: dict[str, tuple[str, Callable[[float], float]]] = {
    "epsilon": ("eps", float),
    "momentum": ("momentum", lambda momentum: round(1 - momentum, 12)),  # weight of the old value: of the new one
}


def apply_numerics(model: nn.Module, numerics: Mapping[str, Mapping[str, float]]) -> None:
    """Sets `numerics` on the modules of `model`, in place.

    Args:
        numerics: values in Paddle's terms (`epsilon`, `momentum`), by the kind of layer (`batch_norm`) or by a pattern
            of module names (`backbone.<i>.norm`); a pattern overrides a kind.
    """
    from ppls.mappings.patterns import Pattern  # here, so that importing the models needs nothing of maps

    patterns = {Pattern.parse(key): values for key, values in numerics.items() if key not in _KINDS}
    for name, module in model.named_modules():
        values: dict[str, Any] = {}
        for kind, classes in _KINDS.items():
            if isinstance(module, classes):
                values.update(numerics.get(kind, {}))
        for pattern, overrides in patterns.items():
            if pattern.match(name) is not None:
                values.update(overrides)
        for key, value in values.items():
            attribute, convert = _VALUES[key]
            setattr(module, attribute, convert(value))
