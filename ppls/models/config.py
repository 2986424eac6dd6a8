"""The options that a model as it is would be built with: found by building one, without values, and comparing the two.

A model that was edited after it was built (another classifier, fewer heads, a mode that was set) is no longer what its
constructor was given. Each difference suggests a value for an option that has the other one; what brings the two
closer is kept.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from ppls.errors import ConversionError
from ppls.models.backbone import backbone_config, build_backbone
from ppls.models.building import without_values
from ppls.models.numerics import NUMERICS, kind_of
from ppls.shown import shown

_MOST_LINES = 20
_MOST_EDITS = 8  # options that are not what they were: each costs a few models without values
_COMPILED = "_orig_mod"  # what torch.compile puts between a module and its parts
_OF_TRAINING = ("p", "rate")  # of dropouts and stochastic depth: few models have an option for them


class NoConfigError(ConversionError, AttributeError):
    """No options build a model. Of a property, `hasattr` takes nothing but an AttributeError for an answer."""


@dataclass(frozen=True)
class Difference:
    """Something that a model has otherwise than one that was built: None where one lacks it."""

    place: str
    found: Any
    built: Any

    def __str__(self) -> str:
        return f"{self.place}: {shown(self.found, 80)}; built anew: {shown(self.built, 80)}"


def options_of(model: nn.Module) -> dict[str, Any]:
    """What the constructor was given, with its defaults, as JSON has it; modules as they are.

    Where the backbone is one of ppls's, it is given by its class and all its options, however it was named.
    """
    options: dict[str, Any] = json.loads(json.dumps(getattr(model, "_hub_mixin_config", None) or {}))
    backbone = getattr(model, "backbone", None)
    if "backbone" in options and isinstance(backbone, nn.Module):
        backbone = uncompiled(backbone)
        known = backbone_config(backbone)
        if known is not None:
            options["backbone"] = json.loads(json.dumps(known))
        elif type(without_values(build_backbone, {"backbone": options["backbone"]})) is not type(backbone):
            options["backbone"] = backbone
    return options


def config_of(model: nn.Module) -> dict[str, Any]:
    """The options with which the model's class builds a model like it, the numerics of its norms left out.

    Raises:
        ConversionError: there are none: the model has parts that its class does not build. All are listed.
    """
    return found_config(model)[0]


def found_config(model: nn.Module) -> tuple[dict[str, Any], list[Difference]]:
    """The same, and the rates of dropouts that a model built so would not have. Raises what `config_of` does."""
    options = options_of(model)
    left = _differences(model, options)
    for _ in range(_MOST_EDITS):
        tried = [_with(options, path, value) for path, value in _suggested(options, left)]
        results = [(differences, each) for each in tried if (differences := _if_built(model, each)) is not None]
        best, changed = min(results, key=lambda result: len(result[0]), default=(left, options))
        if len(best) >= len(left):
            break
        left, options = best, changed
    others = [difference for difference in left if difference.place.rpartition(".")[2] not in _OF_TRAINING]
    if others:
        more = [f"and {len(others) - _MOST_LINES} more"] if len(others) > _MOST_LINES else []
        raise NoConfigError(
            f"no options of {type(model).__name__} build this model, so no file brings it back; its own parts are:",
            [*map(str, others[:_MOST_LINES]), *more],
        )
    return options, left


def uncompiled(module: nn.Module) -> nn.Module:
    """A module as it was before `torch.compile`."""
    inner: nn.Module = module._modules.get(_COMPILED) or module
    return inner


def own_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict by the names that a model has that is not compiled."""
    return {name.replace(f"{_COMPILED}.", ""): value for name, value in state.items()}


def _if_built(model: nn.Module, options: Mapping[str, Any]) -> list[Difference] | None:
    try:
        return _differences(model, options)
    except Exception:  # a constructor raises what it likes when its options are wrong
        return None


def _differences(model: nn.Module, options: Mapping[str, Any]) -> list[Difference]:
    built = without_values(type(model), options)
    found, expected = (
        {name: list(tensor.shape) for name, tensor in own_names(each.state_dict()).items()} for each in (model, built)
    )
    shapes = [
        Difference(name, found.get(name), expected.get(name))
        for name in dict.fromkeys([*expected, *found])
        if found.get(name) != expected.get(name)
    ]
    return shapes + _of_modules(_parts(model), _parts(built))


def _of_modules(found: Mapping[str, nn.Module], built: Mapping[str, nn.Module]) -> list[Difference]:
    differences = []
    for path in dict.fromkeys([*built, *found]):
        ours, theirs = found.get(path), built.get(path)
        if ours is theirs:  # a module of the user's own, which was handed over
            continue
        kinds = [None if module is None else kind_of(module) or type(module).__qualname__ for module in (ours, theirs)]
        if kinds[0] != kinds[1]:
            differences.append(Difference(path, *kinds))
        elif kinds[0] is not None:
            mine, other = (dict(_settings(module)) for module in (ours, theirs))
            differences += [
                Difference(f"{path}.{key}".removeprefix("."), mine.get(key), other.get(key))
                for key in other
                if mine.get(key) != other[key]
            ]
    return differences


def _parts(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of a model by name, what compiling wraps them in left out."""
    return {
        ".".join(part for part in name.split(".") if part != _COMPILED): uncompiled(module)
        for name, module in model.named_modules()
        if uncompiled(module) is module
    }


def _settings(module: nn.Module | None) -> Iterator[tuple[str, Any]]:
    """What decides, beside its tensors and parts, what a module computes."""
    for key, value in vars(module).items():
        if not key.startswith("_") and key != "training" and not (key in NUMERICS and kind_of(module)):
            plain = _plain(value)
            if plain is not NotImplemented:
                yield key, plain


def _plain(value: Any) -> Any:
    """A value as it can be compared; NotImplemented for what is no setting."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return NotImplemented if any(item is NotImplemented for item in items) else items
    if isinstance(value, set | frozenset):
        return _plain(sorted(value))
    if isinstance(value, partial):  # a copy of one is not equal to it
        return ["partial", value.func, _plain(value.args), sorted(value.keywords.items())]
    return value if callable(value) and not isinstance(value, nn.Module) else NotImplemented


def _suggested(options: Mapping[str, Any], differences: list[Difference]) -> list[tuple[str, Any]]:
    """Values to try, by dotted path: where an option has what the built model has, what the other one has there."""
    pairs: list[tuple[Any, Any]] = []
    for difference in differences:
        pairs.append((difference.built, difference.found))
        if isinstance(difference.built, list) and isinstance(difference.found, list):
            pairs += zip(difference.built, difference.found, strict=False)
    lacks = any(difference.built is None or difference.found is None for difference in differences)
    found: dict[str, tuple[str, Any]] = {}
    for path, current in _flat(options):
        values = [new for old, new in pairs if _alike(old, current) and new != current]
        if isinstance(current, bool) and lacks:
            values.append(not current)
        found |= {f"{path}={value!r}": (path, value) for value in values if value is not None}
    return list(found.values())


def _alike(setting: Any, option: Any) -> bool:
    """Whether a setting may be what the option was; the rates of stochastic depth are rounded to float32."""
    if type(setting) is not type(option):
        return False
    return math.isclose(setting, option, rel_tol=1e-7) if isinstance(option, float) else bool(setting == option)


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _with(options: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    *parents, last = path.split(".")
    changed = {key: copy.deepcopy(item) if isinstance(item, dict) else item for key, item in options.items()}
    inner = changed
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return changed
