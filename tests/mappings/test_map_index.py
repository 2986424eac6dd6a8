"""The index of maps: it is that of the maps as they are, and recognising opens one map."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppls.checkpoint.reader import read
from ppls.converter.recognise import recognise
from ppls.mappings import map_file, map_index
from ppls.mappings.map_file import architectures
from ppls.mappings.map_index import INDEX, generated_index, likely_maps
from ppls.mappings.maps import Map


def test_the_index_is_that_of_the_maps() -> None:
    assert json.loads(INDEX.read_bytes()) == generated_index(), "run python -m ppls.mappings.map_index"


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
    index = {name: map_index.Entry(**entry) for name, entry in generated_index().items() if name != "segformer"}
    monkeypatch.setattr(map_index, "_index", lambda: index)
    names = generated_index()["segformer"]["names"]
    assert [map.architecture for map in likely_maps(names)] == ["SegFormer"]


def test_every_architecture_is_likely_by_its_own_names() -> None:
    for architecture in architectures().values():
        assert architecture.name in [map.name for map in likely_maps(generated_index()[architecture.name]["names"])]
