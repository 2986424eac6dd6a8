"""The maps of the package as JSON, generated: to open one takes neither PyYAML's import nor its work.

A file of these says which content it was made of; of another one it says nothing, and the YAML is read.
`python -m ppls.mappings.map_index` writes them anew, and a test holds them against the maps.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ppls.schema import Fail, Node

FOLDER = Path(__file__).resolve().parent / "composed"
MAPS = (FOLDER.parent, FOLDER.parent / "paddleseg")


def composed(path: Path, content: bytes, error: Fail) -> Node | None:
    """The document of a map of the package; None where none was generated of just this content."""
    if path.parent not in MAPS:
        return None
    try:
        generated = json.loads((FOLDER / f"{path.stem}.json").read_bytes())
    except (OSError, ValueError):
        return None
    if generated["sha256"] != hashlib.sha256(content).hexdigest():
        return None
    places = [f"{path}:{line}" for line in range(content.count(b"\n") + 2)]

    def node(stored: list[Any], key_place: str, key: str) -> Node:
        line, value, *written = stored
        if isinstance(value, dict):
            value = {name: node(item, places[at], name) for name, (at, item) in value.items()}
        elif isinstance(value, list):
            value = [node(item, key_place, key) for item in value]
        else:
            written = written or [value]
        return Node(value, places[line], error, key_place, written[0] if written else None, line, key)

    return node(generated["document"], "", "")


def generated(document: Node, content: bytes) -> dict[str, Any]:
    """What the file of a map should hold."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "document": _stored(document)}


def _stored(node: Node) -> list[Any]:
    """The line, the value, and how it is written if otherwise; in a table the line of each key, and its node."""
    if isinstance(node.value, dict):
        lines = {key: int(item.key_place.rpartition(":")[2]) for key, item in node.value.items()}
        return [node.line, {key: [lines[key], _stored(item)] for key, item in node.value.items()}]
    if isinstance(node.value, list):
        return [node.line, [_stored(item) for item in node.value]]
    return [node.line, node.value, *([] if node.written == node.value else [node.written])]
