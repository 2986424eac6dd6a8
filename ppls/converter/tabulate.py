"""Makes the tables of expected tensors: builds every recipe's model, and others to see what its shapes depend on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter.expected import ANY, SIZE, TABLES, Built, built, shapes_of_model, stored_table
from ppls.converter.infer import infer_model_config
from ppls.converter.translate import translate_back
from ppls.errors import ConversionError
from ppls.mappings.backbone_options import recipe_options
from ppls.mappings.config_rules import put
from ppls.mappings.map_file import architectures, backbones
from ppls.mappings.map_index import on_recipe
from ppls.mappings.maps import Map
from ppls.mappings.patterns import lookup, prefixed
from ppls.mappings.readings import ByPreset


def tabulated() -> list[Map]:
    """The maps that have tables: backbones first that are told by presets, since the architectures lean on them."""
    return [map for map in backbones().values() if _told(map)] + architectures().values()


def generated_table(map: Map) -> list[dict[str, Any]]:
    """What a map's table should hold: the tensors of every recipe, with and without its optional modules.

    So too of every preset, where options are told by them.
    """
    return [_entry(on, config) for on, config in _configs(map)]


def _told(map: Map) -> list[str]:
    """The map's own options that are told by its presets."""
    return [rule.path for rule in map.options if isinstance(rule.reading, ByPreset) and not rule.reading.option]


def _configs(map: Map) -> Iterator[tuple[Map, dict[str, Any]]]:
    """Each with the map on its backbone."""
    presets = map.presets.values() if _told(map) else ()
    recipes = ((on_recipe(map, name), recipe) for name, recipe in map.recipes.items())
    for on, options in (*((map, preset) for preset in presets), *((on, recipe_options(on, r)) for on, r in recipes)):
        for choice in itertools.product([True, False], repeat=len(map.optional_modules)):
            config: dict[str, Any] = {}
            for path, value in (*options.items(), *zip(map.optional_modules, choice, strict=True)):
                put(config, path, value)
            yield on, config


def _entry(map: Map, config: dict[str, Any]) -> dict[str, Any]:
    """The config as a checkpoint's tensors reveal it, without what decides no shape, and the shapes.

    Sides that grow with an option, as with `num_classes`, are formulas.
    """
    shapes = shapes_of_model(map, config)
    targets = {name: StoredTensor("float32", shape, _unread) for name, shape in shapes.items()}
    sources = translate_back(targets, map, config).tensors
    read = infer_model_config(map, {name: tensor.shape for name, tensor in sources.items()}, {}).config
    config = {**read, **{path: config[path] for path in _told(map) if path in config}}  # else by the table before this
    trial = _Trial(map, config)
    slopes = trial.slopes()
    template = _changed(config, {**dict.fromkeys(trial.without_effect(), ANY), **dict.fromkeys(slopes, SIZE)})
    tensors = {
        name: [_formula(name, dim, side, slopes, config) for dim, side in enumerate(shape)]
        for name, shape in shapes.items()
    }
    sides = {name: size for name, size in trial.own.sides._asdict().items() if size > 1}
    return {"config": template, "tensors": tensors, **sides}


Slopes = dict[tuple[str, int], int]  # by tensor and dimension, how much a side grows with an option


