"""Every architecture that ppls has, found by itself: recognised, converted, loaded, compared, taken back.

What an architecture's own test adds stands in tests/models/test_<map>.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter.convert import Conversion, convert
from ppls.converter.expected import expected_shapes, recipe_config
from ppls.converter.infer import infer_model_config
from ppls.converter.recognise import recognise
from ppls.converter.reference import upstream_model
from ppls.converter.translate import translate_back
from ppls.errors import ConversionError
from ppls.mappings.map_file import architectures
from ppls.models.stored import stored_from_torch
from ppls.parity.candidate import to_float64
from tests.conftest import run_upstream

SHAPE = (2, 3, 64, 128)
FLOAT32 = 1e-5  # scaled, in eval mode
FLOAT64 = 1e-9
FLOAT64_RESIZED = 2e-5  # Paddle computes the ratio of a resize in float32; with align_corners it is hardly ever exact

# Upstream code that is not in paddleseg: the variable names a checkout that has it.
ELSEWHERE = {"PSANet": "PPLS_PSANET"}

RECIPES = [(name, recipe) for name, map in architectures().items() for recipe in map.recipes]


@dataclass(frozen=True)
class Upstream:
    """What upstream's model of the first recipe computed, and what ppls makes of its checkpoint."""

    conversion: Conversion
    record: Any

    def model(self, dtype: torch.dtype) -> torch.nn.Module:
        model: torch.nn.Module = ppls.load(self.conversion.source)
        return to_float64(model) if dtype is torch.float64 else model

    @property
    def tolerance_float64(self) -> float:
        config = self.conversion.config
        aligned = config.get("align_corners", self.conversion.architecture == "STDCSeg")
        return FLOAT64_RESIZED if aligned or self.conversion.architecture == "PSANet" else FLOAT64


@pytest.fixture(scope="module", params=architectures())
def upstream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    map = architectures()[request.param]
    elsewhere = ELSEWHERE.get(request.param)
    if elsewhere and elsewhere not in os.environ:
        pytest.skip(f"{elsewhere} names no checkout that has {request.param}")
    model = upstream_model(map, recipe_config(map, next(iter(map.recipes))))
    job = {"name": "model", "model": model, "seed": 3, "shape": SHAPE, "float64": True}
    if elsewhere:
        job["paddleseg"] = os.environ[elsewhere]
    folder = run_upstream([job], tmp_path_factory.mktemp(request.param))
    return Upstream(convert(folder / "model.pdparams"), np.load(folder / "model.npz"))


def scaled(found: torch.Tensor, expected: Any) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found.detach().numpy() - expected).max() / np.abs(expected).max())


def test_it_is_recognised_and_its_config_is_that_of_the_recipe(upstream: Upstream) -> None:
    map = upstream.conversion.map
    for path, value in _flat(recipe_config(map, next(iter(map.recipes)))).items():
        assert _flat(upstream.conversion.config)[path] == value


