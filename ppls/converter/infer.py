"""The config of a checkpoint: revealed by its tensors, given, as published, or PaddleSeg's default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppls.converter.presets import told_by_presets
from ppls.errors import ConversionError
from ppls.mappings.backbone_options import own_recipes, recipe_options
from ppls.mappings.config_rules import Given, Inferred, OptionRule, infer_config, put
from ppls.mappings.maps import Map
from ppls.mappings.patterns import lookup
from ppls.mappings.program_facts import Program
from ppls.mappings.readings import Unseen
from ppls.mappings.shapes import Refused, Shapes


def infer_model_config(
    map: Map,
    shapes: Mapping[str, tuple[int, ...]],
    given: Mapping[str, Given],
    *,
    published: bool = True,
    program: Program | None = None,
) -> Inferred:
    """The config of a checkpoint of `map`'s architecture with tensors of these shapes.

    What neither tensors nor user tell, nor the program of an export, is as in the published recipe that is closest;
    with `published=False` (the run's own config is given, and says where it differs) it is as PaddleSeg's class has it
    by default.

    Raises:
        ConversionError: the tensors are of a variant that ppls does not support.
    """
    recipes = {name: recipe_options(map, recipe) for name, recipe in own_recipes(map).items()}
    optional = {
        option: any(optional.kept and optional.pattern.match_within(name) for optional in modules for name in shapes)
        for option, modules in map.optional_modules.items()
    }
    try:
        told = told_by_presets(map, shapes, given, optional)
        recipe = _closest(told.rules, Shapes(shapes), recipes)
        values = recipes[recipe] if recipe else {}
        assumed = told.values | values
        result = infer_config(told.rules, Shapes(shapes), given, assumed, assumed if published else None, program)
    except Refused as reason:
        raise ConversionError(f"{map.title}: {reason}") from None
    result.config = _seen(result.config)
    result.problems += told.problems
    result.guessed |= bool(told.problems)
    if not published:
        result.by_default, result.assumed = result.assumed, {}
    elif values.keys() & result.assumed.keys():
        result.recipe = recipe
    for option, there in optional.items():
        user = given.get(option)
        if user is not None and not isinstance(user.value, bool):
            result.problems.append(f"{option}: {user.origin} says {user.value!r}; expected true or false")
        put(result.config, option, there if user is None else bool(user.value))
    return result


def _seen(value: Any) -> Any:
    """The same, its numbers plain ones: the recipe is chosen, and which of them no tensor shows matters no more."""
    if isinstance(value, dict):
        return {key: _seen(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_seen(item) for item in value]
    return int(value) if isinstance(value, Unseen) else value


def _closest(rules: Sequence[OptionRule], shapes: Shapes, recipes: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The published recipe that contradicts the fewest of the options that the tensors reveal, the first of several."""
    revealed = [rule for rule in rules if rule.revealed]
    config = infer_config(revealed, shapes, {}, {}).config
    contradictions = {}
    for name, recipe in recipes.items():
        wrong = 0
        for rule in revealed:
            try:
                wrong += rule.path in recipe and rule.reading.conflict(lookup(config, rule.path), recipe[rule.path])
            except KeyError:  # not revealed by these tensors
                continue
        contradictions[name] = wrong
    return min(contradictions, key=lambda name: contradictions[name], default=None)
