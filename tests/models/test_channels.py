"""How many channels a model's images have is told by its first convolution, of every architecture."""

from __future__ import annotations

import pytest

from ppls.mappings.map_file import architectures
from ppls.mappings.targets import import_target
from ppls.models.building import without_values
from ppls.models.images import channels_of, check_rgb


@pytest.mark.parametrize("title", [map.title for map in architectures().values() if map.target is not None])
def test_every_model_takes_rgb_as_it_is_built(title: str) -> None:
    model = without_values(import_target(architectures()[title]), {})
    check_rgb(model)
    assert channels_of(model) == 3
