"""Reads a map from YAML. Whatever is wrong with it is a `MapError` that names the file, the line and the rule."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ppls.converter.config_rules import OptionRule
from ppls.converter.map_options import OptionReader
from ppls.converter.maps import (
    Constant,
    Dead,
    Duplicate,
    Era,
    Included,
    Map,
    ModuleRow,
    Optional,
    TensorRule,
)
from ppls.converter.operations import (
    RENAME,
    Chain,
    Concat,
    FoldBias,
    Negate,
    Operation,
    Permute,
    Split,
    Transpose,
)
from ppls.converter.patterns import Pattern, PatternError, prefixed
from ppls.converter.readings import Fixed
from ppls.converter.yaml_nodes import Node, compose
from ppls.errors import MapError

FORMAT = 1
MAPPINGS = Path(__file__).resolve().parent.parent / "mappings"

_SECTIONS = [
    "format",
    "architecture",
    "backbone",
    "source",
    "target",
    "include",
    "layers",
    "blocks",
    "modules",
    "tensors",
    "constants",
    "duplicates",
    "aliases",
    "dead",
    "optional",
    "keep",
    "config",
    "upsample",
    "presets",
    "recipes",
    "numerics",
    "eras",
    "classifiers",
    "published",
    "source_preset",
]
_NUMERICS = ("epsilon", "momentum")


@lru_cache
def shipped_maps() -> dict[str, Path]:
    """The maps in the package, by name; a file put beside them is found by itself."""
    return {path.stem: path for path in sorted(MAPPINGS.glob("*.yaml"))}


@lru_cache
def architectures() -> dict[str, Map]:
    """The maps of whole architectures, by PaddleSeg's class name."""
    maps = [load_map(path) for path in shipped_maps().values() if not _is_backbone(path)]
    return {str(map.architecture): map for map in maps}


@lru_cache
def backbones() -> dict[str, Map]:
    """The maps of backbones, by upstream's class name."""
    maps = [load_map(path) for path in shipped_maps().values() if _is_backbone(path)]
    return {str(map.backbone): map for map in maps}


@lru_cache
def load_map(path: Path, option: str = "", source: str = "", target: str = "") -> Map:
    """The map in a file. `option`, `source` and `target` are where an including map puts it.

    Raises:
        MapError: the file cannot be read or is no map: file, line, rule.
    """
    return _MapReader(Path(path), option, source, target).read()


def _is_backbone(path: Path) -> bool:
    return any(line.startswith(b"backbone:") for line in path.read_bytes().splitlines())


