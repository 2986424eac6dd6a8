"""Numerics that no tensor shows: a normalisation's epsilon and momentum, from Paddle's values to a torch module's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ppls.errors import ConversionError

# The kinds of layers that have numerics, as maps call them.
_KINDS: dict[str, type[nn.Module] | tuple[type[nn.Module], ...]] = {
    "batch_norm": (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    "layer_norm": nn.LayerNorm,
    "group_norm": nn.GroupNorm,
}

# Paddle's name of a value: torch's name, and torch's value for it.
_VALUES: dict[str, tuple[str, Callable[[float], float]]] = {
    "epsilon": ("eps", float),
    "momentum": ("momentum", lambda momentum: round(1 - momentum, 12)),  # weight of the old value: of the new one
}
NUMERICS = tuple(attribute for attribute, _ in _VALUES.values())
MOST_NUMERICS = 100  # kinds and patterns: each is held against every module


def kind_of(module: nn.Module | None) -> str | None:
    """What maps call a normalisation's kind; None for any other module."""
    return next((kind for kind, classes in _KINDS.items() if isinstance(module, classes)), None)


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


def numerics_of(model: nn.Module, built: nn.Module, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The numerics of a model: those recorded, where they make one that was `built` like it; else as they are found.

    Raises:
        ConversionError: they are of too many kinds.
    """
    apply_numerics(built, recorded)
    if _by_name(model) == _by_name(built):
        return dict(recorded)
    found: dict[str, Any] = {}
    for kind in _KINDS:
        values = {name: dict(value) for (name, each), value in _by_name(model).items() if each == kind}
        if values:
            (most, _), *_ = Counter(tuple(value.items()) for value in values.values()).most_common()
            found[kind] = dict(most)
            found |= {name: value for name, value in values.items() if value != found[kind]}
    if len(found) > MOST_NUMERICS:
        raise ConversionError(f"the normalisations of this model have {len(found)} different epsilons and momenta")
    return found


def _by_name(model: nn.Module) -> dict[tuple[str, str], tuple[tuple[str, float], ...]]:
    """Of every normalisation, by name and kind, its values in Paddle's terms."""
    return {
        (name.replace("_orig_mod.", ""), kind): tuple(
            (key, convert(getattr(module, attribute)))  # its own inverse
            for key, (attribute, convert) in _VALUES.items()
            if getattr(module, attribute, None) is not None
        )
        for name, module in model.named_modules()
        if (kind := kind_of(module)) is not None
    }
