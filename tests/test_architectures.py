"""Every architecture that ppls has, found by itself: recognised, converted, loaded, compared, taken back.

What an architecture's own test adds stands in tests/models/test_<map>.py.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
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
from ppls.mappings.maps import Map
from ppls.models.stored import stored_from_torch
from ppls.parity.candidate import to_float64
from ppls.parity.draws import Replayed
from ppls.parity.reference.structure import places
from tests.architectures import (
    CHECKOUT,
    at_hand,
    features,
    flat,
    live,
    map_of,
    recipes,
    run_live,
    selected,
    small_config,
    stale,
    zoo_rows,
)
from tests.conftest import run_upstream

SHAPE = (2, 3, 64, 128)
FLOAT32 = 1e-5  # scaled, in eval mode
FLOAT64 = 1e-9
FLOAT64_RESIZED = 2e-5  # where a resize could not be recomputed: Paddle computes its ratio in float32
BATCH = 16  # architectures that upstream builds in one go: their checkpoints take about 1 GB

RECIPES = recipes()


@dataclass(frozen=True)
class Upstream:
    """What upstream's model of a small config computed, and what ppls makes of its checkpoint."""

    conversion: Conversion
    record: Any

    @cached_property
    def model(self) -> torch.nn.Module:
        """Of the checkpoint, in eval mode; not to be changed."""
        return ppls.load(self.conversion.source)

    def model_in_float64(self) -> torch.nn.Module:
        return to_float64(copy.deepcopy(self.model))

    @property
    def tolerance_float64(self) -> float:
        return FLOAT64 if self.record["exact"] else FLOAT64_RESIZED


@pytest.fixture(scope="module")
def built() -> dict[str, Path]:
    """The folders in which upstream has left what it was asked for so far, by architecture."""
    return {}


@pytest.fixture(scope="module", params=run_live(architectures()))
def upstream(
    request: pytest.FixtureRequest, built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upstream]:
    name = request.param
    map_of(name)
    if name not in built:
        asked = selected(request, "upstream")
        built |= build(asked[asked.index(name) :][:BATCH], tmp_path_factory.mktemp("upstream"))
    checkpoint = built[name] / f"{name}.pdparams"
    if not checkpoint.exists():
        pytest.skip(f"upstream has no {name}, and PPLS_PADDLESEG names no checkout that has it")
    yield Upstream(convert(checkpoint), np.load(checkpoint.with_suffix(".npz")))
    checkpoint.unlink()


def build(names: list[str], folder: Path) -> dict[str, Path]:
    """Has upstream build a small model of each, or the checkout what the installed package lacks."""
    jobs = [job(name, map_of(name)) for name in names]
    folders = dict.fromkeys(names, run_upstream(jobs, folder))
    absent = [job for job in jobs if (folder / f"{job['name']}.absent").exists()]
    if absent and CHECKOUT:
        (folder / "checkout").mkdir()
        elsewhere = run_upstream([{**job, "paddleseg": CHECKOUT} for job in absent], folder / "checkout")
        folders |= dict.fromkeys((str(job["name"]) for job in absent), elsewhere)
    return folders


def job(name: str, map: Map) -> dict[str, Any]:
    model = upstream_model(map, small_config(map))
    asked = {"name": name, "model": model, "seed": 3, "shape": SHAPE, "float64": True, "may_be_absent": True}
    return {**asked, "exponents": [pattern.expression for pattern in map.exponents]}


def scaled(found: torch.Tensor, expected: Any) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found.detach().numpy() - expected).max() / np.abs(expected).max())


def test_it_is_recognised_and_its_config_is_that_of_the_recipe(upstream: Upstream) -> None:
    for path, value in flat(small_config(upstream.conversion.map)).items():
        assert flat(upstream.conversion.config)[path] == value


def test_the_converted_file_loads_strictly_and_computes_what_upstream_computes(
    upstream: Upstream, tmp_path: Path
) -> None:
    record = upstream.record
    upstream.conversion.write(tmp_path / "converted.safetensors")
    model = ppls.load(tmp_path / "converted.safetensors")
    (tmp_path / "converted.safetensors").unlink()
    with torch.no_grad():
        logits, *_ = model(torch.from_numpy(record["input"]))
    assert scaled(logits, record["eval"]) <= FLOAT32


def test_in_float64_the_rest_of_the_difference_vanishes(upstream: Upstream) -> None:
    with torch.no_grad():
        logits, *_ = upstream.model_in_float64()(torch.from_numpy(upstream.record["input"].astype(np.float64)))
    assert scaled(logits, upstream.record["eval_float64"]) <= upstream.tolerance_float64