class _Trial:
    """Finds which options decide no shape, and which are sizes, by building the model with others."""

    def __init__(self, map: Map, config: dict[str, Any]) -> None:
        self.map, self.config, self.own = map, config, built(map, config)
        self.shapes = self.own.shapes

    def without_effect(self) -> list[str]:
        """The options that no tensor shows, on which no shape depends nor what images the model takes.

        Each item of a list for itself.
        """
        others = {
            path: others
            for rule in self.map.options
            if not rule.revealed
            for path, value in _items(rule.path, lookup(self.config, rule.path))
            if (others := _others(value, rule.one_of))
        }
        if self._are_without_effect(others):
            return list(others)
        return [path for path, values in others.items() if self._are_without_effect({path: values})]

    def _are_without_effect(self, others: Mapping[str, Sequence[Any]]) -> bool:
        """Whether all that stays as it is while these options take their other values, all at once."""
        rounds = range(max(map(len, others.values()), default=0))
        return all(
            self._built({path: values[i % len(values)] for path, values in others.items()}) == self.own for i in rounds
        )

    def slopes(self) -> dict[str, Slopes]:
        """The architecture's own sizes, and the image's channels, that the shapes are linear in together."""
        found: dict[str, Slopes] = {}
        for path in self._sizes():
            if slopes := self._slopes(path):
                found[path] = slopes
        if self._are_linear(found):
            return found
        kept: dict[str, Slopes] = {}
        for path, slopes in found.items():
            if self._are_linear({**kept, path: slopes}):
                kept[path] = slopes
        return kept

    def _sizes(self) -> Iterator[str]:
        for rule in self.map.options:
            is_own = "." not in rule.path or rule.path.endswith(".in_channels")
            if rule.revealed and is_own and not getattr(rule.reading, "index_in", None):
                yield from (
                    path for path, value in _items(rule.path, lookup(self.config, rule.path)) if type(value) is int
                )

    def _slopes(self, path: str) -> Slopes | None:
        other = self._built({path: lookup(self.config, path) + 1})
        if other is None or other.shapes.keys() != self.shapes.keys():
            return None
        sides = ((name, dim, side) for name, shape in other.shapes.items() for dim, side in enumerate(shape))
        return {
            (name, dim): side - self.shapes[name][dim] for name, dim, side in sides if side != self.shapes[name][dim]
        }

    def _are_linear(self, found: Mapping[str, Slopes]) -> bool:
        """Whether the shapes with all of these options changed at once, each by another number, are as foretold."""
        steps = {path: 2 * i + 3 for i, path in enumerate(found)}
        expected = {
            name: tuple(
                side + sum(step * found[path].get((name, dim), 0) for path, step in steps.items())
                for dim, side in enumerate(shape)
            )
            for name, shape in self.shapes.items()
        }
        other = self._built({path: lookup(self.config, path) + step for path, step in steps.items()})
        return other is not None and other.shapes == expected

    def _built(self, changes: Mapping[str, Any]) -> Built | None:
        try:
            return built(self.map, _changed(self.config, changes))
        except ConversionError:
            return None


def _items(path: str, value: Any) -> list[tuple[str, Any]]:
    return [(f"{path}.{i}", item) for i, item in enumerate(value)] if isinstance(value, list) else [(path, value)]


def _others(value: Any, one_of: Sequence[Any]) -> list[Any]:
    """Other values that an option may have; none where none is known."""
    if one_of:
        return [one for one in one_of if one != value]
    if isinstance(value, bool):
        return [not value]
    return [value + 1] if isinstance(value, int) else [value / 2] if isinstance(value, float) else []


def _changed(config: Mapping[str, Any], changes: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """`config` with other values at some dotted paths."""

    def changed(value: Any, path: str) -> Any:
        if path in changes:
            return changes[path]
        if isinstance(value, list):
            return [changed(item, f"{path}.{i}") for i, item in enumerate(value)]
        return _changed(value, changes, path) if isinstance(value, Mapping) else value

    return {key: changed(value, prefixed(key, path)) for key, value in config.items()}


def _formula(name: str, dim: int, side: int, slopes: Mapping[str, Slopes], config: Mapping[str, Any]) -> int | str:
    """A side as it is, or by the options that it grows with: `6*num_classes+1`."""
    terms = {path: by[name, dim] for path, by in slopes.items() if (name, dim) in by}
    rest = side - sum(factor * lookup(config, path) for path, factor in terms.items())
    named = [path if factor == 1 else f"{factor}*{path}" for path, factor in terms.items()]
    return "+".join([*named, *([str(rest)] if rest else [])]) if named else side


def _unread() -> NoReturn:
    raise AssertionError("only the shape of this tensor is known")


if __name__ == "__main__":
    TABLES.mkdir(exist_ok=True)
    for each in tabulated():
        text = json.dumps(generated_table(each), separators=(",", ":"), sort_keys=True)
        (TABLES / f"{each.name}.json").write_text(text + "\n", encoding="utf-8")
        stored_table.cache_clear()
