"""A toy map with every operation, on tensors that a reader can hold in the head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter.dropping import TRACED
from ppls.converter.translate import check_complete, translate, translate_back
from ppls.mappings.map_file import load_map
from ppls.mappings.maps import Map

TOY = """\
format: 2
architecture: Toy
target: none
layers:
  conv: {weight: weight, bias: bias}
  linear: {weight: {to: weight, transpose: [1, 0]}, bias: bias}
  batch_norm: {weight: weight, bias: bias, _mean: running_mean, _variance: running_var}
tensors:
  - {from: att.kv.weight, to: [att.k.weight, att.v.weight], split: {dim: 0}}
  - {from: [q.<i>.a, q.<i>.b], to: qkv.<i>, concat: {dim: 0}}
  - {to: fold.bn.running_mean, fold_bias: {mean: fold._batch_norm._mean, bias: fold._conv.bias}}
modules:
  - [stem.<i>, blocks.<i>, conv]
  - [fc, classifier, linear]
  - [fold._conv, fold.conv, conv]
  - [fold._batch_norm, fold.bn, batch_norm, {weight: negate, bias: negate}]
  - [mixed, mixed, conv, {weight: {permute: {dim: 1, order: [2, 0, 1]}}}]
constants:
  stem.<i>.scale: {value: 2.0, shape: [1], beside: stem.<i>.weight, only: {mode: scaled}}
duplicates:
  copy.<i>: stem.<i+1>
  again: {of: fc, written: true}
dead:
  unused: never run
optional:
  heads: aux.<i:1..>
keep: [index]
config: {mode: {default: plain}}
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Map:
    path = tmp_path_factory.mktemp("maps") / "toy.yaml"
    path.write_text(TOY)
    return load_map(path)


def stored(array: Any) -> StoredTensor:
    array = np.asarray(array, dtype=np.float32)
    return StoredTensor("float32", array.shape, lambda: array)


@pytest.fixture
def source() -> dict[str, StoredTensor]:
    def count(*shape: int) -> np.ndarray:
        return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 1

    arrays = {
        "stem.0.weight": count(2, 3, 1, 1),
        "stem.1.weight": count(2, 2, 1, 1) * 10,
        "stem.0.scale": [2],
        "stem.1.scale": [2],
        "copy.0.weight": count(2, 2, 1, 1) * 10,
        "fc.weight": count(2, 2),
        "fc.bias": count(2),
        "again.weight": count(2, 2),
        "again.bias": count(2),
        "att.kv.weight": count(4, 2),
        "q.0.a": count(1, 2),
        "q.0.b": count(1, 2) * -1,
        "mixed.weight": count(1, 3, 1, 1),
        "unused.conv.weight": count(1),
    }
    return {name: stored(array) for name, array in arrays.items()}


CONFIG = {"mode": "scaled", "heads": True}


def test_every_operation_does_what_the_map_says(toy: Map, source: dict[str, StoredTensor]) -> None:
    result = translate(source, toy, CONFIG)
    assert result.problems == []
    arrays = {name: tensor.load().tolist() for name, tensor in result.tensors.items()}
    assert arrays["blocks.1.weight"] == source["stem.1.weight"].load().tolist()
    assert arrays["classifier.weight"] == [[1, 3], [2, 4]]  # a square weight, transposed for its kind
    assert arrays["att.k.weight"] == [[1, 2], [3, 4]]
    assert arrays["att.v.weight"] == [[5, 6], [7, 8]]
    assert arrays["qkv.0"] == [[1, 2], [-1, -2]]
    assert np.ravel(arrays["mixed.weight"]).tolist() == [3, 1, 2]
    assert result.constants == {"stem.0.scale": 2.0, "stem.1.scale": 2.0}
    assert {dropped.name: dropped.why for dropped in result.dropped} == {
        "stem.0.scale": "the constant 2, which the PyTorch model has built in",
        "stem.1.scale": "the constant 2, which the PyTorch model has built in",
        "copy.0.weight": "equal to stem.1.weight",
        "again.weight": "equal to fc.weight",
        "again.bias": "equal to fc.bias",
        "unused.conv.weight": "never run",
    }


