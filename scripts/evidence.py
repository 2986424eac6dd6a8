"""What the proof of an architecture rests on: its maps, and of `ppls.models` all that its model is made of.

`docs/zoo.md` says by a digest what was measured. A definition that a model does not use, a comment or a
docstring is nothing to its digest; whatever may change what the model computes is.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import ppls
from ppls.errors import MapError
from ppls.mappings.documents import PADDLE, read
from ppls.mappings.map_index import on_recipe
from ppls.mappings.maps import Map
from ppls.yaml_documents import YamlReader

MODELS = Path(ppls.__file__).parent / "models"
DIGITS = 8  # of a digest that stand in the zoo

# How any model is built, loaded and saved. The tests run it with PaddleSeg beside it in every run.
ENGINE = ("base", "building", "initialization", "numerics", "stored")


class Definition(NamedTuple):
    """What one name of a module stands for: `code` without what only people read, and the names that it uses.

    Attributes:
        uses: definitions, by module and name.
    """

    code: str
    uses: frozenset[tuple[str, str]]


def digest(map: Map) -> str:
    """Of all that an architecture's proof rests on, its backbone's included."""
    content = hashlib.sha256()
    documents = _documents({map.path, PADDLE, *(backbone.path for backbone in bodies(map))})
    for path in sorted(documents):
        content.update(json.dumps(documents[path], sort_keys=True).encode())
    known = definitions()
    for module, name in sorted(made_of(map)):
        content.update(f"{module}.{name}: {known[module, name].code}\n".encode())
    return content.hexdigest()[:DIGITS]


def _documents(paths: Iterable[Path]) -> dict[Path, Any]:
    """What stands in maps, and in those that they are like."""
    found: dict[Path, Any] = {}
    todo = list(paths)
    while todo:
        path = todo.pop()
        found[path] = YamlReader(_error).document(path, read(path)).plain()
        if (other := found[path].get("like")) is not None:
            todo.append(path.with_name(f"{other}.yaml"))
    return found


def bodies(map: Map) -> list[Map]:
    """The maps of the backbones that an architecture's recipes stand on."""
    on = {included.map.name: included.map for name in map.recipes for included in on_recipe(map, name).includes}
    return list(on.values())


def own_modules(map: Map) -> list[str]:
    """The modules that are an architecture's own, and its backbones': called as their maps."""
    return [map.name, *(backbone.name for backbone in bodies(map))]


def made_of(map: Map) -> set[tuple[str, str]]:
    """All definitions of the model, by module and name: those of its own modules, and what they use."""
    known = definitions()
    found = {key for key in known if key[0] in own_modules(map)}
    todo = list(found)
    while todo:
        new = {key for key in known[todo.pop()].uses if key in known} - found
        found |= new
        todo += new
    return found


@cache
def definitions() -> dict[tuple[str, str], Definition]:
    """Every class, function and constant at the top of a module of `ppls.models`."""
    found: dict[tuple[str, str], Definition] = {}
    for path in sorted(MODELS.glob("*.py")):
        if path.stem not in ("__init__", *ENGINE):
            found |= {(path.stem, name): definition for name, definition in _of_module(path)}
    return found


def _of_module(path: Path) -> Iterator[tuple[str, Definition]]:
    text = path.read_text()
    tree = ast.parse(text)
    imported = dict(_imports(tree))
    own: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        if not isinstance(statement, (ast.Import, ast.ImportFrom)) and not _is_text(statement):
            for name in _names(statement):
                own.setdefault(name, []).append(statement)
    for name, statements in own.items():
        used = {node.id for each in statements for node in ast.walk(each) if isinstance(node, ast.Name)}
        uses = {imported.get(each, (path.stem, each)) for each in used if each in imported or each in own}
        yield name, Definition("\n".join(_code(text, each) for each in statements), frozenset(uses))


def _imports(tree: ast.Module) -> Iterator[tuple[str, tuple[str, str]]]:
    """What other modules of `ppls.models` a module imports names of, by the name that it has here."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ppls.models."):
            for alias in node.names:
                yield alias.asname or alias.name, (str(node.module).rpartition(".")[2], alias.name)


def _names(statement: ast.stmt) -> list[str]:
    """What a statement defines; one that defines nothing, as a loop that registers backbones, is of no name."""
    if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
        return [statement.name]
    stored = [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return stored or [""]


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _code(text: str, statement: ast.stmt) -> str:
    """The lines of a statement without comments, docstrings and blank ones."""
    first = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", []))])
    lines = text.splitlines(keepends=True)[first - 1 : statement.end_lineno]
    for token in tokenize.generate_tokens(io.StringIO("".join(lines)).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            lines[line - 1] = lines[line - 1][:column]
    for node in ast.walk(statement):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and _is_text(node.body[0]):
            for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1):
                lines[line - first] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _error(place: str, why: str) -> MapError:
    return MapError(f"{place}: {why}")