class _MapReader:
    """Reads one file, section by section."""

    def __init__(self, path: Path, option: str, source: str, target: str) -> None:
        self.path, self.option, self.source, self.target = path, option, source, target
        try:
            content = path.read_bytes()
        except OSError as error:
            raise MapError(f"{path}: cannot be read: {error.strerror}") from None
        self.digest = hashlib.sha256(content)
        self.top = compose(path, content)
        self.sections = self.top.mapping(*_SECTIONS)
        self.rules: list[TensorRule] = []
        self.rows: list[ModuleRow] = []

    def read(self) -> Map:
        format_node = self.sections.get("format")
        if format_node is None:
            self.top.fail(f"`format: {FORMAT}` is missing, the version of the map language")
        if format_node.value() != FORMAT:
            format_node.fail(f"format {format_node.text()} is not known; this version of ppls reads format {FORMAT}")
        if ("architecture" in self.sections) == ("backbone" in self.sections):
            self.top.fail("a map is of either an `architecture:` or a `backbone:`")
        if "source" not in self.sections:
            self.top.fail("`source:`, the upstream class, is missing")
        self.includes = tuple(self._include(option, node) for option, node in self._pairs("include"))
        self.kinds = {name: self._kind(node) for name, node in self._pairs("layers")}
        self.blocks = {name: self._block(node) for name, node in self._pairs("blocks")}
        for node in self._list("tensors"):
            self._tensor_rule(node)
        for node in self._list("modules"):
            self._row(node)
        if not self.rows:
            self.top.fail("`modules:`, the table of layers, is missing or empty")
        inner = [included.map for included in self.includes]
        numerics: dict[str, dict[str, float]] = {}
        for included in inner:
            numerics.update({kind: dict(values) for kind, values in included.numerics.items()})
        numerics.update(self._numerics())
        for map in inner:
            self.digest.update(map.digest.encode())
        built = Map(
            name=self.path.stem,
            path=self.path,
            digest=self.digest.hexdigest(),
            architecture=self._text("architecture"),
            source=self.sections["source"].text(),
            target=self._text("target"),
            rules=(*self.rules, *(rule for map in inner for rule in map.rules)),
            rows=(*self.rows, *(row for map in inner for row in map.rows)),
            constants=tuple(self._constants()) + _join(inner, "constants"),
            duplicates=tuple(self._duplicates()) + _join(inner, "duplicates"),
            dead=tuple(Dead(k.pattern(self.source), v.text()) for k, v in self._keyed("dead")) + _join(inner, "dead"),
            optional=tuple(self._optional()) + _join(inner, "optional"),
            keep=tuple(node.pattern(self.target) for node in self._list("keep")) + _join(inner, "keep"),
            options=(*_join(inner, "options"), *self._options()),
            upsample=tuple(prefixed(node.text(), self.option) for node in self._list("upsample"))
            + _join(inner, "upsample"),
            presets={name: node.dictionary() for name, node in self._pairs("presets")},
            recipes={name: node.dictionary() for name, node in self._pairs("recipes")},
            numerics=numerics,
            eras=tuple(self._eras()),
            includes=self.includes,
            classifiers=tuple(node.pattern(self.source) for node in self._list("classifiers")),
            source_preset=self._source_preset(),
            backbone=self._text("backbone"),
            published=self._published(),
        )
        self._check(built)
        return built

    def _pairs(self, section: str) -> list[tuple[str, Node]]:
        return list(self.sections[section].mapping().items()) if section in self.sections else []

    def _keyed(self, section: str) -> list[tuple[Node, Node]]:
        return list(self.sections[section].keyed()) if section in self.sections else []

    def _list(self, section: str) -> list[Node]:
        return self.sections[section].items() if section in self.sections else []

    def _text(self, section: str) -> str | None:
        return self.sections[section].text() if section in self.sections else None

    def _include(self, option: str, node: Node) -> Included:
        parts = node.mapping("map", "source", "target", required=("map", "source", "target"))
        name = parts["map"].text()
        beside = self.path.parent / f"{name}.yaml"
        path = beside if beside.exists() else shipped_maps().get(name)
        if path is None:
            parts["map"].fail(f"no map {name!r} beside this one or in ppls; ppls has {', '.join(shipped_maps())}")
        source, target = (prefixed(parts[side].text(), getattr(self, side)) for side in ("source", "target"))
        return Included(option, load_map(path, prefixed(option, self.option), source, target), source, target)

    def _kind(self, node: Node) -> dict[str, tuple[str, Operation]]:
        kind = {}
        for source, target in node.mapping().items():
            if target.is_text():
                kind[source] = (target.text(), RENAME)
            else:
                parts = target.mapping("to", *_OPERATIONS, required=("to",))
                steps = [_OPERATIONS[key](value) for key, value in parts.items() if key != "to"]
                kind[source] = (parts["to"].text(), Chain(tuple(steps)))
        return kind

    def _block(self, node: Node) -> list[tuple[str, str, str]]:
        block = []
        for source, layer in node.mapping().items():
            target, kind = layer.items(length=(2,))
            self._known_kind(kind)
            block.append((source, target.text(), kind.text()))
        return block

    def _known_kind(self, node: Node) -> None:
        if node.text() not in self.kinds:
            node.fail(f"{node.text()!r} is no kind of layer; `layers:` has {', '.join(self.kinds) or 'none'}")

    def _row(self, node: Node) -> None:
        source_node, target_node, kind, *rest = node.items(length=(3, 4))
        source, target = source_node.pattern(self.source), target_node.pattern(self.target)
        if source.captures != target.captures:
            node.fail(f"{source} and {target} have different indices")
        options = rest[0].mapping() if rest else {}
        numerics = {key: options.pop(key).number() for key in _NUMERICS if key in options}
        if kind.text() in self.blocks:
            if rest:
                rest[0].fail("options belong to a single layer; write the block's layers as rows of their own")
            for source_name, target_name, layer_kind in self.blocks[kind.text()]:
                layer = source.joined(source_name), target.joined(target_name)
                self._layer(*layer, layer_kind, {}, {}, node.line)
        else:
            if kind.text() not in self.kinds:
                kind.fail(
                    f"{kind.text()!r} is no kind of layer or block; known are {', '.join([*self.kinds, *self.blocks])}"
                )
            operations = {}
            for name, value in options.items():
                if name not in self.kinds[kind.text()]:
                    value.fail(f"a {kind.text()} has no {name!r}")
                operations[name] = _operation(value)
            self._layer(source, target, kind.text(), operations, numerics, node.line)

    def _layer(
        self,
        source: Pattern,
        target: Pattern,
        kind: str,
        operations: dict[str, Operation],
        numerics: dict[str, float],
        line: int,
    ) -> None:
        special = {pattern.text for rule in self.rules if len(rule.sources) > 1 for pattern in rule.sources}
        special |= {pattern.text for rule in self.rules if len(rule.targets) > 1 for pattern in rule.sources}
        for source_name, (target_name, layout) in self.kinds[kind].items():
            tensor = source.joined(source_name)
            if tensor.text in special:  # `tensors:` says what becomes of it
                continue
            operation = operations.get(source_name, RENAME)
            if layout is not RENAME:
                operation = Chain((layout, operation)) if operation is not RENAME else layout
            self.rules.append(TensorRule((tensor,), (target.joined(target_name),), operation, line))
        self.rows.append(ModuleRow(source, target, kind, operations, numerics, line))

    def _tensor_rule(self, node: Node) -> None:
        parts = node.mapping("from", "to", "split", "concat", "fold_bias", required=("to",))
        operation_name = next((name for name in ("split", "concat", "fold_bias") if name in parts), None)
        if operation_name == "fold_bias":
            fold = parts["fold_bias"].mapping("mean", "bias", required=("mean", "bias"))
            sources, targets = [fold["mean"], fold["bias"]], [parts["to"]]
            operation: Operation = FoldBias()
        else:
            if "from" not in parts:
                node.fail("'from' is missing")
            sources, targets = ([n] if n.is_text() else n.items() for n in (parts["from"], parts["to"]))
            dim = parts[operation_name].mapping("dim", required=("dim",))["dim"].integer() if operation_name else 0
            if operation_name == "split" and len(sources) == 1 and len(targets) > 1:
                operation = Split(dim, len(targets))
            elif operation_name == "concat" and len(targets) == 1 and len(sources) > 1:
                operation = Concat(dim, len(sources))
            elif operation_name is None and len(sources) == len(targets) == 1:
                operation = RENAME
            else:
                node.fail(f"{operation_name or 'a renaming'} does not take {len(sources)} to {len(targets)} tensors")
        source_patterns = tuple(source.pattern(self.source) for source in sources)
        target_patterns = tuple(target.pattern(self.target) for target in targets)
        if len({pattern.captures for pattern in (*source_patterns, *target_patterns)}) != 1:
            node.fail("the tensors of one rule must have the same indices")
        self.rules.append(TensorRule(source_patterns, target_patterns, operation, node.line))

    def _constants(self) -> Iterator[Constant]:
        for key, node in self._keyed("constants"):
            parts = node.mapping("value", "shape", "beside", "only", required=("value", "shape", "beside"))
            pattern, beside = key.pattern(self.source), parts["beside"].pattern(self.source)
            if pattern.captures != beside.captures:
                node.fail(f"{pattern} and {beside} have different indices")
            only = parts["only"].dictionary() if "only" in parts else {}
            yield Constant(pattern, parts["value"].number(), parts["shape"].integers(), beside, only)

    def _duplicates(self) -> Iterator[Duplicate]:
        for section in ("duplicates", "aliases"):
            for key, node in self._keyed(section):
                # a value of the config is named from this map's own options
                text = node.text() if not self.option else _qualify(node.text(), self.option)
                try:
                    original = Pattern.parse_computed(prefixed(text, self.source))
                except PatternError as error:
                    node.fail(str(error))
                yield Duplicate(key.pattern(self.source), original, written=section == "aliases")

    def _options(self) -> Iterator[OptionRule]:
        if "backbone" in self.sections and self.option:  # the model builds it by this name
            name = self.sections["backbone"].text()
            yield OptionRule(prefixed("type", self.option), Fixed(name), target_only=True)
        if "config" in self.sections:
            yield from OptionReader(self.option, self.source).read(self.sections["config"])

    def _optional(self) -> Iterator[Optional]:
        for name, node in self._pairs("optional"):
            for module in [node] if node.is_text() else node.items():
                yield Optional(prefixed(name, self.option), module.pattern(self.source))

    def _published(self) -> dict[str, int]:
        recipes = self.sections["recipes"].mapping() if "recipes" in self.sections else {}
        for recipe, _ in self._keyed("published"):
            if recipe.text() not in recipes:
                recipe.fail(f"{recipe.text()!r} is none of the `recipes:`")
        return {recipe: files.integer() for recipe, files in self._pairs("published")}

    def _source_preset(self) -> str:
        text = self._text("source_preset") or ""
        if text and ("<preset>" not in text or "presets" not in self.sections):
            self.sections["source_preset"].fail("expected a dotted name with <preset> in it, and `presets:` beside it")
        return text

    def _numerics(self) -> dict[str, dict[str, float]]:
        return {
            kind: {name: value.number() for name, value in node.mapping(*_NUMERICS).items()}
            for kind, node in self._pairs("numerics")
        }

    def _eras(self) -> Iterator[Era]:
        for node in self._list("eras"):
            parts = node.mapping("era", "has", "lacks", "only", "renamed", required=("era",))
            has, lacks = (
                tuple(prefixed(name.text(), self.source) for name in parts[key].items()) if key in parts else ()
                for key in ("has", "lacks")
            )
            renamed = tuple(self._renamed(parts["renamed"])) if "renamed" in parts else ()
            if renamed and ("only" in parts or not has + lacks):
                parts["renamed"].fail("an era whose modules had other names is told by `has:` and `lacks:` alone")
            yield Era(parts["era"].text(), has, lacks, parts["only"].dictionary() if "only" in parts else {}, renamed)

    def _renamed(self, section: Node) -> Iterator[tuple[Pattern, Pattern]]:
        for old_node, new_node in section.keyed():
            old, new = old_node.pattern(self.source), new_node.pattern(self.source)
            if old.captures != new.captures:
                new_node.fail(f"{old} and {new} have different indices")
            yield old, new

    def _check(self, built: Map) -> None:
        """No two rules may take or fill the same pattern."""
        for side in ("sources", "targets"):
            seen: dict[str, int] = {}
            for rule in built.rules:
                for pattern in getattr(rule, side):
                    if pattern.text in seen and rule in self.rules:
                        where = f"{self.path}:{rule.line}"
                        verb = "taken" if side == "sources" else "filled"
                        raise MapError(f"{where}: {pattern} is {verb} twice; line {seen[pattern.text]} does it already")
                    seen[pattern.text] = rule.line
        known = {rule.path for rule in built.options}
        for node in self._list("upsample"):
            if prefixed(node.text(), self.option) not in known:
                node.fail(f"{node.text()!r} is no option of `config:`")


