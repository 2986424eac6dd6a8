"""How options are read off shapes: every rule of `config:`, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ppls.errors import MapError
from ppls.mappings.config_rules import Given, infer_config
from ppls.mappings.map_file import load_map
from ppls.mappings.readings import Shapes

TOY = """\
format: 1
architecture: Toy
source: paddleseg.models.Toy
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
    "branch.0.a.weight": (1, 1),
    "branch.1.b.weight": (1, 1),
}

WIDTHS = "{sizes: block<i+1>.0.conv.weight, dim: 0}"


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
        ("{count: block<i+1>.<j>.conv.weight, per: i}", [2, 1]),
        ("{sizes: block<i+1>.0.wide.weight, dim: 0, over: widths}", [2, 4]),
        ("{sizes: block<i+1>.0.reduce.weight, dim: 2, among: block<i+1>.0.conv.weight, absent: 1}", [2, 1]),
        ("{starts: block1.<i>.wide.weight, among: block1.<i>.conv.weight}", [2]),
        ("{starts: block<i+1>.0.wide.weight, among: block<i+1>.0.conv.weight}", [1, 1]),
        ("{root: mask.weight, dim: 0}", 5),
        ("{root: nothing.weight, dim: 0, default: 7}", 7),
        ("{size: nothing.weight, dim: 0, default: 7}", 7),
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
        ("{root: oblong.weight, dim: 0, default: 7}", "option: oblong.weight has 15 channels, which is no square"),
        ("{sizes: block<i+1>.0.conv.weight, dim: 1, over: widths}", "which are no multiples of widths, [4, 6]"),
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
    option = {"option": "{root: mask.weight, dim: 0}"} if side != 3 else {"option": "{root: oblong.weight, dim: 0}"}
    assert len(read(tmp_path, option, {"option": side}).problems) == problems


def test_a_recipe_speaks_where_no_tensor_does_and_nowhere_else(tmp_path: Path) -> None:
    map = load_map(toy(tmp_path, shown="{root: mask.weight, dim: 0}", hidden="{default: 1}"))
    found = infer_config(map.options, Shapes(SHAPES), {}, {}, {"shown": 9, "hidden": 2})
    assert found.config == {"shown": 5, "hidden": 2}
    assert found.assumed == {"hidden": 2}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{size: a.weight, root: a.weight, dim: 0}", "size and root cannot stand together"),
        ("{root: a.weight}", "'dim' is missing"),
        ("{size: a.weight, dim: 0, per: i}", "'per' has no meaning beside 'size'"),
        ("{sizes: a.<i>, dim: 0, among: b.<i>}", "need one another"),
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
