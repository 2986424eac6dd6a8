"""The document of a map, of several files: what every map begins with, what it is like, and its own sections."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from ppls.errors import MapError
from ppls.mappings.composed import composed
from ppls.mappings.sections import FORMAT, MapFile
from ppls.mappings.table import NUMERICS
from ppls.pages import page
from ppls.records import dataclass
from ppls.schema import Node, Word, at_most, build, made_of
from ppls.shown import shown
from ppls.yaml_documents import YamlReader

PADDLE = Path(__file__).resolve().parent / "paddle.yaml"

_MOST_LIKE = 8  # maps that are like one another in a row
_PREFIX = re.compile(r"\$([a-z_]*)(.*)", re.DOTALL)
_OF_ITS_OWN = ("format", "like", "rest", "prefixes", "target")  # what a map does not have of the one that it is like


def _prefix(name: str) -> str:
    if not re.fullmatch("[a-z_]+", name):
        raise ValueError(f"{name!r} is no name of a prefix: small letters and _")
    return name


def _prefixed_with(text: str) -> str:
    if "$" in text:
        raise ValueError(f"{text!r} is no beginning of a name: prefixes are not made of one another")
    return text


Prefixes = dict[Annotated[str, made_of(Word, _prefix)], Annotated[Word, at_most(500), _prefixed_with]]
Named = Callable[[str], Path | None]
Contents = tuple[tuple[Path, bytes], ...]


@dataclass(eq=False, repr=False)
class Document:
    """A map's sections, and the files that they come from with what was in them.

    `checked`: it was opened and held against itself when the package's maps were composed, and is as it was.
    """

    path: Path
    contents: Contents
    file: MapFile
    checked: bool


def error(place: str, why: str) -> MapError:
    return MapError(f"{place}: {why}")


def read(path: Path) -> bytes:
    """What a map's file holds. Raises `MapError`."""
    return YamlReader(error).read(path)


def document(path: Path, named: Named, *, same: bool = False, of: Named | None = None) -> Document:
    """The map in a file.

    Args:
        named: finds the maps of the package by name, one of which it may be like.
        of: finds them by the architecture: one that says nothing of the options is like that of its own.
        same: the target has the source's own names.

    Raises:
        MapError: one of the files is no map.
    """
    contents, paths = [], [path]
    while True:
        contents.append((paths[-1], read(paths[-1])))
        like = _like(*contents[-1], named) or (_silent(*contents[-1], of) if of is not None else None)
        if like is None:
            break
        if like in paths or len(paths) == _MOST_LIKE:
            node = _parsed(*contents[-1]).value["like"]
            node.fail(f"{path.name} is like a map that is like it, or like too many")
        paths.append(like)
    contents.append((PADDLE, read(PADDLE)))
    checked = not same and all(_opened(*content)[1] for content in contents)
    return Document(path, tuple(contents), _built(tuple(contents), same), checked)


@lru_cache(maxsize=256)
def _built(contents: Contents, same: bool) -> MapFile:
    """What the files come to: each has the sections of the next, but for its own."""
    *own, paddle = [_sections(*content) for content in contents]
    merged = paddle
    for at, sections in enumerate(reversed(own)):
        merged = _like_another(merged, sections) if at else _merged(merged, sections)
    if same:
        merged = _under_own_names(merged)
    top = _parsed(*contents[0])
    found: MapFile = build(replace(top, value=merged), MapFile)
    return found


def _parsed(path: Path, content: bytes) -> Node:
    return _opened(path, content)[0]


@lru_cache(maxsize=256)
def _opened(path: Path, content: bytes) -> tuple[Node, bool]:
    """The document of a file, and whether it was composed of just this content."""
    known = composed(path, content, error)
    top = known or YamlReader(error).document(path, content)
    if top.value is None:
        top.fail("the file is empty")
    if not isinstance(top.value, dict):
        build(top, dict[str, Node])
    version = top.value.get("format")
    if version is None:
        top.fail(f"`format: {FORMAT}` is missing, the version of the map language")
    if version.value != FORMAT or type(version.value) is not int:
        hint = f"; {page('mapping-language')} says how format 1 is written now" if version.written == "1" else ""
        version.fail(f"format {version.plain()} is not known; this version of ppls reads format {FORMAT}{hint}")
    return top, known is not None


def _like(path: Path, content: bytes, named: Named) -> Path | None:
    """The file of the map that this one is like."""
    node = _parsed(path, content).value.get("like")
    if node is None:
        return None
    name = build(node, str)
    found = beside(path, name, named)
    if found is None or found == path:
        node.fail(f"no other map {name!r} beside this one or in ppls")
    return found


def _silent(path: Path, content: bytes, of: Named) -> Path | None:
    """Of a map that has a table alone, the package's map of that architecture, which says the facts of the source."""
    sections = _parsed(path, content).value
    if "config" in sections or "architecture" not in sections:
        return None
    found = of(str(sections["architecture"].written))
    return found if found != path else None


def beside(path: Path, name: str, named: Named) -> Path | None:
    """The map of that name in the folder of another, else in the package."""
    own = path.parent / f"{name}.yaml"
    return own if re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name) and own.exists() else named(name)


