"""How upstream builds the model of a config."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppls.converter.infer import infer_model_config
from ppls.converter.reference import upstream_model
from ppls.mappings.map_file import load_map

TOY = "format: 2\narchitecture: Toy\ntarget: none\nmodules:\n  - [fc, classifier, conv]\n  - [aux, auxiliary, conv]\n"


@pytest.mark.parametrize(("entry", "kwargs"), [("aux", {}), ("{modules: aux, passed: true}", {"auxiliary": False})])
def test_an_option_of_modules_that_may_be_absent_is_upstreams_too_where_the_map_says_so(
    tmp_path: Path, entry: str, kwargs: dict[str, bool]
) -> None:
    (tmp_path / "toy.yaml").write_text(f"{TOY}optional: {{auxiliary: {entry}}}\n")
    map = load_map(tmp_path / "toy.yaml")
    config = infer_model_config(map, {"fc.weight": (2, 3)}, {}).config
    assert config == {"auxiliary": False}
    assert upstream_model(map, config)["kwargs"] == kwargs
