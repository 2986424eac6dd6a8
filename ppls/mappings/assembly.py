"""Makes a map of what its file says and of its backbone's map, each name put where the architecture has it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from ppls.mappings.backbone_options import stands_on
from ppls.mappings.config_rules import OptionRule
from ppls.mappings.constants import Constant
from ppls.mappings.documents import Document
from ppls.mappings.maps import Dead, Duplicate, Era, Included, Map, Open, Optional
from ppls.mappings.names import Multiple
from ppls.mappings.options import FEATURES, At, ResizeOption
from ppls.mappings.patterns import Pattern, bounded, plain_name, prefixed
from ppls.mappings.readings import Fixed, Reading
from ppls.mappings.sections import TabulatedEntry, Values
from ppls.mappings.table import BACKBONE, LayerTable
from ppls.mappings.targets import SOURCES, TARGETS, check_class_name
from ppls.records import dataclass
from ppls.schema import Node, Placed, Word, placed

T = TypeVar("T")

SHARED = "all"  # in place of a preset's name: what all of them have


@dataclass(eq=False, repr=False)
class Place:
    """Where a map stands in another: under which option, and under which names on either side."""

    option: str = ""
    source: str = ""
    target: str = ""


def assembled(
    document: Document,
    allowed: tuple[str, ...],
    place: Place | None = None,
    backbone: Callable[[Place], Map] | None = None,
    more: Mapping[str, Any] | None = None,
    elsewhere: bool = False,
) -> Map:
    """The map of a document.

    Args:
        allowed: modules that it may name classes of, beside ppls's and upstream's.
        place: where an architecture has it.
        backbone: makes the map of its backbone, where it has one.
        more: attributes of the map.
        elsewhere: whether that backbone is another than the default: of the recipes it has those that stand on it.

    Raises:
        MapError: the document contradicts itself: file, line, rule.
    """
    return _Assembly(document, allowed, place or Place(), backbone, more or {}, elsewhere).map


class _Assembly:
    def __init__(
        self,
        document: Document,
        allowed: tuple[str, ...],
        place: Place,
        backbone: Callable[[Place], Map] | None,
        more: Mapping[str, Any],
        elsewhere: bool,
    ) -> None:
        self.elsewhere = elsewhere
        self.path, self.file, self.place, self.allowed = document.path, document.file, place, allowed
        self.classes = self._classes()
        table = LayerTable(place.source, place.target, self.file.layers, self.file.blocks)
        table.read(self.file.modules, self.file.tensors)
        self.table = table
        self.includes = [] if backbone is None else [self._included(backbone)]
        if backbone is None and table.backbone is not None:
            table.backbone.node.fail("the map has no `backbones:`")
        digest = hashlib.sha256()
        for _, content in document.contents:
            digest.update(content)
        for included in self.includes:
            digest.update(included.map.digest.encode())
        self.map = self._built(digest.hexdigest(), more)
        if not document.checked or elsewhere:
            from ppls.mappings.checks import check

            check(self.map, self.file, self.table, place.option, place.source)

    def _built(self, digest: str, more: Mapping[str, Any]) -> Map:
        file, inner = self.file, [included.map for included in self.includes]
        whole = file.rest is not None and file.rest.value == "none"
        tables = [] if whole else inner  # of the backbone's map there are the facts of the source in any case
        source, target = self.place.source, self.place.target
        kinds = {row.kind for row in self.table.rows}
        numerics = {kind: dict(values) for map in inner for kind, values in map.numerics.items()}
        options = [(name, option.value) for name, option in file.config.items()]
        return Map(
            **{
                "name": self.path.stem,
                "path": self.path,
                "digest": digest,
                "architecture": file.architecture.value if file.architecture else None,
                "backbone": file.backbone.value if file.backbone else None,
                "source": self.classes[0],
                "target": self.classes[1],
                "source_preset": file.source_preset.value if file.source_preset else "",
                "rules": (*self.table.rules, *_joined(tables, "rules")),
                "rows": (*self.table.rows, *_joined(tables, "rows")),
                "constants": (*self._constants(), *_joined(inner, "constants")),
                "duplicates": (*self._duplicates(), *_joined(inner, "duplicates")),
                "dead": (*self._dead(), *_joined(inner, "dead")),
                "optional": (*self._optional(), *_joined(inner, "optional")),
                "keep": (*(pattern.within(target) for pattern in file.keep), *_joined(tables, "keep")),
                "options": (*_joined(inner, "options"), *self._options()),
                "upsample": (
                    *(
                        prefixed(name, self.place.option)
                        for name, option in options
                        if isinstance(option, ResizeOption)
                    ),
                    *_joined(inner, "upsample"),
                ),
                "presets": self._presets(),
                "recipes": self._recipes(),
                "numerics": numerics | {kind: n.value.given for kind, n in file.numerics.items() if kind in kinds},
                "eras": tuple(self._eras()),
                "includes": tuple(self.includes),
                "classifiers": tuple(entry.value.within(source) for entry in file.classifiers),
                "exponents": tuple(entry.value.within(source) for entry in file.exponents),
                "features": self._features(),
                "open": tuple(Open(name, entry.value, entry.node.line) for name, entry in file.open.items()),
                "allowed": self.allowed,
                **more,
            }
        )

    def _recipes(self) -> dict[str, Mapping[str, Any]]:
        recipes: dict[str, Mapping[str, Any]] = {name: recipe.value for name, recipe in self.file.recipes.items()}
        if not self.elsewhere:
            return recipes
        (included,) = self.includes
        return {name: recipe for name, recipe in recipes.items() if stands_on(included.map, recipe.get(BACKBONE))}

    def _included(self, backbone: Callable[[Place], Map]) -> Included:
        source = target = BACKBONE
        if self.table.backbone is not None:
            row, node = self.table.backbone.value, self.table.backbone.node
            source, target = (placed(node, plain_name, name) for name in (row.source, row.target))
        return Included(BACKBONE, backbone(Place(BACKBONE, source, target)), source, target)

    def _classes(self) -> tuple[str, str | None]:
        """The source's class and the target's: of what might be imported nothing is named but what is theirs."""
        file = self.file
        entry = file.architecture or file.backbone
        assert entry is not None
        source = file.source or Placed(Word(f"{SOURCES}.{file.title}"), entry.node)
        target = file.target or (Placed(Word(f"{TARGETS}.{file.title}"), entry.node) if file.architecture else None)
        named = [(source, SOURCES)]
        if target is not None and target.value == "none":
            target = None
        if target is not None:
            named.append((target, TARGETS))
        preset = file.source_preset
        if preset is not None:
            if "<preset>" not in preset.value or not file.presets:
                preset.node.fail("expected a dotted name with <preset> in it, and `presets:` beside it")
            names = [Word(preset.value.replace("<preset>", name)) for name in self._presets()]
            named += [(Placed(name, preset.node), SOURCES) for name in names]
        for name, package in named:
            try:
                check_class_name(name.value, package, self.allowed)
            except ValueError as error:
                name.node.fail(str(error))
        return source.value, target.value if target is not None else None

    def _only(self, only: Placed[Values] | None) -> dict[str, Any]:
        return {prefixed(name, self.place.option): value for name, value in only.value.items()} if only else {}

    def _presets(self) -> dict[str, dict[str, Any]]:
        shared = self.file.presets.get(Word(SHARED))
        values = shared.value if shared is not None else {}
        return {name: {**values, **preset.value} for name, preset in self.file.presets.items() if name != SHARED}

    def _constants(self) -> Iterator[Constant]:
        for pattern, entry in self.file.constants.items():
            constant = entry.value
            if pattern.captures != constant.beside.captures:
                entry.node.fail(f"{pattern} and {constant.beside} have different indices")
            names = pattern.within(self.place.source), constant.beside.within(self.place.source)
            only = self._only(constant.only)
            if isinstance(constant, TabulatedEntry):
                yield Constant(names[0], constant.table, (), names[1], only)
            else:
                yield Constant(names[0], constant.value, constant.shape, names[1], only)

    def _duplicates(self) -> Iterator[Duplicate]:
        for pattern, entry in self.file.duplicates.items():
            original = entry.value.of
            if entry.value.written:  # and found again on the way back
                matched = placed(entry.node, Pattern.parse, original.text)
                if matched.captures != pattern.captures:
                    entry.node.fail(f"{pattern} and {original} have different indices, and both are written")
                pattern, original = placed(entry.node, bounded, [pattern, matched])
            if self.place.option:  # a value of the config is named from this map's own options
                original = original.qualified(self.place.option)
            original = original.within(self.place.source)
            yield Duplicate(pattern.within(self.place.source), original, entry.value.written)

    def _dead(self) -> Iterator[Dead]:
        for pattern, entry in self.file.dead.items():
            if entry.value.written and pattern.captures:
                entry.node.fail_key(f"{pattern} has an index, where what is written again is one module")
            written = {
                name: tuple(self._term(term, entry.node) for term in shape)
                for name, shape in entry.value.written.items()
            }
            yield Dead(pattern.within(self.place.source), entry.value.why, written, self._only(entry.value.only))

    def _term(self, term: Any, node: Node) -> Any:
        if isinstance(term, int):
            return term
        if isinstance(term, str):
            return prefixed(term, self.place.option)
        if isinstance(term, Multiple):
            return Multiple(term.factor, prefixed(term.option, self.place.option))
        if term.pattern.text == FEATURES:
            return self._features() or node.fail(f"`{FEATURES}:` says nothing of the feature maps"), term.dim
        return term.pattern.within(self.place.source).text, term.dim

    def _options(self) -> Iterator[OptionRule]:
        if self.file.backbone is not None and self.place.option:  # the model builds it by this name
            yield OptionRule(prefixed("type", self.place.option), Fixed(self.file.backbone.value), target_only=True)
        features = self.includes[0].map.features if self.includes else None
        at = At(self.place.option, self.place.source, features)
        for name, option in self.file.config.items():
            yield placed(option.node, partial(option.value.rule, name), at)

    def _features(self) -> Reading | None:
        features = self.file.features
        if features is None:
            return None
        at = At(self.place.option, self.place.source)
        return placed(features.node, features.value.reading, at)

    def _optional(self) -> Iterator[Optional]:
        for name, entry in self.file.optional.items():
            option, said = prefixed(name, self.place.option), entry.value
            for module in said.modules:
                yield Optional(option, module.within(self.place.source), said.kept, said.passed)

    def _eras(self) -> Iterator[Era]:
        source = self.place.source
        for era in self.file.eras:
            has, lacks = (tuple(prefixed(name, source) for name in names) for names in (era.has, era.lacks))
            renamed = tuple((old.within(source), new.within(source)) for old, new in era.renamed.items())
            yield Era(era.era, has, lacks, self._only(era.only), renamed)


def _joined(maps: list[Map], attribute: str) -> tuple[Any, ...]:
    return tuple(item for map in maps for item in getattr(map, attribute))
