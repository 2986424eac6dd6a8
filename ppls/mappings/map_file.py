"""Finds maps and reads them. Whatever is wrong with one is a `MapError` that names the file, the line and the rule."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from ppls.errors import Error, MapError, UsageError
from ppls.mappings.backbone_options import recipe_options
from ppls.mappings.config_rules import OptionRule
from ppls.mappings.forms import accepted
from ppls.mappings.map_layers import LayerTable
from ppls.mappings.map_options import At
from ppls.mappings.map_schema import FORMAT, Include, MapFile
from ppls.mappings.maps import Constant, Dead, Duplicate, Era, Included, Map, Optional
from ppls.mappings.patterns import Pattern, prefixed
from ppls.mappings.readings import Fixed
from ppls.mappings.targets import SOURCES, TARGETS, check_class_name, is_module_name
from ppls.schema import Node, Placed, build
from ppls.yaml_documents import YamlReader

T = TypeVar("T")

MAPPINGS = Path(__file__).resolve().parent / "paddleseg"
PORTS = MAPPINGS.parent / "ports"


@lru_cache
def shipped_maps() -> dict[str, Path]:
    """The maps in the package, by name; a file put beside them is found by itself."""
    return {path.stem: path for path in sorted(MAPPINGS.glob("*.yaml"))}


@lru_cache
def port_maps() -> dict[str, Path]:
    """The maps in the package for models that others wrote, by name: `ports/midasklr`."""
    paths = sorted(PORTS.glob("*.yaml"))
    return {f"ports/{path.stem}": path for path in paths if not _is_backbone(path)}


def named_file(map: str | Path) -> Path:
    """The file of a map in the package by its name, of any other by its path."""
    return (shipped_maps() | port_maps()).get(Path(map).as_posix(), Path(map))


@lru_cache
def shipped_map(name: str) -> Map:
    """One of the maps in the package, by its name."""
    return load_map(shipped_maps()[name])


@lru_cache
def architectures() -> dict[str, Map]:
    """The maps of whole architectures, by PaddleSeg's class name."""
    maps = [shipped_map(name) for name, path in shipped_maps().items() if not _is_backbone(path)]
    return {str(map.architecture): map for map in maps}


@lru_cache
def backbones() -> dict[str, Map]:
    """The maps of backbones, by upstream's class name."""
    maps = [shipped_map(name) for name, path in shipped_maps().items() if _is_backbone(path)]
    return {str(map.backbone): map for map in maps}


def load_map(path: Path, allow_import: Sequence[str] = ()) -> Map:
    """The map in a file.

    Args:
        allow_import: modules that the map may name classes of, beside ppls's models and upstream's.

    Raises:
        MapError: the file cannot be read or is no map: file, line, rule.
    """
    return _on_backbone(Path(path), tuple(allow_import), None)


@lru_cache(maxsize=256)
def _shipped_on(path: Path, backbone: str) -> Map:
    return _on_backbone(path, (), backbone or None)


def _on_backbone(path: Path, allowed: tuple[str, ...], backbone: str | None) -> Map:
    """The map of a file; of an architecture on the first of its backbones, or on another."""
    return _Assembly(_opened(path), "", "", "", allowed, backbone).map


def open_map(map: str | Path | Map | None, allow_import: Sequence[str] = ()) -> Map | None:
    """A map by its path, or of the package by its name; one that is open already as it is.

    Raises:
        MapError: as `load_map`. UsageError: modules are allowed for no map, or are none.
    """
    if isinstance(allow_import, str):
        allow_import = [allow_import]
    for module in allow_import:
        if not is_module_name(module):
            raise UsageError(f"--allow-import {module}: expected the name of a module, such as my_port.models")
    if allow_import and (map is None or isinstance(map, Map)):
        raise UsageError("--allow-import says what a map may name; give the map with --map FILE")
    return map if map is None or isinstance(map, Map) else load_map(named_file(map), allow_import)


def _is_backbone(path: Path) -> bool:
    return any(line.startswith(b"backbone:") for line in path.read_bytes().splitlines())


def _error(place: str, why: str) -> MapError:
    return MapError(f"{place}: {why}")


@dataclass(eq=False, repr=False)
class _Opened:
    path: Path
    content: bytes
    file: MapFile


def _opened(path: Path) -> _Opened:
    content = YamlReader(_error).read(path)
    return _Opened(path, content, _parsed(path, content))


@lru_cache(maxsize=64)
def _parsed(path: Path, content: bytes) -> MapFile:
    """What the sections of a file say."""
    top = YamlReader(_error).document(path, content)
    if top.value is None:
        top.fail("the file is empty")
    if isinstance(top.value, dict):
        version = top.value.get("format")
        if version is None:
            top.fail(f"`format: {FORMAT}` is missing, the version of the map language")
        if version.value != FORMAT or type(version.value) is not int:
            version.fail(f"format {version.plain()} is not known; this version of ppls reads format {FORMAT}")
    found: MapFile = build(top, MapFile)
    return found


