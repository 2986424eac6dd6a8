"""The reference: how upstream builds the model of a config, from ppls's options back to PaddleSeg's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppls.mappings.config_rules import OptionRule
from ppls.mappings.maps import Map
from ppls.mappings.patterns import lookup


def upstream_model(map: Map, config: Mapping[str, Any]) -> dict[str, Any]:
    """How upstream builds the model of a config: `class` and `kwargs`.

    Where there are any, `parts` names those of the `kwargs` that are such dictionaries again, backbones, and `allowed`
    the modules that the user allows to be imported beside upstream's.
    """
    hidden = {rule.path for rule in map.options if rule.target_only or _is_fixed(rule, config)}
    options = _without(config, hidden | {optional.option for optional in map.optional if not optional.passed})
    for included in map.includes:
        options[included.option] = upstream_model(included.map, options.get(included.option, {}))
    more: dict[str, Any] = {"parts": [included.option for included in map.includes]} if map.includes else {}
    if map.allowed:
        more["allowed"] = list(map.allowed)
    for name, preset in map.presets.items():
        if map.source_preset and preset.items() <= options.items():
            rest = {key: value for key, value in options.items() if key not in preset}
            return {"class": map.source_preset.replace("<preset>", name), "kwargs": rest, **more}
    return {"class": map.source, "kwargs": dict(options), **more}


def _is_fixed(rule: OptionRule, config: Mapping[str, Any]) -> bool:
    """Whether the option has the value that earlier releases of upstream had fixed."""
    try:
        return rule.unless is not None and bool(lookup(config, rule.path) == rule.unless)
    except KeyError:
        return False


def _without(config: Mapping[str, Any], hidden: set[str], prefix: str = "") -> dict[str, Any]:
    """`config` without the options whose dotted paths are `hidden`."""
    return {
        key: _without(value, hidden, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in config.items()
        if f"{prefix}{key}" not in hidden
    }
