"""Options that are told by presets: which of them has the shapes of the tensors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ppls.converter import expected
from ppls.converter.infer import infer_model_config
from ppls.converter.tabulate import generated_table
from ppls.errors import ConversionError, MapError
from ppls.mappings.config_rules import Given, Inferred
from ppls.mappings.map_file import load_map
from ppls.mappings.maps import Map

# the first two blocks of a large one are a small one
MODELS = """\
from torch import nn

class Bone(nn.Module):
    def __init__(self, size="large", scale=1.0, dilated=False, drop=0.1, in_channels=3):
        super().__init__()
        table = {"small": (4, 8), "large": (4, 8, 16)}[size]
        widths = [in_channels, *(int(width * scale) for width in table)]
        self.blocks = nn.ModuleList(nn.Conv2d(*pair, 1, bias=False) for pair in zip(widths, widths[1:]))

class Toy(nn.Module):
    def __init__(self, num_classes, backbone):
        super().__init__()
        self.encoder = Bone(**{key: value for key, value in backbone.items() if key != "type"})
        self.head = nn.Conv2d(4, num_classes, 1, bias=False)
"""
TOY = """\
format: 2
architecture: Toy
target: presets_toy.Toy
backbones: [bone]
modules: [[bone, encoder, backbone], [head, head, conv]]
config: {num_classes: "head.weight[0]"}
"""
BONE = """\
format: 2
backbone: Bone
source: paddleseg.models.Bone
target: presets_toy.Bone
modules: [[conv<i>, blocks.<i>, conv]]
config:
  size:        {told_by: presets}
  scale:       {told_by: presets}
  dilated:     false
  in_channels: "conv0.weight[1]"
presets:
  all: {in_channels: 3, dilated: false}
  small_x1:     {size: small, scale: 1.0}
  small_x2:     {size: small, scale: 2.0}
  large_x1_os8: {size: large, scale: 1.0, dilated: true}
  large_x1:     {size: large, scale: 1.0}