class _Assembly:
    """Makes a map of one file and of those that it includes, each name put where an including map has it."""

    def __init__(
        self,
        opened: _Opened,
        option: str,
        source: str,
        target: str,
        allowed: tuple[str, ...],
        backbone: str | None = None,
    ) -> None:
        self.path, self.file = opened.path, opened.file
        self.option, self.source, self.target, self.allowed = option, source, target, allowed
        self.backbone = backbone
        self._check_classes()
        self.includes = [self._include(option, entry) for option, entry in self.file.include.items()]
        digest = hashlib.sha256(opened.content)
        for included in self.includes:
            digest.update(included.map.digest.encode())
        self.map = self._built(digest.hexdigest())
        self._check()

    def _built(self, digest: str) -> Map:
        file, inner = self.file, [included.map for included in self.includes]
        table = LayerTable(self.source, self.target, file.layers, file.blocks)
        self.rules, rows = table.read(file.modules, file.tensors)
        numerics = {kind: dict(values) for map in inner for kind, values in map.numerics.items()}
        return Map(
            name=self.path.stem,
            path=self.path,
            digest=digest,
            architecture=file.architecture,
            source=file.source.value,
            target=None if file.target is None else file.target.value,
            rules=(*self.rules, *_joined(inner, "rules")),
            rows=(*rows, *_joined(inner, "rows")),
            constants=(*self._constants(), *_joined(inner, "constants")),
            duplicates=(*self._duplicates(), *_joined(inner, "duplicates")),
            dead=(
                *(Dead(pattern.within(self.source), why.value) for pattern, why in file.dead.items()),
                *_joined(inner, "dead"),
            ),
            optional=(*self._optional(), *_joined(inner, "optional")),
            keep=(*(pattern.within(self.target) for pattern in file.keep), *_joined(inner, "keep")),
            options=(*_joined(inner, "options"), *self._options()),
            upsample=(
                *(prefixed(option.value, self.option) for option in file.upsample),
                *_joined(inner, "upsample"),
            ),
            presets={name: preset.value for name, preset in file.presets.items()},
            # PaddleSeg publishes none on another backbone
            recipes={} if self.backbone else {name: recipe.value for name, recipe in file.recipes.items()},
            numerics=numerics | {kind: entry.given for kind, entry in file.numerics.items()},
            eras=tuple(self._eras()),
            includes=tuple(self.includes),
            classifiers=tuple(pattern.within(self.source) for pattern in file.classifiers),
            source_preset=file.source_preset.value if file.source_preset else "",
            backbone=file.backbone,
            published={recipe: files.value for recipe, files in file.published.items()},
            allowed=self.allowed,
            backbones=self._backbones(),
            reopened=self._reopened,
            features=None if file.features is None else file.features.reading(At(self.option, self.source)),
        )

    def _reopened(self, backbone: str) -> Map:
        if backbone == self._backbones()[0]:
            backbone = ""
        if self.path == shipped_maps().get(self.path.stem) and not self.allowed:
            return _shipped_on(self.path, backbone)
        return _on_backbone(self.path, self.allowed, backbone or None)

    def _backbones(self) -> tuple[str, ...]:
        names: dict[str, None] = dict.fromkeys(entry.value.map.value for entry in self.file.include.values())
        for entry in self.file.backbones:
            if entry.value == "any":
                names |= dict.fromkeys(name for name, path in shipped_maps().items() if _is_backbone(path))
            elif entry.value not in shipped_maps():
                entry.node.fail(f"no map {entry.value!r} in ppls; it has {', '.join(shipped_maps())}")
            else:
                names[entry.value] = None
        return tuple(names)

    def _include(self, option: str, entry: Placed[Include]) -> Included:
        name, node = self.backbone or entry.value.map.value, entry.value.map.node
        if "." in option:
            entry.node.fail_key(f"{option!r} is no option of the architecture itself")
        beside = self.path.parent / f"{name}.yaml"
        path = beside if beside.exists() else shipped_maps().get(name)
        if path is None:
            node.fail(f"no map {name!r} beside this one or in ppls; ppls has {', '.join(shipped_maps())}")
        opened = _opened(path)
        if self.file.backbone is not None or opened.file.backbone is None:
            node.fail("an architecture's map includes maps of backbones, and those include none")
        source, target = prefixed(entry.value.source, self.source), prefixed(entry.value.target, self.target)
        inner = _Assembly(opened, prefixed(option, self.option), source, target, self.allowed)
        return Included(option, inner.map, source, target)

    def _constants(self) -> Iterator[Constant]:
        for pattern, entry in self.file.constants.items():
            constant = entry.value
            if pattern.captures != constant.beside.captures:
                entry.node.fail(f"{pattern} and {constant.beside} have different indices")
            beside = constant.beside.within(self.source)
            yield Constant(pattern.within(self.source), constant.value, constant.shape, beside, constant.only)

    def _duplicates(self) -> Iterator[Duplicate]:
        for section, written in ((self.file.duplicates, False), (self.file.aliases, True)):
            for pattern, text in section.items():
                # a value of the config is named from this map's own options
                original = Pattern(prefixed(_qualify(text, self.option) if self.option else text, self.source))
                yield Duplicate(pattern.within(self.source), original, written)

    def _options(self) -> Iterator[OptionRule]:
        if self.file.backbone is not None and self.option:  # the model builds it by this name
            yield OptionRule(prefixed("type", self.option), Fixed(self.file.backbone), target_only=True)
        for name, option in self.file.config.items():
            features = self.includes[0].map.features if self.includes else None
            if features is None and getattr(option.value, "index_in", None) == "features":
                option.node.fail("the backbone's map has no `features:`")
            yield option.value.rule(name, At(self.option, self.source, features))

    def _optional(self) -> Iterator[Optional]:
        for name, entry in self.file.optional.items():
            modules = [entry] if isinstance(entry, Pattern) else entry if isinstance(entry, list) else entry.modules
            kept = getattr(entry, "kept", True)
            for module in modules:
                yield Optional(prefixed(name, self.option), module.within(self.source), kept)

    def _eras(self) -> Iterator[Era]:
        for entry in self.file.eras:
            has, lacks = (tuple(prefixed(name, self.source) for name in names) for names in (entry.has, entry.lacks))
            renamed = tuple((old.within(self.source), new.within(self.source)) for old, new in entry.renamed.items())
            yield Era(entry.era, has, lacks, entry.only, renamed)

    def _check_classes(self) -> None:
        """Nothing is named that ppls or upstream might import, but what is theirs."""
        named: list[tuple[str, Node, str]] = [(self.file.source.value, self.file.source.node, SOURCES)]
        if self.file.target is not None:
            named.append((self.file.target.value, self.file.target.node, TARGETS))
        if self.file.source_preset is not None:
            preset = self.file.source_preset
            if "<preset>" not in preset.value or not self.file.presets:
                preset.node.fail("expected a dotted name with <preset> in it, and `presets:` beside it")
            names = [preset.value.replace("<preset>", name) for name in self.file.presets]
            named += [(name, preset.node, SOURCES) for name in names]
        for name, node, package in named:
            try:
                check_class_name(name, package, self.allowed)
            except ValueError as error:
                node.fail(str(error))

    def _check(self) -> None:
        self._check_twice("sources", "taken")
        self._check_twice("targets", "filled")
        file = self.file
        optional = {optional.pattern.text for optional in self.map.optional}
        for pattern, why in file.dead.items():
            if pattern.within(self.source).text in optional:
                why.node.fail_key(f"{pattern} is `optional:` too; what the target lacks is optional with `kept: false`")
        paths = [rule.path for rule in self.map.options] + list(self.map.optional_modules)
        for name, option in file.config.items():
            path = prefixed(name, self.option)
            if paths.count(path) > 1 or any(other.startswith(f"{path}.") for other in paths):
                option.node.fail_key(f"{name!r} is an option already, or has options of its own")
        for upsample in file.upsample:
            if prefixed(upsample.value, self.option) not in paths:
                upsample.node.fail(f"{upsample.value!r} is no option of `config:`")
        for recipe, published in file.published.items():
            if recipe not in file.recipes:
                published.node.fail_key(f"{recipe!r} is none of the `recipes:`")
        self._check_values()

    def _check_values(self) -> None:
        """Presets and recipes give options that there are, each of its kind."""
        rules = {rule.path: rule for rule in self.map.options}

        def check(given: Mapping[str, Any]) -> None:
            for path, value in given.items():
                if path not in rules and path not in self.map.optional_modules:
                    raise ValueError(f"{path!r} is no option of `config:`")
                try:
                    accepted(value, bool) if path not in rules else rules[path].accept(value)
                except ValueError as error:
                    raise ValueError(f"{path}: {error}") from None

        for preset in self.file.presets.values():
            _placed(preset, lambda values: check({prefixed(name, self.option): v for name, v in values.items()}))
        for recipe in self.file.recipes.values() if self.map.recipes else ():
            _placed(recipe, lambda values: check(recipe_options(self.map, values)))

    def _check_twice(self, side: str, verb: str) -> None:
        """No two rules may take or fill the same pattern."""
        seen: dict[str, int] = {}
        for rule in [*self.map.rules[len(self.rules) :], *self.rules]:
            for pattern in getattr(rule, side):
                if pattern.text in seen:
                    place = f"{self.path}:{rule.line}"
                    raise _error(place, f"{pattern} is {verb} twice; line {seen[pattern.text]} does it already")
                seen[pattern.text] = rule.line


def _placed(item: Placed[T], check: Callable[[T], None]) -> None:
    """Says where what a check refuses stands."""
    try:
        check(item.value)
    except (ValueError, Error) as error:
        item.node.fail(str(error))


def _joined(maps: list[Map], attribute: str) -> tuple[Any, ...]:
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
