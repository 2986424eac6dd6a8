"""What is held against a whole map: nothing unknown is named, and nothing contradicts itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from ppls.errors import MapError
from ppls.mappings.backbone_options import recipe_options, stands_on
from ppls.mappings.forms import accepted
from ppls.mappings.maps import Map
from ppls.mappings.names import Multiple
from ppls.mappings.options import PresetOption
from ppls.mappings.overlaps import clashes, taken_within
from ppls.mappings.patterns import Pattern, prefixed
from ppls.mappings.sections import MapFile
from ppls.mappings.table import BACKBONE, LayerTable
from ppls.schema import Node, Placed, Word, placed

_MOST_PRESETS = 32


def check(map: Map, file: MapFile, table: LayerTable, option: str, source: str) -> None:
    """Raises the `MapError` of whatever is wrong with a map.

    Args:
        file, table: what it was made of.
        option, source: where an architecture has it.
    """
    _Checks(map, file, table, option, source).all()


class _Checks:
    def __init__(self, map: Map, file: MapFile, table: LayerTable, option: str, source: str) -> None:
        self.map, self.file, self.table, self.option, self.source = map, file, table, option, source

    def all(self) -> None:
        self._check_rules()
        file = self.file
        optional = {optional.pattern.text for optional in self.map.optional}
        for pattern, entry in file.dead.items():
            if pattern.within(self.source).text in optional:
                entry.node.fail_key(
                    f"{pattern} is `optional:` too; what the target lacks is optional with `kept: false`"
                )
        for kind, numerics in file.numerics.items():
            if kind not in file.layers:
                numerics.node.fail_key(f"{kind!r} is no kind of layer; known are {', '.join(file.layers)}")
        named = [*file.classifiers, *file.exponents] if file.like is None else []  # a port may lack heads for training
        for layer in named:
            if not any(_meet(layer.value, row.source, self.source) for row in self.table.rows):
                layer.node.fail(f"{layer.value} is no layer of the table")
        self._check_options()
        self._check_values()

    def _check_options(self) -> None:
        paths = [rule.path for rule in self.map.options] + list(self.map.optional_modules)
        known = [prefixed("type", BACKBONE)] if self.map.includes else []
        known += [rule.path for included in self.map.includes for rule in included.map.options]
        for name, option in self.file.config.items():
            path = prefixed(name, self.option)
            if paths.count(path) > 1 or any(other.startswith(f"{path}.") for other in paths):
                option.node.fail_key(f"{name!r} is an option already, or has options of its own")
            self._check_uses(option, known)
            if isinstance(option.value, PresetOption):
                self._check_told(name, option.node)
            known.append(path)
        if self.file.features is not None:
            self._check_uses(self.file.features, known)
        for pattern, duplicate in self.file.duplicates.items():
            for value in duplicate.value.of.values:
                if not any(f"{prefixed(value, self.option)}.".startswith(f"{path}.") for path in paths):
                    duplicate.node.fail(f"{value!r} is no option of `config:`")
            if not duplicate.value.of.captures <= pattern.captures:
                duplicate.node.fail(f"{duplicate.value.of} has an index that {pattern} has not")
        for dead in self.file.dead.values():
            for shape in dead.value.written.values():
                for term in shape:
                    used = term.option if isinstance(term, Multiple) else term
                    if isinstance(used, str) and prefixed(used, self.option) not in paths:
                        dead.node.fail(f"{used!r} is no option of `config:`")

    def _check_uses(self, option: Placed[Any], known: Collection[str]) -> None:
        """That an option, or the channels of the feature maps, is read by options that are known before it."""
        for used in option.value.uses():
            if prefixed(used, self.option) not in known:
                option.node.fail(f"{used!r} is no option that stands above this one")

    def _check_told(self, name: str, node: Node) -> None:
        """That every preset gives an option that is told by them."""
        if not self.map.presets:
            node.fail("the map has no `presets:` that could tell it")
        if len(self.map.presets) > _MOST_PRESETS:
            node.fail(f"told by {len(self.map.presets)} presets, whose models are all built; {_MOST_PRESETS} at most")
        for preset, values in self.map.presets.items():
            if name not in values:
                self.file.presets[Word(preset)].node.fail(f"{preset!r} gives no {name!r}, which is told by the presets")

    def _check_values(self) -> None:
        """Presets, recipes and what rules are limited to give options that there are, each of its kind."""
        rules = {rule.path: rule for rule in self.map.options}

        def check(given: Mapping[str, Any]) -> None:
            for path, value in given.items():
                if path not in rules and path not in self.map.optional_modules:
                    raise ValueError(f"{path!r} is no option of `config:`")
                try:
                    accepted(value, bool) if path not in rules else rules[path].accept(value)
                except ValueError as error:
                    raise ValueError(f"{path}: {error}") from None

        def check_own(given: Mapping[str, Any]) -> None:
            check({prefixed(name, self.option): value for name, value in given.items()})

        for preset in self.file.presets.values():
            placed(preset.node, check_own, preset.value)
        limited = [constant.value.only for constant in self.file.constants.values()]
        limited += [dead.value.only for dead in self.file.dead.values()]
        for only in (*limited, *(era.only for era in self.file.eras)):
            if only is not None:
                placed(only.node, check_own, only.value)
        for name in self.map.recipes:
            recipe = self.file.recipes[Word(name)]
            on = self._standing(recipe.value)
            if on is self.map:
                placed(recipe.node, lambda values: check(recipe_options(self.map, values)), recipe.value)

    def _standing(self, recipe: Mapping[str, Any]) -> Map:
        """The map on the backbone that a recipe names, this one where none has it: what that is checked for there."""
        config = recipe.get(BACKBONE)
        if not self.map.includes or stands_on(self.map.includes[0].map, config):
            return self.map
        for name in self.map.backbones[1:]:
            with suppress(MapError):  # a malformed backbone's is said where that is asked for
                if stands_on((other := self.map.with_backbone(name)).includes[0].map, config):
                    return other
        return self.map

    def _check_rules(self) -> None:
        """No two rules may take or fill the same tensor, nor one take what is dropped; each can be read both ways."""
        places = {id(rule): place for rule, place in zip(self.table.rules, self.table.places, strict=True)}
        for clash in clashes(self.map.rules, most=1):
            own = [places[id(rule)] for rule in (clash.first, clash.second) if id(rule) in places]
            files = sorted({node.place.rpartition(":")[0] for node in own})
            where = f"; in {' and '.join(files)}" if len(files) > 1 else ""
            if len(own) == 1:
                where = (
                    "; one is the backbone's, whose map takes all of it: where its names differ it has a map of its "
                    "own, named under `backbones:`"
                )
            max(own, key=lambda node: node.line).fail(f"{clash}{where}")
        sections = (self.file.constants, self.file.duplicates, self.file.dead)
        dropped = {name.within(self.source): entry.node for section in sections for name, entry in section.items()}
        if dropped:
            place = next(iter(dropped.values()))
            for name, rule, tensor in placed(place, lambda rules: list(taken_within(dropped, rules)), self.map.rules):
                dropped[name].fail_key(f"{rule} takes {tensor!r} too")


def _meet(classifier: Pattern, row: Pattern, source: str) -> bool:
    """Whether a classifier is a row's layer, one of those that the row stands for, or the other way round."""
    name = classifier.within(source)
    return name.text == row.text or any(
        not one.captures and other.match(one.text) is not None for one, other in ((name, row), (row, name))
    )
