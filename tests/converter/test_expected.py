from __future__ import annotations

import json

import pytest

from ppls.converter import expected
from ppls.mappings.map_file import architectures
from ppls.mappings.maps import Map


@pytest.mark.parametrize("map", architectures().values(), ids=architectures())
def test_the_table_is_what_the_models_have(map: Map) -> None:
    stored = json.loads((expected.TABLES / f"{map.name}.json").read_text())
    assert stored == json.loads(json.dumps(expected.generated_table(map))), "run `python -m ppls.converter.expected`"


def test_the_table_answers_for_any_number_of_classes() -> None:
    map = architectures()["PPLiteSeg"]
    for entry in expected._table("pp_liteseg"):
        config = {**entry["config"], "num_classes": 5}
        from_table = expected._from_table(map, config)
        assert from_table == expected._from_model(map, config)
        assert from_table is not None
        assert from_table["heads.0.classifier.weight"][0] == 5


def test_a_config_that_is_no_recipe_asks_the_model() -> None:
    map = architectures()["PPLiteSeg"]
    config = {**expected._table("pp_liteseg")[0]["config"], "num_classes": 5, "cm_out_ch": 96}
    assert expected._from_table(map, config) is None
    shapes = expected.expected_shapes(map, config)
    assert shapes is not None
    assert shapes["context.conv_out.conv.weight"] == (96, 96, 3, 3)