def _operation(node: Node) -> Operation:
    """An operation, or a list of them, as a row gives it for one tensor."""
    if not node.is_text() and not node.is_mapping():
        return Chain(tuple(_operation(item) for item in node.items()))
    if node.is_text():
        if node.text() != "negate":
            node.fail(f"{node.text()!r} is no operation; known are negate, {', '.join(_OPERATIONS)}")
        return Negate()
    parts = node.mapping(*_OPERATIONS)
    steps = tuple(_OPERATIONS[name](value) for name, value in parts.items())
    return steps[0] if len(steps) == 1 else Chain(steps)


def _permute(node: Node) -> Operation:
    parts = node.mapping("dim", "order", required=("dim", "order"))
    order = parts["order"].integers()
    if sorted(order) != list(range(len(order))):
        parts["order"].fail(f"{list(order)} is no order of 0 to {len(order) - 1}")
    return Permute(parts["dim"].integer(), order)


def _transpose(node: Node) -> Operation:
    axes = node.integers()
    if sorted(axes) != list(range(len(axes))):
        node.fail(f"{list(axes)} is no order of the dimensions 0 to {len(axes) - 1}")
    return Transpose(axes)


_OPERATIONS: dict[str, Callable[[Node], Operation]] = {"transpose": _transpose, "permute": _permute}


def _join(maps: list[Map], attribute: str) -> tuple[Any, ...]:
    return tuple(item for map in maps for item in getattr(map, attribute))


def _qualify(text: str, option: str) -> str:
    """`features.<i+layers.0>` of a backbone's map with values named from the top: `<i+backbone.layers.0>`."""

    def inside(expression: str) -> str:
        terms = [term.strip() for term in expression.split("+")]
        return "+".join(
            term if term.isdigit() or (len(term) == 1 and term.isalpha()) else f"{option}.{term}" for term in terms
        )

    head, *parts = text.split("<")
    return head + "".join(f"<{inside(part.split('>')[0])}>{part.split('>', 1)[1]}" for part in parts)