def _sections(path: Path, content: bytes) -> dict[str, Node]:
    """The sections of a file, its prefixes in place."""
    top = _parsed(path, content)
    prefixes = {}
    if "prefixes" in top.value:
        prefixes = build(top.value["prefixes"], Prefixes)
    if b"$" in content:
        top = _with_prefixes(top, prefixes)
    sections: dict[str, Node] = {key: node for key, node in top.value.items() if key != "prefixes"}
    return sections


def _with_prefixes(node: Node, prefixes: Mapping[str, str]) -> Node:
    """The node with the names of prefixes, `$arm.conv`, as what they stand for."""

    def whole(text: str, node: Node) -> str:
        found = _PREFIX.fullmatch(text)
        if found is None:
            return text
        if found[1] not in prefixes:
            node.fail(f"${shown(found[1], 80)} is none of the `prefixes:`; known are {', '.join(prefixes) or 'none'}")
        return prefixes[found[1]] + found[2]

    if isinstance(node.value, dict):
        table = {whole(key, item): _with_prefixes(item, prefixes) for key, item in node.value.items()}
        if len(table) < len(node.value):
            node.fail("one name stands here twice, once by its prefix")
        same = all(table.get(key) is item for key, item in node.value.items())
        return node if same else replace(node, value=table)
    if isinstance(node.value, list):
        items = [_with_prefixes(item, prefixes) for item in node.value]
        return node if all(map(operator.is_, items, node.value)) else replace(node, value=items)
    if isinstance(node.value, str) and node.value.startswith("$"):
        text = whole(node.value, node)
        return replace(node, value=text, written=text)
    return node


def _merged(base: dict[str, Node], own: dict[str, Node]) -> dict[str, Node]:
    """Sections over those of another map: of tables the entries, of everything else the whole."""
    merged = dict(base)
    for key, node in own.items():
        there = base.get(key)
        if there is not None and isinstance(there.value, dict) and isinstance(node.value, dict):
            node = replace(node, value={**there.value, **node.value})
        merged[key] = node
    return merged


def _like_another(base: dict[str, Node], own: dict[str, Node]) -> dict[str, Node]:
    """The sections of a port: the facts of the source are another map's, the table to the other target is its own."""
    if "like" not in own:  # see `_silent`: its table is the whole one, unless it says where the backbone's is
        like = replace(own["architecture"], key="")
        whole = {} if {"rest", "backbones"} & own.keys() else {"rest": replace(like, value="none", written="none")}
        own = {"like": like, **whole, **own}
    like = own["like"]
    base = {key: node for key, node in base.items() if key not in _OF_ITS_OWN}
    of, own_of = (sections.get("architecture") for sections in (base, own))
    if of is not None and own_of is not None and of.value != own_of.value:  # no port of that one
        base.pop("recipes", None)
    target = replace(like, value="none", written="none", key="")
    rest = own["rest"].value if "rest" in own else None
    if rest == "none":
        base = {key: node for key, node in base.items() if key not in ("keep", "tensors")}
    elif rest is not None:
        base = _under_own_names(base)
        rows, others = own.get("modules"), base.get("modules")
        if rows is not None and others is not None and isinstance(rows.value, list) and isinstance(others.value, list):
            taken = {_first(row) for row in rows.value}
            rest = [row for row in others.value if _first(row) not in taken]
            own = {**own, "modules": replace(rows, value=[*rows.value, *rest])}
    elif "modules" in own:
        base.pop("tensors", None)
    return {"target": target, **_merged(base, own)}


def _first(row: Node) -> str | None:
    return row.value[0].written if isinstance(row.value, list) and row.value else None


def _under_own_names(sections: dict[str, Node]) -> dict[str, Node]:
    """The sections of a map to a target that has the source's own names."""
    if "tensors" in sections:
        sections["tensors"].fail("a target with the source's own names has no other tensors")
    renamed = dict(sections)
    rows = sections.get("modules")
    if rows is not None and isinstance(rows.value, list):
        renamed["modules"] = replace(rows, value=[_same_row(row) for row in rows.value])
    blocks = sections.get("blocks")
    if blocks is not None and isinstance(blocks.value, dict):
        renamed["blocks"] = replace(blocks, value={name: _same_block(block) for name, block in blocks.value.items()})
    return renamed


def _same_block(block: Node) -> Node:
    if not isinstance(block.value, dict):
        return block
    named = {
        name: replace(
            layer,
            value=[replace(layer, value=name, written=name), *layer.value[1:2], *map(_numerics, layer.value[2:])],
        )
        for name, layer in block.value.items()
        if isinstance(layer.value, list)
    }
    return replace(block, value={**block.value, **named})


def _same_row(row: Node) -> Node:
    if not isinstance(row.value, list) or len(row.value) < 3:
        return row
    source, _, kind, *options = row.value
    return replace(row, value=[source, source, kind, *map(_numerics, options)])


def _numerics(options: Node) -> Node:
    """What a row says beside its names, but for operations: those bring tensors into the layout of the other target."""
    if not isinstance(options.value, dict):
        return options
    return replace(options, value={key: node for key, node in options.value.items() if key in NUMERICS})