def test_a_train_step_gives_upstreams_outputs_in_order_and_its_running_statistics(upstream: Upstream) -> None:
    model = upstream.model_in_float64().train()
    for layer in model.modules():
        if "Drop" in type(layer).__name__:
            layer.eval()
    with torch.no_grad(), Replayed(0, ()):
        result = model(torch.from_numpy(upstream.record["input"].astype(np.float64)))
    outputs = [output for _, output in places(result, torch.is_tensor)]
    expected = [upstream.record[name] for name in upstream.record.files if name.startswith("train_")]
    assert len(outputs) == len(expected)
    for found, wanted in zip(outputs, expected, strict=True):
        assert scaled(found, wanted) <= upstream.tolerance_float64
    tensors = {name: stored_from_torch(tensor) for name, tensor in model.state_dict().items()}
    back = translate_back(tensors, upstream.conversion.map, upstream.conversion.config)
    for name in upstream.record.files:
        if name.startswith("after.") and name.removeprefix("after.") not in back.unused:
            statistic = back.tensors[name.removeprefix("after.")].load()
            assert scaled(torch.from_numpy(statistic), upstream.record[name]) <= max(1e-7, upstream.tolerance_float64)


def test_the_way_back_gives_the_checkpoint_bit_for_bit(upstream: Upstream) -> None:
    tensors = {name: stored_from_torch(tensor) for name, tensor in upstream.model.state_dict().items()}
    back = translate_back(tensors, upstream.conversion.map, upstream.conversion.config)
    checkpoint = ppls.read(upstream.conversion.source)
    assert back.problems == []
    assert {*back.tensors, *back.unused} == set(checkpoint)
    for name, tensor in back.tensors.items():
        assert np.array_equal(tensor.load(), checkpoint[name]), name


@pytest.mark.parametrize("architecture", architectures())
def test_its_map_can_be_read_and_has_a_recipe(architecture: str) -> None:
    assert map_of(architecture).recipes


@pytest.mark.parametrize(("architecture", "recipe"), RECIPES)
def test_the_tensors_of_every_recipe_are_recognised_as_it_and_as_no_other(architecture: str, recipe: str) -> None:
    map = map_of(architecture, recipe)
    config = recipe_config(map, recipe)
    checkpoint = Named(sources(map, config))
    assert recognise(checkpoint).map.name == map.name  # type: ignore[arg-type]
    inferred = infer_model_config(map, checkpoint.shapes, {})
    assert inferred.problems == []
    for path, value in flat(config).items():
        assert flat(inferred.config)[path] == value


@pytest.mark.parametrize(("architecture", "recipe"), RECIPES)
def test_a_backbone_alone_is_recognised_and_named(architecture: str, recipe: str) -> None:
    map = map_of(architecture, recipe)
    if not map.includes:
        pytest.skip(f"{architecture} has no backbone of its own map")
    (included,) = map.includes
    prefix = f"{included.source}."
    tensors = sources(map, recipe_config(map, recipe))
    alone = Named({name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)})
    preset = map.recipes[recipe]["backbone"]
    name = preset if isinstance(preset, str) else preset["type"]
    with pytest.raises(ConversionError, match=f"is the backbone {name} alone.*--arch {name}"):
        recognise(alone)  # type: ignore[arg-type]


@pytest.mark.parametrize(("architecture", "recipe"), RECIPES)
def test_every_recipe_has_a_measured_row_in_the_zoo(architecture: str, recipe: str) -> None:
    row = zoo_rows().get((architecture, recipe))
    if row is None:
        pytest.fail(f"docs/zoo.md has no row of {recipe}: run make tables NAMES={architecture}", pytrace=False)
    float32, floor, layers, float64 = map(float, row[5:9])
    assert 0 < float32 <= 1e-4
    assert 0 < floor <= 2e-5
    assert 0 < layers <= 1e-4
    assert 0 < float64 <= 1e-9


@pytest.mark.parametrize("architecture", architectures())
def test_nothing_that_its_proof_rests_on_has_changed_since(architecture: str) -> None:
    map_of(architecture)
    if architecture not in at_hand():
        pytest.skip(f"upstream has no {architecture}, and PPLS_PADDLESEG names no checkout that has it")
    if architecture in stale():
        pytest.fail(
            f"{architecture} is not what it was when its tests passed last, by docs/zoo.md: its map, its model or what "
            f"that is made of is new; run make tables, or make tables NAMES={architecture} to measure it anew too",
            pytrace=False,
        )


def test_the_zoo_has_no_row_that_no_map_has() -> None:
    assert set(zoo_rows()) <= set(RECIPES), "run make tables"


def test_every_run_has_one_architecture_for_whatever_maps_can_say_and_models_share() -> None:
    everything = set().union(*features().values())
    assert set().union(*(features()[name] for name in live())) == everything
    assert live() >= stale()


class Named(dict[str, StoredTensor]):
    """A checkpoint without a file."""

    path = Path("model.pdparams")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.items()}

    @property
    def tensors(self) -> dict[str, StoredTensor]:
        return self


def sources(map: Map, config: dict[str, Any]) -> dict[str, StoredTensor]:
    """The tensors of upstream's model with this config, by the way back from ppls's."""
    shapes = expected_shapes(map, config)
    assert shapes is not None
    targets = {name: StoredTensor("float32", shape, unread) for name, shape in shapes.items()}
    return translate_back(targets, map, config).tensors


def unread() -> Any:
    raise AssertionError("names and shapes suffice")
