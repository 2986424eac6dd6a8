"""Imports run one way: from the commands down to what knows nothing of ppls, in no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ppls

PACKAGE = Path(ppls.__file__).parent

# Of each room, what it may import from: itself, those before it, and the files beside the folders.
ROOMS = (
    "",
    "images",
    "checkpoint",
    "mappings",
    "models",
    "programs",
    "converter",
    "inference",
    "training",
    "parity",
    "drafting",
    "deploy",
    "cli",
)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "reference" not in path.parts[:-1])


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """The modules of ppls that a file imports anywhere in it, for types alone too."""
    known = {name_of(module) for module in MODULES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "ppls")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ppls":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else str(node.module)


def room(module: str) -> str:
    """The folder that a module is in; none for those beside the folders."""
    within = module.split(".")[1:]
    return within[0] if within and (PACKAGE / within[0]).is_dir() else ""


def test_every_folder_is_a_room() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(ROOMS) - {""}


@pytest.mark.parametrize("name", ROOMS)
def test_no_import_runs_back_up(name: str) -> None:
    above = set(ROOMS[ROOMS.index(name) + 1 :])
    up = [
        f"{name_of(path)} imports {module}"
        for path in MODULES
        if room(name_of(path)) == name and path not in (PACKAGE / "__init__.py", PACKAGE / "__main__.py")
        for module in imported(path)
        if room(module) in above or module == "ppls"
    ]
    assert not up


def test_no_import_is_in_a_circle() -> None:
    known = {name_of(path) for path in MODULES}
    left = {name_of(path): set(imported(path)) & known - {name_of(path)} for path in MODULES}
    while free := {  # what stands at the bottom or at the top of all that is left
        module
        for module, needed in left.items()
        if not needed & left.keys() or not any(module in others for others in left.values())
    }:
        left = {module: needed for module, needed in left.items() if module not in free}
    assert not left, f"in a circle: {', '.join(left)}"


def test_nothing_private_is_imported_from_another_module() -> None:
    private = [
        f"{name_of(path)} imports {alias.name} of {node.module}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ppls")
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert not private