def test_the_way_back_gives_every_tensor_that_paddleseg_still_writes(toy: Map, source: dict[str, StoredTensor]) -> None:
    back = translate_back(translate(source, toy, CONFIG).tensors, toy, CONFIG)
    assert back.problems == []
    assert set(source) - set(back.tensors) == {"copy.0.weight", "unused.conv.weight"}
    for name, tensor in back.tensors.items():
        np.testing.assert_array_equal(tensor.load(), source[name].load(), err_msg=name)


def test_a_constant_is_written_back_only_under_its_options(toy: Map, source: dict[str, StoredTensor]) -> None:
    back = translate_back(translate(source, toy, CONFIG).tensors, toy, {"mode": "plain"})
    assert not any(name.endswith("scale") for name in back.tensors)


def test_a_folded_bias_goes_one_way_only(toy: Map) -> None:
    source = {
        "fold._conv.weight": stored(np.ones((2, 1, 1, 1))),
        "fold._conv.bias": stored([0.5, -1]),
        "fold._batch_norm._mean": stored([1, 2]),
        "fold._batch_norm._variance": stored([1, 1]),
        "fold._batch_norm.weight": stored([1, 2]),
        "fold._batch_norm.bias": stored([3, 4]),
    }
    result = translate(source, toy, CONFIG)
    assert result.problems == []
    assert result.tensors["fold.bn.running_mean"].load().tolist() == [0.5, 3]
    assert result.tensors["fold.bn.weight"].load().tolist() == [-1, -2]
    back = translate_back(result.tensors, toy, CONFIG)
    assert back.problems == ["unknown: fold.bn.running_mean [2] has no rule in the map toy"]
    (conv,) = toy.pair_modules(["fold._conv"])
    assert not conv.output_comparable


def test_a_pair_of_layers_compares_in_the_targets_layout(toy: Map) -> None:
    mixed, norm = toy.pair_modules(["mixed", "fold._batch_norm"])
    channels = np.arange(3.0).reshape(1, 3, 1, 1)
    assert mixed.input(channels).ravel().tolist() == [2, 0, 1]
    assert mixed.output(channels).ravel().tolist() == [0, 1, 2]
    assert norm.output(channels).ravel().tolist() == [-0.0, -1, -2]


def problems(source: dict[str, StoredTensor], map: Map) -> list[str]:
    return translate(source, map, CONFIG).problems


def test_a_constant_with_another_value_is_a_problem(toy: Map, source: dict[str, StoredTensor]) -> None:
    source["stem.1.scale"] = stored([2.5])
    (problem,) = problems(source, toy)
    assert problem.startswith("stem.1.scale: must be the constant 2 of shape [1], which the PyTorch model has built in")
    assert problem.endswith("but is [2.5] of shape [1]")


def test_what_a_forward_made_as_it_was_exported_is_dropped(toy: Map, source: dict[str, StoredTensor]) -> None:
    source["eager_tmp_0"] = stored([np.inf])
    found = translate(source, toy, CONFIG)
    assert found.problems == []
    assert {dropped.name: dropped.why for dropped in found.dropped}["eager_tmp_0"] == TRACED


def test_unequal_and_orphaned_duplicates_are_problems(toy: Map, source: dict[str, StoredTensor]) -> None:
    source["copy.0.weight"] = stored(np.zeros((2, 2, 1, 1)))
    source["copy.5.weight"] = stored(np.zeros((2, 2, 1, 1)))
    first, second = problems(source, toy)
    assert first.startswith("copy.0.weight: must equal stem.1.weight, of which it is a duplicate, and does not")
    assert second == "copy.5.weight: is a duplicate of stem.6.weight, which is missing"


def test_every_problem_is_listed_not_just_the_first(toy: Map, source: dict[str, StoredTensor]) -> None:
    source["what.is.this"] = stored([1])
    source["and.this"] = stored([1])
    source["att.kv.weight"] = stored(np.ones((3, 2)))
    del source["q.0.b"]
    assert problems(source, toy) == [
        "unknown: what.is.this [1] has no rule in the map toy",
        "unknown: and.this [1] has no rule in the map toy",
        "att.kv.weight: the shape [3, 2] has no 2 equal parts along dim 0",
        "missing: q.0.b, which line 10 (q.<i>.a, q.<i>.b -> qkv.<i>) needs beside q.0.a",
    ]


