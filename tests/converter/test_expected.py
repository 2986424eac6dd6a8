from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter import expected
from ppls.converter.expected import recipe_config
from ppls.converter.infer import infer_model_config
from ppls.converter.tabulate import generated_table, tabulated
from ppls.converter.translate import translate_back
from ppls.mappings.config_rules import put
from ppls.mappings.map_file import architectures
from ppls.mappings.map_index import on_recipe
from ppls.mappings.maps import Map
from tests.architectures import readable, run_live


@pytest.mark.parametrize("title", run_live(map.title for map in tabulated()))
def test_the_table_is_what_the_models_have(title: str) -> None:
    map = next(map for map in tabulated() if map.title == title)
    path = expected.TABLES / f"{map.name}.json"
    stored = json.loads(path.read_text()) if path.exists() else None
    assert stored == json.loads(json.dumps(generated_table(map))), "run make tables"


@pytest.mark.parametrize("map", readable().values(), ids=readable())
def test_the_table_answers_for_other_sizes_and_for_options_that_decide_no_shape(map: Map) -> None:
    """Any number of classes, and of channels of the image."""
    for recipe in map.recipes:
        on = on_recipe(map, recipe)
        config = config_of(on, recipe)
        told = {**config, "num_classes": 5}
        if "in_channels" in config.get("backbone", {}):
            told["backbone"] = {**config["backbone"], "in_channels": 4}
        for path in on.upsample:
            put(told, path, "nearest")
        from_table = expected._from_table(on, told)
        if from_table is None:
            assert not is_linear_in_classes(on, config)  # a fifth of them, say, which no table has
            continue
        assert from_table == expected.shapes_of_model(on, told)


def is_linear_in_classes(map: Map, config: dict[str, Any]) -> bool:
    few, some, many = (
        [side for shape in expected.shapes_of_model(map, {**config, "num_classes": count}).values() for side in shape]
        for count in (5, 19, 33)
    )
    return [a + c for a, c in zip(few, many, strict=True)] == [2 * b for b in some]


def config_of(map: Map, recipe: str) -> dict[str, Any]:
    """A recipe's config as a checkpoint of it reveals it."""
    shapes = expected.expected_shapes(map, recipe_config(map, recipe)) or {}
    stored = {name: StoredTensor("float32", shape, lambda: np.empty(0)) for name, shape in shapes.items()}
    sources = translate_back(stored, map, recipe_config(map, recipe)).tensors
    return infer_model_config(map, {name: tensor.shape for name, tensor in sources.items()}, {}).config


def test_a_table_says_of_what_the_sides_of_an_image_must_be_multiples(monkeypatch: pytest.MonkeyPatch) -> None:
    map = architectures()["UNetPlusPlus"]
    config = config_of(map, next(iter(map.recipes)))
    assert expected.built(map, config).sides == (16, 1)
    monkeypatch.setattr(expected, "built", None)  # not asked
    assert expected.expected_sides(map, config) == (16, 1)


def test_a_side_may_be_a_multiple_of_an_option_and_more() -> None:
    assert expected._side(7, {}) == 7
    assert expected._side("num_classes", {"num_classes": 19}) == 19
    assert expected._side("6*num_classes+2*width.0+1", {"num_classes": 19, "width.0": 4}) == 6 * 19 + 2 * 4 + 1


def test_every_size_of_the_decoder_may_be_another() -> None:
    map = architectures()["PPLiteSeg"]
    config = {
        **config_of(map, "PP-LiteSeg-T"),
        "cm_out_ch": 24,
        "arm_out_chs": [8, 12, 16],
        "seg_head_inter_chs": [5, 6, 7],
        "cm_bin_sizes": [1, 3, 5],
    }
    from_table = expected._from_table(map, config)
    assert from_table is not None
    assert from_table == expected.shapes_of_model(map, config)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3", None, [3]])
def test_what_is_no_size_asks_the_model(value: object) -> None:
    map = architectures()["PPLiteSeg"]
    assert expected._from_table(map, {**config_of(map, "PP-LiteSeg-T"), "num_classes": value}) is None


def test_a_config_that_is_no_recipe_asks_the_model() -> None:
    map = architectures()["PPLiteSeg"]
    config = {**config_of(map, "PP-LiteSeg-T"), "arm_type": "UAFM"}
    assert expected._from_table(map, config) is None
    shapes = expected.expected_shapes(map, config)
    assert shapes is not None
    assert not any("attention" in name for name in shapes)
