"""Options that no tensor shows for itself: as the preset says whose model has the shapes of the checkpoint's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any, NoReturn

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter.expected import expected_shapes
from ppls.converter.translate import check_complete, translate_by_rules
from ppls.errors import ConversionError
from ppls.mappings.config_rules import Given, OptionRule, infer_config, put
from ppls.mappings.maps import Included, Map
from ppls.mappings.patterns import prefixed
from ppls.mappings.readings import ByPreset, Fixed, Reading
from ppls.mappings.shapes import Shapes
from ppls.records import dataclass

Shape = tuple[int, ...]


@dataclass
class Told:
    """The rules of a map where the presets have told theirs.

    Attributes:
        rules: in the map's order; those of options that several fitting presets disagree about have a default.
        values: all that the presets say which were taken, by dotted path: assumed where no tensor shows it.
        problems: where no preset fits.
    """

    rules: list[OptionRule]
    values: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def told_by_presets(
    map: Map,
    shapes: Mapping[str, Shape],
    given: Mapping[str, Given],
    optional: Mapping[str, bool] | None = None,
) -> Told:
    """What the presets of a map and of its backbone's tell of a checkpoint with tensors of these shapes.

    Args:
        given: the user's values; of presets with the same shapes, those that agree with them are taken.
        optional: whether the modules are there that may be absent, by their option.

    Raises:
        Refused: the tensors show what is not supported.
    """
    told = Told([*map.options])
    for part in (*map.includes, Included("", map, "", "")):
        if any(isinstance(rule.reading, ByPreset) and rule.reading.option == part.option for rule in told.rules):
            _tell(
                told,
                part,
                shapes,
                given,
                {path: (optional or {}).get(path, True) for path in part.map.optional_modules},
            )
    return told


def _tell(
    told: Told, part: Included, shapes: Mapping[str, Shape], given: Mapping[str, Given], optional: Mapping[str, bool]
) -> None:
    """Puts what the presets of one map say in the place of its open rules."""
    paths = {rule.path for rule in part.map.options}
    rules = [rule for rule in told.rules if rule.path in paths]
    names = [rule.path for rule in rules if isinstance(rule.reading, ByPreset)]
    closed = [replace(rule, reading=Reading()) if rule.path in names else rule for rule in rules]
    users = {path: given[path].value for path in names if path in given}
    others = {path: user for path, user in given.items() if path not in users}
    presets, configs = {}, {}
    for preset, values in part.map.presets.items():
        presets[preset] = {prefixed(name, part.option): value for name, value in values.items()}
        configs[preset] = infer_config(closed, Shapes(shapes), others, {}, presets[preset]).config
        for path, there in optional.items():
            put(configs[preset], path, there)
    differences, why = _differences(part, configs, shapes)
    closest = next(iter(differences or presets))
    fitting = [preset for preset, lines in differences.items() if not lines]
    if not fitting and len(users) < len(names):
        if differences:
            why = f"the tensors are of none of the presets; closest is {closest}, but {differences[closest][0]}"
        told.problems.append(
            f"{' and '.join(names)}: {why}; of what is no preset, give {' and '.join(names)} with --set"
        )
    taken = [presets[preset] for preset in fitting or [closest]]
    taken = [values for values in taken if users.items() <= values.items()] or taken
    told.values |= taken[0]
    for at, rule in enumerate(told.rules):
        if rule.path in names:
            value = taken[0][rule.path]
            alike = bool(fitting) and all(values[rule.path] == value for values in taken)
            told.rules[at] = replace(rule, reading=Fixed(value) if alike else Reading(), default=value)


def _differences(
    part: Included, configs: Mapping[str, dict[str, Any]], shapes: Mapping[str, Shape]
) -> tuple[dict[str, list[str]], str]:
    """How the tensors differ from those of each preset's model, the closest first; and why a preset has no model.

    That is the model of the map that says the facts of the source: a port's may be to one that nobody has here.
    """
    map = part.map if part.map.described is None else part.map.described()
    prefix = f"{part.source}." if part.source else ""
    inside = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    tensors = {name: StoredTensor("float32", shape, _unread) for name, shape in inside.items()}
    translation = translate_by_rules(tensors, map)
    found, why = {}, "told by presets, and the map is to no model that has their shapes"
    apart = {}
    for preset, config in configs.items():
        own = {key: value for key, value in config[part.option].items() if key != "type"} if part.option else config
        try:
            expected = expected_shapes(map, own)
        except ConversionError as error:
            why = str(error)
            continue
        if expected is not None:
            found[preset] = check_complete(translation, expected, map)
            apart[preset] = abs(len(expected) - len(translation.tensors)), len(found[preset])
    return {preset: found[preset] for preset in sorted(found, key=lambda preset: apart[preset])}, why


def _unread() -> NoReturn:
    raise AssertionError("only the shape of this tensor is known")