def test_completeness_names_what_is_missing_unexpected_and_of_another_shape(
    toy: Map, source: dict[str, StoredTensor]
) -> None:
    result = translate(source, toy, CONFIG)
    expected = {name: tensor.shape for name, tensor in result.tensors.items()} | {"index": (3,)}
    assert check_complete(result, expected, toy) == []  # `keep: [index]`: it keeps its own value
    del expected["qkv.0"]
    expected["classifier.bias"] = (7,)
    expected["blocks.9.weight"] = (1, 1)
    expected["nothing"] = (1,)
    assert check_complete(result, expected, toy) == [
        "wrong shape: fc.bias gives classifier.bias [2], the model has [7]",
        "missing: stem.9.weight, for blocks.9.weight [1, 1]",
        "missing: a tensor that no rule gives, for nothing [1]",
        "unexpected: q.0.a, q.0.b; the model of this config has no qkv.0",
    ]


def test_bits_are_compared_so_that_nan_equals_itself(toy: Map, source: dict[str, StoredTensor]) -> None:
    for name in ("fc.bias", "again.bias"):
        source[name] = stored([np.nan, 1])
    assert problems(source, toy) == []


def test_what_is_unused_and_still_written_goes_back_as_zeros_of_its_shape(
    tmp_path: Path, source: dict[str, StoredTensor]
) -> None:
    """As the head of DANet that PaddleSeg builds, saves and never runs."""
    written = '{why: never run, written: {conv.weight: [3, width, "fc.weight[1]"], conv.bias: [2*width]}}'
    written += "\n  alone: {why: never run, written: [width], only: {width: 5}}"
    written += "\n  other: {why: never run, written: [width], only: {width: 4}}"
    text = TOY.replace("unused: never run", f"unused: {written}").replace("config: {", "config: {width: {default: 4}, ")
    (tmp_path / "toy.yaml").write_text(text)
    map, config = load_map(tmp_path / "toy.yaml"), {**CONFIG, "width": 5}
    there = translate(source, map, config)
    assert "unused.conv.weight" in [dropped.name for dropped in there.dropped]
    back = translate_back(there.tensors, map, config)
    assert {name: tensor.shape for name, tensor in back.unused.items()} == {
        "unused.conv.weight": (3, 5, 2),
        "unused.conv.bias": (10,),
        "alone": (5,),
    }
    assert not any(tensor.load().any() for tensor in back.unused.values())
    assert back.unused.keys().isdisjoint(back.tensors)
    without = {name: tensor for name, tensor in there.tensors.items() if not name.startswith("classifier")}
    assert any("fc.weight" in problem for problem in translate_back(without, map, config).problems)


def test_what_depends_on_an_option_of_the_backbone_goes_back(tmp_path: Path) -> None:
    (tmp_path / "toybone.yaml").write_text(
        "format: 2\nbackbone: ToyBone\ntarget: ppls.models.toy.ToyBone\n"
        "source: paddleseg.models.backbones.toy.ToyBone\nmodules:\n  - [stem.<i>, blocks.<i>, conv]\n"
        "constants:\n  stem.<i>.scale: {value: 2.0, shape: [1], beside: stem.<i>.weight, only: {mode: scaled}}\n"
        "config: {mode: {default: plain}}\n"
    )
    (tmp_path / "toy.yaml").write_text(
        "format: 2\narchitecture: Toy\ntarget: none\nbackbones: [toybone]\nmodules:\n  - [fc, classifier, conv]\n"
    )
    map = load_map(tmp_path / "toy.yaml")
    source = {"backbone.stem.0.weight": stored([1, 2]), "backbone.stem.0.scale": stored([2]), "fc.weight": stored([3])}
    for mode, names in (("scaled", set(source)), ("plain", set(source) - {"backbone.stem.0.scale"})):
        config = {"backbone": {"type": "ToyBone", "mode": mode}}
        there = translate(source, map, config)
        assert there.problems == []
        assert set(translate_back(there.tensors, map, config).tensors) == names