def test_the_converted_file_loads_strictly_and_computes_what_upstream_computes(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.conversion.write(tmp_path / "converted.safetensors")
    model = ppls.load(tmp_path / "converted.safetensors")
    with torch.no_grad():
        logits, *_ = model(torch.from_numpy(upstream.record["input"]))
    assert scaled(logits, upstream.record["eval"]) <= FLOAT32


def test_in_float64_the_rest_of_the_difference_vanishes(upstream: Upstream) -> None:
    model = upstream.model(torch.float64)
    with torch.no_grad():
        logits, *_ = model(torch.from_numpy(upstream.record["input"].astype(np.float64)))
    assert scaled(logits, upstream.record["eval_float64"]) <= upstream.tolerance_float64


def test_a_train_step_gives_upstreams_outputs_in_order_and_its_running_statistics(upstream: Upstream) -> None:
    model = upstream.model(torch.float64).train()
    for layer in model.modules():
        if "Drop" in type(layer).__name__:
            layer.eval()
    with torch.no_grad():
        outputs = model(torch.from_numpy(upstream.record["input"].astype(np.float64)))
    expected = [upstream.record[name] for name in upstream.record.files if name.startswith("train_")]
    assert len(outputs) == len(expected)
    for found, wanted in zip(outputs, expected, strict=True):
        assert scaled(found, wanted) <= upstream.tolerance_float64
    back = translate_back(
        {name: stored_from_torch(tensor) for name, tensor in model.state_dict().items()},
        upstream.conversion.map,
        upstream.conversion.config,
    )
    for name in upstream.record.files:
        if name.startswith("after."):
            statistic = back.tensors[name.removeprefix("after.")].load()
            assert scaled(torch.from_numpy(statistic), upstream.record[name]) <= max(1e-7, upstream.tolerance_float64)


def test_the_way_back_gives_the_checkpoint_bit_for_bit(upstream: Upstream) -> None:
    model = ppls.load(upstream.conversion.source)
    back = translate_back(
        {name: stored_from_torch(tensor) for name, tensor in model.state_dict().items()},
        upstream.conversion.map,
        upstream.conversion.config,
    )
    checkpoint = ppls.read(upstream.conversion.source)
    assert back.problems == []
    assert back.tensors.keys() == set(checkpoint)
    for name, tensor in back.tensors.items():
        assert np.array_equal(tensor.load(), checkpoint[name]), name


@pytest.mark.parametrize(("architecture", "recipe"), RECIPES)
def test_the_tensors_of_every_recipe_are_recognised_as_it_and_as_no_other(architecture: str, recipe: str) -> None:
    map = architectures()[architecture]
    config = recipe_config(map, recipe)
    shapes = expected_shapes(map, config)
    assert shapes is not None
    sources = translate_back({name: _tensor(shape) for name, shape in shapes.items()}, map, config).tensors
    checkpoint = Named(sources)
    assert recognise(checkpoint).map.name == map.name  # type: ignore[arg-type]
    inferred = infer_model_config(map, checkpoint.shapes, {})
    assert inferred.problems == []
    for path, value in _flat(config).items():
        assert _flat(inferred.config)[path] == value


@pytest.mark.parametrize(("architecture", "recipe"), RECIPES)
def test_a_backbone_alone_is_recognised_and_named(architecture: str, recipe: str) -> None:
    map = architectures()[architecture]
    config = recipe_config(map, recipe)
    shapes = expected_shapes(map, config) or {}
    sources = translate_back({name: _tensor(shape) for name, shape in shapes.items()}, map, config).tensors
    (included,) = map.includes
    prefix = f"{included.source}."
    alone = Named({name.removeprefix(prefix): t for name, t in sources.items() if name.startswith(prefix)})
    preset = map.recipes[recipe]["backbone"]
    name = preset if isinstance(preset, str) else preset["type"]
    with pytest.raises(ConversionError, match=f"is the backbone {name} alone.*--arch {name}"):
        recognise(alone)  # type: ignore[arg-type]


@pytest.mark.parametrize(("architecture", "recipe"), RECIPES)
def test_every_recipe_has_a_measured_row_in_the_zoo(architecture: str, recipe: str) -> None:
    page = (Path(__file__).parents[1] / "docs" / "zoo.md").read_text()
    (row,) = [line.split(" | ") for line in page.splitlines() if line.startswith(f"| {architecture} | {recipe} |")]
    float32, floor, layers, float64 = map(float, row[5:9])
    assert 0 < float32 <= 1e-4
    assert 0 < floor <= 2e-5
    assert 0 < layers <= 1e-4
    assert 0 < float64 <= 1e-9


class Named(dict[str, StoredTensor]):
    """A checkpoint without a file."""

    path = Path("model.pdparams")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.items()}


def _tensor(shape: tuple[int, ...]) -> StoredTensor:
    return StoredTensor("float32", shape, lambda: np.zeros(shape, np.float32))


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
