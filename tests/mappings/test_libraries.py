"""The maps onto models of public libraries: complete, and with the arithmetic that they need.

`ports/*.json` are the names and shapes of what each model's state dict holds, torch's counters of batches left out. The
libraries are not needed here: docs/ports.md tells how their models were judged.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter.expected import recipe_config, shapes_of_model
from ppls.converter.translate import translate, translate_back
from ppls.mappings.map_file import load_map, named_file, shipped_map
from ppls.mappings.maps import Map

SEGFORMER, RESNET = "ports/transformers_segformer", "ports/timm_resnet_vd"


def of(source: str) -> tuple[Map, dict[str, Any]]:
    """The source's own map, and the config of the model."""
    map = shipped_map(source)
    return map, recipe_config(map, "SegFormer-B0") if map.architecture else dict(map.presets["ResNet50_vd"])


def sources(source: str) -> dict[str, StoredTensor]:
    """The tensors of PaddleSeg's model, each with random values of its own."""
    map, config = of(source)
    rng = np.random.default_rng(0)
    made = {
        name: StoredTensor("float32", shape, partial(np.array, rng.normal(size=shape).astype(np.float32)))
        for name, shape in shapes_of_model(map, config).items()
    }
    return translate_back(made, map, config).tensors


@pytest.mark.parametrize(
    ("name", "source", "model"),
    [(SEGFORMER, "segformer", "transformers_segformer"), (RESNET, "resnet_vd", "timm_resnet50d")],
)
def test_every_tensor_is_used_and_every_one_of_the_model_filled_and_the_way_back_is_whole(
    name: str, source: str, model: str
) -> None:
    tensors, map = sources(source), load_map(named_file(name))
    config = of(source)[1]
    there = translate(tensors, map, config)
    assert there.problems == []
    has = json.loads((Path(__file__).parent / "ports" / f"{model}.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in there.tensors.items()} == has
    back = translate_back(there.tensors, map, config)
    assert back.problems == []
    assert back.tensors.keys() == tensors.keys()
    for each, tensor in tensors.items():
        np.testing.assert_array_equal(back.tensors[each].load(), tensor.load())


def test_a_fused_key_and_value_of_paddle_are_two_weights_of_torch() -> None:
    tensors, map = sources("segformer"), load_map(named_file(SEGFORMER))
    found = translate(tensors, map, of("segformer")[1]).tensors
    fused = tensors["backbone.block2.1.attn.kv.weight"].load()  # (in, key and value)
    for at, part in enumerate("kv"):
        weight = found[f"segformer.stages.1.blocks.1.attention.{part}_proj.weight"].load()
        np.testing.assert_array_equal(weight, fused[:, at * 64 : (at + 1) * 64].T)


def test_paddlesegs_vit_becomes_timms_and_goes_back() -> None:
    has = json.loads((Path(__file__).parent / "ports" / "timm_vit.json").read_text())
    rng = np.random.default_rng(0)

    def stored(name: str, shape: list[int]) -> StoredTensor:
        linear = name.endswith(".weight") and len(shape) == 2  # Paddle's is (in, out)
        array = rng.normal(size=shape[::-1] if linear else shape).astype(np.float32)
        return StoredTensor("float32", array.shape, partial(np.array, array))

    tensors = {name: stored(name, shape) for name, shape in has.items()}
    map = load_map(named_file("ports/timm_vit"))
    there = translate(tensors, map, {})
    assert there.problems == []
    assert {name: list(tensor.shape) for name, tensor in there.tensors.items()} == has
    for name, tensor in there.tensors.items():
        given = tensors[name].load()
        linear = name.endswith(".weight") and given.ndim == 2
        np.testing.assert_array_equal(tensor.load(), given.T if linear else given)
    back = translate_back(there.tensors, map, {})
    assert back.problems == []
    assert {name: tensor.shape for name, tensor in back.tensors.items()} == {n: t.shape for n, t in tensors.items()}