"""
SMALL_X2 = {"conv0.weight": (8, 3, 1, 1), "conv1.weight": (16, 8, 1, 1)}
LARGE_X1 = {"conv0.weight": (4, 3, 1, 1), "conv1.weight": (8, 4, 1, 1), "conv2.weight": (16, 8, 1, 1)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "presets_toy.py").write_text(MODELS)
    (tmp_path / "toy.yaml").write_text(TOY)
    (tmp_path / "bone.yaml").write_text(BONE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "presets_toy", raising=False)
    return tmp_path


def opened(folder: Path, name: str = "bone") -> Map:
    return load_map(folder / f"{name}.yaml", ["presets_toy"])


def read(map: Map, shapes: dict[str, tuple[int, ...]], **given: Any) -> Inferred:
    users = {name: Given(value, f"--set {name}") for name, value in given.items()}
    return infer_model_config(map, shapes, users)


@pytest.mark.parametrize(("shapes", "size", "scale"), [(SMALL_X2, "small", 2.0), (LARGE_X1, "large", 1.0)])
def test_the_preset_with_these_shapes_says_the_options(folder: Path, shapes: Any, size: str, scale: float) -> None:
    found = read(opened(folder), shapes)
    assert not found.problems
    assert (found.config["size"], found.config["scale"]) == (size, scale)
    assert not found.assumed.keys() & {"size", "scale", "in_channels"}
    shapes = {f"bone.{name}": shape for name, shape in shapes.items()} | {"head.weight": (7, 4, 1, 1)}
    within = read(opened(folder, "toy"), shapes)
    assert not within.problems
    assert within.config == {"num_classes": 7, "backbone": {"type": "Bone", **found.config}}


def test_what_something_else_reveals_does_not_stop_a_preset(folder: Path) -> None:
    found = read(opened(folder), {**SMALL_X2, "conv0.weight": (8, 5, 1, 1)})
    assert not found.problems
    assert found.config == {"size": "small", "scale": 2.0, "dilated": False, "in_channels": 5}


def test_of_presets_with_the_same_shapes_the_first_is_assumed(folder: Path) -> None:
    found = read(opened(folder), LARGE_X1)
    assert found.config["dilated"] is True
    assert found.assumed == {"dilated": True}
    assert read(opened(folder), LARGE_X1, dilated=False).config["dilated"] is False


def test_an_option_that_fitting_presets_disagree_about_is_assumed_and_the_users_to_say(folder: Path) -> None:
    text = BONE.replace("dilated:     false", "dilated:     {told_by: presets}\n  drop: 0.1")
    (folder / "bone.yaml").write_text(text.replace("x1:     {size: large,", "x1:     {size: large, drop: 0.5,"))
    found = read(opened(folder), LARGE_X1)
    assert found.config["dilated"] is True
    assert found.assumed == {"dilated": True, "drop": 0.1}
    told = read(opened(folder), LARGE_X1, dilated=False)
    assert (told.config["dilated"], told.assumed, told.problems) == (False, {"drop": 0.5}, [])


def test_where_none_fits_one_message_names_the_closest_and_the_first_tensor_that_differs(folder: Path) -> None:
    found = read(opened(folder), {**LARGE_X1, "conv2.weight": (17, 8, 1, 1)})
    (problem,) = found.problems
    assert problem.startswith("size and scale: the tensors are of none of the presets; closest is ")
    assert "large_x1_os8, but wrong shape: conv2.weight gives blocks.2.weight [17, 8, 1, 1], the model has" in problem
    assert found.guessed


def test_more_tensors_than_a_preset_has_are_another_preset_or_none(folder: Path) -> None:
    (folder / "bone.yaml").write_text(BONE[: BONE.index("  large_x1_os8")])
    (problem,) = read(opened(folder), LARGE_X1).problems
    assert "closest is small_x1, but unexpected: conv2.weight" in problem


def test_the_user_may_say_what_is_no_preset_and_not_what_the_tensors_contradict(folder: Path) -> None:
    shapes = {"conv0.weight": (12, 3, 1, 1), "conv1.weight": (24, 12, 1, 1)}
    found = read(opened(folder), shapes, size="small", scale=3.0)
    assert (found.config["scale"], found.problems) == (3.0, [])
    assert read(opened(folder), shapes, size="small").problems
    assert read(opened(folder), SMALL_X2, scale=1.0).problems == ["scale: the tensors say 2.0, --set scale says 1.0"]


def test_without_a_model_the_options_are_asked_for(folder: Path) -> None:
    (folder / "bone.yaml").write_text(BONE.replace("presets_toy.Bone", "none"))
    (problem,) = read(opened(folder), SMALL_X2).problems
    assert "to no model that has their shapes; of what is no preset, give size and scale with --set" in problem
    (folder / "bone.yaml").write_text(BONE.replace("presets_toy.Bone", "presets_toy.Gone"))
    (problem,) = read(opened(folder), SMALL_X2).problems
    assert "`target: presets_toy.Gone` cannot be imported" in problem


FEATURED = (
    BONE
    + """\
features: {size: "conv<i>.weight[0]", at: {size: {small: [0, 1], large: [0, 2]}}}
"""
)
INDEXED = TOY.replace(
    """config: {num_classes: "head.weight[0]"}""",
    """config: {num_classes: "head.weight[0]", backbone_indices: {size: ["head.weight[1]"], index_in: features}}""",
)
RENAMED = "modules: [[conv<i>, theirs.<i>, conv]]"


@pytest.fixture
def family(folder: Path) -> Path:
    """As upstream's MobileNetV3: the name of a table of blocks says which of them give feature maps."""
    (folder / "bone.yaml").write_text(FEATURED)
    (folder / "toy.yaml").write_text(INDEXED)
    return folder


@pytest.mark.parametrize(("shapes", "of"), [(SMALL_X2, [8, 16]), (LARGE_X1, [4, 16])])
@pytest.mark.parametrize("index", [0, 1])
def test_which_blocks_give_feature_maps_is_as_the_preset_says(family: Path, shapes: Any, of: Any, index: int) -> None:
    shapes = {f"bone.{name}": shape for name, shape in shapes.items()} | {"head.weight": (7, of[index], 1, 1)}
    found = read(opened(family, "toy"), shapes)
    assert (found.problems, found.config["backbone_indices"]) == ([], [index])
    (problem,) = read(opened(family, "toy"), {**shapes, "head.weight": (7, 5, 1, 1)}).problems
    assert problem == f"backbone_indices: head.weight has 5 channels, which is none of {of}"


