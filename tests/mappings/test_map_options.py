"""How options are read off shapes: every rule of `config:`, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ppls.errors import MapError
from ppls.mappings.config_rules import Given, infer_config
from ppls.mappings.map_file import load_map
from ppls.mappings.shapes import Shapes

TOY = """\
format: 2
architecture: Toy
target: none
layers: {conv: {weight: weight}}
modules:
  - [block<i+1>.<j>.conv, stages.<i>.<j>.conv, conv]
  - [head, classifier, conv]
"""

SHAPES = {
    "block1.0.conv.weight": (4, 3, 8, 8),
    "block1.0.wide.weight": (8, 4),
    "block1.1.conv.weight": (4, 4, 3, 3),
    "block2.0.conv.weight": (6, 4, 3, 3),
    "block2.0.wide.weight": (24, 6),
    "block1.0.reduce.weight": (4, 4, 2, 2),
    "mask.weight": (25, 4, 1, 1),
    "oblong.weight": (15, 4, 1, 1),
    "window.0.weight": (9, 4),
    "window.1.weight": (25, 4),
    "oblique.0.weight": (9, 4),
    "oblique.1.weight": (8, 4),
    "branch.0.a.weight": (1, 1),
    "branch.1.b.weight": (1, 1),
}

WIDTHS = "block<i+1>.0.conv.weight[0]"


def toy(tmp_path: Path, **options: str) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(TOY + "config:\n" + "".join(f"  {name}: {rule}\n" for name, rule in options.items()))
    return path


def read(tmp_path: Path, options: dict[str, str], given: dict[str, Any] | None = None) -> Any:
    users = {name: Given(value, f"--set {name}") for name, value in (given or {}).items()}
    return infer_config(load_map(toy(tmp_path, **options)).options, Shapes(SHAPES), users, {})


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (WIDTHS, [4, 6]),
        ('{size: ["block1.0.conv.weight[0]", "block2.0.conv.weight[0]"], times: [1, 2]}', [4, 12]),
        ('{size: "branch.<i>.a.weight[0]", otherwise: "branch.<i>.b.weight[0]"}', [1, 1]),
        ('{by: {shape: oblong.weight, y: ["nowhere[0]", "block1.0.conv.weight[0]"]}, is: {a: [15, y, 1, 1]}}', "a"),
        ("{count: block<i+1>.<j>.conv.weight, per: i}", [2, 1]),
        ("mask.weight[0]", 25),
        ("false", False),
        ("[1, 2]", [1, 2]),
        ("{size: 'block<i+1>.0.wide.weight[0]', over: widths}", [2, 4]),
        ("{size: 'block<i+1>.0.wide.weight[0]', over: 4}", [2, 6]),
        ("{size: 'block<i+1>.0.wide.weight[0]', times: 3, over: 4}", [6, 18]),
        ("{size: 'mask.weight[0]', over: 5}", 5),
        ("{size: 'mask.weight[0]', over: 50.0}", 0.5),
        ("{size: 'mask.weight[1]', times: 0.5}", 2.0),
        ("{size: 'mask.weight[1]', times: [0.5, 1, 4]}", [2, 4, 16]),
        ("{size: 'block<i+1>.0.reduce.weight[2]', among: block<i+1>.0.conv.weight, absent: 1}", [2, 1]),
        ("{size: ['mask.weight[0]', 'block1.0.wide.weight[1]']}", [25, 4]),
        ("{present: mask}", True),
        ("{present: mask.weight}", True),
        ("{present: mas}", False),
        ("{present: branch.<i+1>.b}", True),
        ("{present: branch.<i+2>.b}", False),
        ("{count: branch.<i>.a.weight, defaults: [[1, 2], [7]]}", [7]),
        ("{by: {count: block1.<i>.conv.weight}, is: {one: 1, two: 2, three: 3}}", "two"),
        ("{by: {count: block<i>.0.conv.weight}, is: {a: 2, b: 3}}", "b"),  # one more than the highest index
        ("{by: {has: [mask, nothing]}, is: [{1: [true, true]}, {2.5: [true, _]}]}", 2.5),
        ("{by: {has: nothing}, is: {true: false, false: true}}", True),
        ("{by: {shape: mask.weight}, is: {a: [25, 4], b: [_, 4, 1, 1]}}", "b"),
        ("{by: {shape: mask.weight}, is: {a: none, b: any}}", "b"),
        ("{by: {shape: nothing}, is: {a: any, b: none}}", "b"),
        ("{by: {shape: block1.0.wide.weight, y: 'mask.weight[1]'}, is: {a: [3y, y], b: [2y, y]}}", "b"),
        ("{by: {shape: block1.1.conv.weight}, is: {a: [y, 2y, _, _], b: [y, y, _, _]}}", "b"),
        ("{starts: block1.<i>.wide.weight, among: block1.<i>.conv.weight}", [2]),
        ("{starts: block<i+1>.0.wide.weight, among: block<i+1>.0.conv.weight}", [1, 1]),
        ("{root: 'mask.weight[0]'}", 5),
        ("{root: 'nothing.weight[0]', default: 7}", 7),
        ("{root: 'window.<i>.weight[0]'}", [3, 5]),
        ("{root: 'window.<i>.weight[0]', offsets: true}", [2, 3]),
        ("{sum: ['mask.weight[0]', 'oblong.weight[0]']}", [40]),
        ("{sum: ['mask.weight[0]', 'oblong.weight[0]'], over: 2}", [20]),
        ("{size: 'nothing.weight[0]', default: 7}", 7),
        ("{size: 'nothing.weight[0]', otherwise: 'oblong.weight[0]', over: 3}", 5),
        ("{size: 'mask.weight[0]', otherwise: 'oblong.weight[0]'}", 25),
        ("{size: 'nothing.weight[0]', otherwise: 'nor_this.weight[0]', default: 7}", 7),
        ("{count: [branch.<i>.a.weight, branch.<i>.b.weight], default: [1, 6]}", [1, 6]),
    ],
)
def test_an_option_is_read_off_the_shapes(tmp_path: Path, rule: str, value: Any) -> None:
    found = read(tmp_path, {"widths": WIDTHS, "option": rule})
    assert found.problems == []
    assert found.config["option"] == value


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("{root: 'oblong.weight[0]', default: 7}", "option: oblong.weight has 15 channels, which is no square"),
        ("{size: 'block<i+1>.0.conv.weight[1]', over: widths}", "which are no multiples of widths, [4, 6]"),
        ("{root: 'oblique.<i>.weight[0]'}", "oblique.<i>.weight has [9, 8], which are not all squares"),
        ("{sum: ['mask.weight[0]', 'oblong.weight[0]'], over: 3}", "weight has 40 channels, which 3 does not divide"),
        ("{sum: ['mask.weight[0]', 'nothing.weight[0]']}", "no tensor nothing.weight"),
        ("{size: 'mask.weight[0]', over: 4}", "mask.weight has 25 channels, which 4 does not divide"),
        ("{size: 'mask.weight[4]'}", "mask.weight has the shape [25, 4, 1, 1], no dimension 4"),
        (
            "{by: {has: mask, shape: nothing}, is: {a: [false, _]}}",
            "no known value fits these tensors: mask True, nothing",
        ),
        ("{by: {shape: mask.weight, y: 'nothing[0]'}, is: {a: [y, _, _, _], b: any}}", "no known value fits"),
        (
            "{count: branch.<i>.a.weight, defaults: [[1, 6], [1, 2, 3]]}",
            "[1, 6] has 2 or [1, 2, 3] has 3, and not which",
        ),
        ("{count: block<i>.<j>.conv.weight, per: i}", "are not numbered 0 to 1 by i"),
        ("{count: branch.<i>.a.weight, default: [1, 6]}", "the tensors show 1 values where the default"),
        ("{starts: block1.<i>.wide.weight, among: nothing.<i>.weight}", "no tensor block1.<i>.wide.weight begins the"),
        ("{starts: nothing.<i>.weight, among: block1.<i>.conv.weight}", "no tensor nothing.<i>.weight begins the"),
    ],
)
def test_what_cannot_be_read_is_a_problem_that_names_the_option(tmp_path: Path, rule: str, problem: str) -> None:
    (found,) = read(tmp_path, {"widths": WIDTHS, "option": rule}).problems
    assert problem in found


@pytest.mark.parametrize(("side", "problems"), [(3, 0), (5, 0), (4, 1), ("5", 1)])
def test_a_window_may_have_any_sides_that_divide_its_area(tmp_path: Path, side: Any, problems: int) -> None:
    option = {"option": "{root: 'mask.weight[0]'}"} if side != 3 else {"option": "{root: 'oblong.weight[0]'}"}
    assert len(read(tmp_path, option, {"option": side}).problems) == problems


def test_a_recipe_speaks_where_no_tensor_does_and_nowhere_else(tmp_path: Path) -> None:
    map = load_map(toy(tmp_path, shown="{root: 'mask.weight[0]'}", hidden="{default: 1}"))
    found = infer_config(map.options, Shapes(SHAPES), {}, {}, {"shown": 9, "hidden": 2})
    assert found.config == {"shown": 5, "hidden": 2}
    assert found.assumed == {"hidden": 2}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{size: 'a.weight[0]', root: 'a.weight[0]'}", "size and root cannot stand together"),
        ("{told_by: presets, default: 1}", "the presets say which values there are"),
        ("{told_by: preset}", "expected 'presets', found 'preset'"),
        ("{sum: ['a.<i>[0]']}", "'a.<i>' has an index"),
        ("{sum: ['a[0]'], over: 0}", "expected a number above 0"),
        ("{root: a.weight}", "'a.weight' is no dimension of a tensor"),
        ("{root: 'a.weight[0]', offsets: true}", "is of windows of several tensors, and a.weight has no index"),
        ("{size: 'a.weight[0]', per: i}", "'per' has no meaning beside 'size'"),
        ("{size: 'a.<i>[0]', among: b.<i>}", "need one another"),
        ("{size: 'a.<i>[0]', index_in: features}", "the backbone's map says nothing of its `features:`"),
        ("{size: 'a.<i>[0]', index_in: widths}", "expected 'features'"),
        ("{size: 'a.<i>[0]', over: widths}", "'widths' is no option that stands above this one"),
        ("{size: 'a.<i>[0]', over: 0}", "expected a number above 0"),
        ("{size: ['a[0]', 'b[0]'], times: [1, 2, 3]}", "or multiplied by `times:` of as many factors"),
        ("{size: 'a.<i>[0]', otherwise: 'b[0]'}", "both have an index or none"),
        ("{size: 'a.<i>[0]', otherwise: 'b.<i>[1]'}", "needs the same dimension, and no other rule"),
        ("{size: ['a[0]', 'b[0]'], over: 2}", "are taken as they are, or looked up with 'index_in'"),
        ("{by: {width: a}, is: {a: 1}}", "'width' is no measure; known are count, has, shape, and a letter for a size"),
        ("{by: {has: [a, b]}, is: {x: true}}", "expected a list"),
        ("{by: {has: [a, b]}, is: {x: [true]}}", "expected 2 entries, one for each measure of `by:`, found 1"),
        ("{by: {shape: a}, is: {x: [0y]}}", "'0y' is no size"),
        ("{resize: cubic}", "expected 'bilinear' or 'nearest'"),
        ("{count: a.<i>, defaults: [[1], [2]]}", "two of the `defaults:` are of one length"),
        ("{count: a.<i>, per: i}", "must have two indices"),
        ("{count: a.<i>.<j>, per: k}", "must have two indices, 'k' among them"),
        ("{count: [a.<i>, b.<i>]}", "only the values of a `default:` are counted by several patterns"),
        ("{count: a.<i>.b<i+1>, default: [1]}", "counts i from two numbers"),
        ("{unless: 3}", "says neither how to read the option nor its `default:`"),
    ],
)
def test_a_malformed_option_is_refused_by_file_and_line(tmp_path: Path, rule: str, message: str) -> None:
    path = toy(tmp_path, option=rule)
    with pytest.raises(MapError) as caught:
        load_map(path)
    assert str(caught.value).startswith(f"{path}:9: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("eras:\n  - {era: old, has: [b.x], renamed: {a.<i>: b}}", "a.<i> and b have different indices"),
        ("eras:\n  - {era: old, renamed: {a: b}}", "told by `has:` and `lacks:` alone"),
        ("eras:\n  - {era: old, has: [b.x], only: {o: 1}, renamed: {a: b}}", "told by `has:` and `lacks:` alone"),
        ("source_preset: paddleseg.models.Toy", "expected a dotted name with <preset> in it"),
        ("optional:\n  heads: [head.<k, tail]", "is not a name"),
    ],
)
def test_a_malformed_section_is_refused_by_file_and_line(tmp_path: Path, section: str, message: str) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(TOY + section + "\n")
    with pytest.raises(MapError) as caught:
        load_map(path)
    assert str(caught.value).startswith(f"{path}:")
    assert message in str(caught.value)


def test_an_index_may_count_from_one_on_one_side_and_from_zero_on_the_other(tmp_path: Path) -> None:
    (rule, _) = load_map(toy(tmp_path, option="{default: 1}")).rules
    indices = rule.sources[0].match("block3.7.conv.weight")
    assert indices == {"i": 2, "j": 7}
    assert rule.targets[0].fill(indices) == "stages.2.7.conv.weight"
    back = rule.inverse
    assert back.targets[0].fill(back.sources[0].match("stages.2.7.conv.weight") or {}) == "block3.7.conv.weight"
    assert rule.sources[0].match("block0.7.conv.weight") is None


def test_in_a_list_of_sizes_a_place_whose_tensor_is_missing_is_the_users(tmp_path: Path) -> None:
    bone = "format: 2\nbackbone: Bone\nsource: paddleseg.models.backbones.Bone\ntarget: ppls.models.bone.Bone\n"
    (tmp_path / "bone.yaml").write_text(f"{bone}modules:\n  - [a.<i>, a.<i>, conv]\nfeatures: a.<i>.weight[0]\n")
    (tmp_path / "toy.yaml").write_text(
        "format: 2\narchitecture: Toy\ntarget: none\nbackbones: [bone]\n"
        "modules:\n  - [fc, fc, conv]\n  - [aux, aux, conv]\n"
        'config:\n  at: {size: ["aux.weight[1]", "fc.weight[1]"], index_in: features, default: [1, 2]}\n'
    )
    rules = load_map(tmp_path / "toy.yaml").options
    shapes = Shapes({f"backbone.a.{i}.weight": (4 << i,) for i in range(3)} | {"fc.weight": (2, 16)})
    for at, problems in ([1, 2], 0), ([0, 2], 0), ([1, 1], 1), ([2], 1):
        found = infer_config(rules, shapes, {"at": Given(at, "--set at")}, {})
        assert len(found.problems) == problems
        assert found.config["at"] == (at if not problems else [1, 2])
    assert infer_config(rules, shapes, {}, {}).config["at"] == [1, 2]


@pytest.mark.parametrize(
    ("sizes", "default", "places"),
    [([8, 8, 16], "", [0, 1, 3]), ([8, 16, 32], "", [0, 3, 4]), ([8, 8, 16], ", default: [1, 2, 3]", [1, 2, 3])],
)
def test_of_maps_of_equal_width_the_places_are_the_defaults_or_rise(
    tmp_path: Path, sizes: list[int], default: str, places: list[int]
) -> None:
    bone = "format: 2\nbackbone: Bone\nsource: paddleseg.models.backbones.Bone\ntarget: ppls.models.bone.Bone\n"
    (tmp_path / "bone.yaml").write_text(f"{bone}modules:\n  - [a.<i>, a.<i>, conv]\nfeatures: a.<i>.weight[0]\n")
    (tmp_path / "toy.yaml").write_text(
        "format: 2\narchitecture: Toy\ntarget: none\nbackbones: [bone]\nmodules:\n  - [fc.<i>, fc.<i>, conv]\n"
        f'config:\n  at: {{size: "fc.<i>.weight[1]", index_in: features{default}}}\n'
    )
    there = {f"backbone.a.{i}.weight": (width,) for i, width in enumerate((8, 8, 8, 16, 32))}
    shapes = Shapes(there | {f"fc.{i}.weight": (2, size) for i, size in enumerate(sizes)})
    assert infer_config(load_map(tmp_path / "toy.yaml").options, shapes, {}, {}).config["at"] == places
