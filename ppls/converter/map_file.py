"""Reads a map from YAML. Whatever is wrong with it is a `MapError` that names the file, the line and the rule."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ppls.converter.config_rules import OptionRule
from ppls.converter.map_layers import NUMERICS, LayerTable
from ppls.converter.map_options import OptionReader
from ppls.converter.maps import (
    Constant,
    Dead,
    Duplicate,
    Era,
    Included,
    Map,
    Optional,
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


@lru_cache
def shipped_maps() -> dict[str, Path]:
    """The maps in the package, by name; a file put beside them is found by itself."""
    return {path.stem: path for path in sorted(MAPPINGS.glob("*.yaml"))}


@lru_cache
def port_maps() -> dict[str, Path]:
    """The maps in the package for models that others wrote, by name: `ports/midasklr`."""
    paths = sorted((MAPPINGS / "ports").glob("*.yaml"))
    return {f"ports/{path.stem}": path for path in paths if not _is_backbone(path)}


def named_file(map: str | Path) -> Path:
    """The file of a map in the package by its name, of any other by its path."""
    return (shipped_maps() | port_maps()).get(Path(map).as_posix(), Path(map))


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
        table = LayerTable(self.source, self.target, self._pairs("layers"), self._pairs("blocks"))
        self.rules, rows = table.read(self._list("modules"), self._list("tensors"))
        if not rows:
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
            rows=(*rows, *(row for map in inner for row in map.rows)),
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
        if "backbone" in self.sections or not _is_backbone(path):
            parts["map"].fail("an architecture's map includes maps of backbones, and those include none")
        source, target = (prefixed(parts[side].text(), getattr(self, side)) for side in ("source", "target"))
        return Included(option, load_map(path, prefixed(option, self.option), source, target), source, target)

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
            kept = True
            if node.is_mapping():
                parts = node.mapping("modules", "kept", required=("modules", "kept"))
                node, kept = parts["modules"], bool(parts["kept"].value())
            for module in [node] if node.is_text() else node.items():
                yield Optional(prefixed(name, self.option), module.pattern(self.source), kept)

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
            kind: {name: value.number() for name, value in node.mapping(*NUMERICS).items()}
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
        optional = {optional.pattern.text for optional in built.optional}
        for node, _ in self._keyed("dead"):
            if (pattern := node.pattern(self.source)).text in optional:
                node.fail(f"{pattern} is `optional:` too; what the target lacks is optional with `kept: false`")
        known = {rule.path for rule in built.options}
        for node in self._list("upsample"):
            if prefixed(node.text(), self.option) not in known:
                node.fail(f"{node.text()!r} is no option of `config:`")


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