@pytest.mark.parametrize("rest", [RENAMED, "rest: same"])
@pytest.mark.parametrize(("shapes", "size", "scale"), [(SMALL_X2, "small", 2.0), (LARGE_X1, "large", 1.0)])
def test_a_port_is_told_by_the_presets_of_what_it_is_like(
    family: Path, rest: str, shapes: Any, size: str, scale: float
) -> None:
    (family / "bone_port.yaml").write_text(f"format: 2\nlike: bone\n{rest}\n")
    (family / "port.yaml").write_text(
        "format: 2\nlike: toy\nbackbones: [bone_port]\nmodules: [[bone, body, backbone], [head, last, conv]]\n"
    )
    alone = read(opened(family, "bone_port"), shapes)
    assert (alone.problems, alone.config["size"], alone.config["scale"]) == ([], size, scale)
    shapes = {f"bone.{name}": shape for name, shape in shapes.items()} | {"head.weight": (7, 16, 1, 1)}
    within = read(opened(family, "port"), shapes)
    assert within.problems == []
    assert within.config == {"num_classes": 7, "backbone": {"type": "Bone", **alone.config}, "backbone_indices": [1]}


def test_a_port_with_the_source_s_own_names_is_told_by_them_too(family: Path) -> None:
    (family / "port.yaml").write_text("format: 2\nlike: toy\nrest: same\n")
    shapes = {f"bone.{name}": shape for name, shape in SMALL_X2.items()} | {"head.weight": (7, 16, 1, 1)}
    found = read(opened(family, "port"), shapes)
    assert (found.problems, found.config["backbone"]["scale"]) == ([], 2.0)


@pytest.mark.parametrize(
    ("features", "why"),
    [
        ("{size: 'conv<i>.weight[0]', at: {sizes: {small: [0]}}}", "'sizes' is no option that stands above"),
        ("{size: 'conv<i>.weight[0]', at: {}}", "at: is empty"),
        (
            "{size: 'conv0.weight[0]', at: {size: {small: [0]}}}",
            "'at', by another option which tensors, needs one with an index or a list",
        ),
        ("{size: 'conv<i>.weight[0]', over: 2, at: {size: {small: [0]}}}", "'at', by another option which tensors"),
        ("{size: 'conv<i>.weight[0]', at: {size: {small: [-1]}}}", "small: expected a number from 0"),
    ],
)
def test_what_is_wrong_with_where_feature_maps_are_is_said_by_line(family: Path, features: str, why: str) -> None:
    (family / "bone.yaml").write_text(f"{BONE}features: {features}\n")
    with pytest.raises(MapError, match=rf"bone.yaml:17: .*{why}"):
        opened(family)


def test_a_value_that_no_entry_has_is_a_problem_and_not_a_guess(family: Path) -> None:
    (family / "bone.yaml").write_text(FEATURED.replace("large: [0, 2]", "huge: [0, 2]"))
    shapes = {f"bone.{name}": shape for name, shape in LARGE_X1.items()} | {"head.weight": (7, 16, 1, 1)}
    (problem,) = read(opened(family, "toy"), shapes).problems
    assert "backbone.size is 'large', and `at:` says of other values which tensors they are" in problem


def test_a_table_answers_without_a_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    map = opened(folder)
    table = generated_table(map)
    assert [entry["config"]["size"] for entry in table] == ["small", "small", "large", "large"]
    assert table[0]["config"] == {"size": "small", "scale": 1.0, "dilated": "*", "in_channels": "$"}

    def no_model(*_: Any) -> None:
        raise ConversionError("built")

    monkeypatch.setattr(expected, "shipped_maps", lambda: {"bone": map.path})
    monkeypatch.setattr(expected, "stored_table", lambda name: table if name == "bone" else [])
    monkeypatch.setattr(expected, "shapes_of_model", no_model)
    assert read(map, {**SMALL_X2, "conv0.weight": (8, 4, 1, 1)}).config["scale"] == 2.0
    assert read(map, LARGE_X1).config["size"] == "large"


def test_a_table_of_another_day_does_not_go_into_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    map = opened(folder)
    table = generated_table(map)
    stale = [{**entry, "tensors": table[0]["tensors"]} for entry in table]
    monkeypatch.setattr(expected, "shipped_maps", lambda: {"bone": map.path})
    monkeypatch.setattr(expected, "stored_table", lambda name: stale)
    assert generated_table(map) == table
