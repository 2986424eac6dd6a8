"""The index of maps: it is that of the maps as they are, and recognising opens one map."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppls.checkpoint.reader import read
from ppls.converter.recognise import recognise
from ppls.mappings import map_file, map_index
from ppls.mappings.composed import FOLDER, composed
from ppls.mappings.documents import PADDLE, error
from ppls.mappings.map_file import architectures, shipped_maps
from ppls.mappings.map_index import INDEX, generated_documents, generated_index, likely_maps
from ppls.mappings.maps import Map
from ppls.schema import Node
from ppls.yaml_documents import YamlReader
from tests.architectures import specimen


def test_the_index_is_that_of_the_maps() -> None:
    assert json.loads(INDEX.read_bytes()) == generated_index(), "run make tables"


def test_the_maps_as_json_are_what_yaml_says() -> None:
    found = {path.stem: json.loads(path.read_bytes()) for path in FOLDER.glob("*.json")}
    assert found == generated_documents(), "run python -m ppls.mappings.map_index"
    for path in (PADDLE, *shipped_maps().values()):
        made, read = composed(path, path.read_bytes(), error), YamlReader(error).document(path, path.read_bytes())
        assert everything(made) == everything(read), path


def everything(node: Node) -> tuple[object, ...]:
    value = node.value
    if isinstance(value, dict):
        value = [(key, everything(item)) for key, item in value.items()]
    elif isinstance(value, list):
        value = [everything(item) for item in value]
    return value, type(value), node.place, node.error, node.key_place, node.written, node.line, node.key


def test_a_map_that_was_changed_since_is_read_as_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shipped_maps()["pp_liteseg"]
    assert composed(path, path.read_bytes() + b"# changed", error) is None
    assert composed(tmp_path / path.name, path.read_bytes(), error) is None
    for broken in (None, b"{"):
        monkeypatch.setattr("ppls.mappings.composed.FOLDER", tmp_path)
        monkeypatch.setattr("ppls.mappings.composed.MAPS", (path.parent,))
        if broken:
            (tmp_path / "pp_liteseg.json").write_bytes(broken)
        assert composed(path, path.read_bytes(), error) is None


def test_recognising_opens_the_one_map_that_fits(small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    load = map_file.load_map

    def load_and_note(path: Path) -> Map:
        opened.append(path.stem)
        return load(path)

    monkeypatch.setattr(map_file, "load_map", load_and_note)
    assert recognise(read(small_checkpoint)).map.architecture == "PPLiteSeg"
    assert opened == ["pp_liteseg"]


def test_a_map_that_is_not_in_the_index_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    new = specimen(lambda map: True, but="PPLiteSeg")
    index = {name: map_index.Entry(**entry) for name, entry in generated_index().items() if name != new.name}
    monkeypatch.setattr(map_index, "_index", lambda: index)
    names = generated_index()[new.name]["names"]
    assert new.architecture in [map.architecture for map in likely_maps(names)]


def test_every_architecture_is_likely_by_its_own_names() -> None:
    for architecture in architectures().values():
        assert architecture.name in [map.name for map in likely_maps(generated_index()[architecture.name]["names"])]
