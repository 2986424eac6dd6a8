"""`program:` in a map: what it reads off a graph of operations, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ppls.checkpoint.graph import Graph, Operation
from ppls.errors import MapError
from ppls.mappings.config_rules import Given, Inferred, infer_config
from ppls.mappings.map_file import load_map
from ppls.mappings.program_facts import Program
from ppls.mappings.shapes import Shapes
from tests.mappings.test_map_options import toy

SHAPES = {
    "stage.0.weight": (4, 3, 3, 3),
    "stage.1.weight": (4, 4, 3, 3),
    "stage.2.weight": (4, 4, 3, 3),
    "last.weight": (5, 4, 1, 1),
    "query.0.weight": (4, 4),
    "query.1.weight": (4, 4),
}


def program(
    *, dilations: Any = ((1, 1), (2, 2), (4, 4)), bins: Any = (1, 3, 6), heads: Any = (2, 4), **more: Any
) -> Program:
    """Image → for each stage a pool, its convolution, a ReLU, a resize → sum → last convolution → resize.

    The heads stand apart: a matrix product and a reshape for each.
    """
    operations, parameters = [], {f"variable of {name}": 100 + at for at, name in enumerate(SHAPES)}
    resized = []
    for stage in range(3):
        at = 200 + 10 * stage
        resize = {"interp_method": "nearest", "align_corners": True, **(more if stage == 2 else {})}
        operations += [
            Operation("full_int_array", {"value": [bins[stage]] * 2}, (), (at,)),
            Operation("pool2d", {"adaptive": True}, (1, at), (at + 1,)),
            Operation("conv2d", {"dilations": [*dilations[stage]]}, (at + 1, 100 + stage), (at + 2,)),
            Operation("relu", {}, (at + 2,), (at + 3,)),
            Operation("nearest_interp", resize, (at + 3, 0, 0), (at + 4,)),
        ]
        resized.append(at + 4)
    operations += [
        Operation("add_n", {}, tuple(resized), (300,)),
        Operation("conv2d", {"dilations": [1, 1]}, (300, 103), (301,)),
        Operation("shape", {}, (301,), (302,)),
        Operation("nearest_interp", {"interp_method": "wrong"}, (1, 302), (303,)),
        Operation("relu", {}, (301,), (304,)),
        Operation("bilinear_interp", {"interp_method": "bilinear", "align_corners": True}, (304, 302), (305,)),
        Operation("matmul", {}, (1, 104), (400,)),
        Operation("reshape2", {"shape": [0, -1, heads[0], 2]}, (400,), (401,)),
        Operation("matmul", {}, (1, 105), (402,)),
        *(Operation("full", {"value": float(side)}, (), (410 + at,)) for at, side in enumerate((heads[1], 1))),
        Operation("combine", {}, (401, 402, 410, 411), (403,)),
        Operation("stack", {}, (403,), (404,)),
        Operation("reshape", {}, (402, 404), (405,)),
    ]  # fmt: skip
    return Program(Graph("model.json", operations, parameters), {name: f"variable of {name}" for name in SHAPES})


def read(tmp_path: Path, rule: str, told: Program | None, user: Any = None, **others: str) -> Inferred:
    given = {} if user is None else {"option": Given(user, "--set option")}
    map = load_map(toy(tmp_path, **others, option=rule))
    return infer_config(map.options, Shapes(SHAPES), given, {}, {}, told)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("{default: [2, 2, 2], program: {take: dilation, of: stage.<i>.weight}}", [1, 2, 4]),
        ("{default: [1, 2, 4, 8], program: {take: dilation, of: stage.<i>.weight}}", [1, 2, 4, 8]),
        ("{default: [1], program: {take: dilation, of: stage.<i>.weight, times: rate, over: 2}}", [2, 4, 8]),
        ("{default: [1], program: {take: dilation, of: stage.<i>.weight, times: none, over: 2}}", [1, 2, 4]),
        ("{default: 1, program: {take: dilation, of: last.weight}}", 1),
        ("{count: stage.<i>.weight, default: [1, 2, 4], program: {take: bins, before: stage.<i>.weight}}", [1, 3, 6]),
        ("{count: stage.<i>.weight, default: [1, 2], program: {take: bins, before: stage.<i>.weight}}", [1, 3, 6]),
        ("{default: false, program: {take: adaptive, before: stage.<i>.weight}}", True),
        ("{default: [1], program: {take: heads, after: query.<i>.weight}}", [2, 4]),
        ("{resize: bilinear, program: {take: resize, after: stage.<i>.weight}}", "nearest"),
        ("{resize: bilinear, program: {take: resize, before: last.weight}}", "nearest"),
        ("{resize: nearest, program: {take: resize, after: last.weight}}", "bilinear"),  # not by way of its shape
        ("{default: false, program: {take: align_corners, before: last.weight, after: last.weight}}", True),
        (
            "{default: 8, program: {take: dilation, of: [stage.1.weight, stage.2.weight], is: [{8: [2, _]}]}}",
            8,
        ),
    ],
)
def test_a_program_tells_an_option(tmp_path: Path, rule: str, value: Any) -> None:
    found = read(tmp_path, rule, program(), rate="{default: 4}", none="{default: null}")
    assert (found.problems, found.config["option"]) == ([], value)
    assert "option" not in found.assumed


@pytest.mark.parametrize(
    ("rule", "default"),
    [
        ("{default: [1], program: {take: dilation, of: absent.<i>.weight}}", [1]),
        ("{default: [1], program: {take: bins, before: query.<i>.weight}}", [1]),
        ("{default: false, program: {take: align_corners, after: query.0.weight}}", False),
        ("{default: 8, program: {take: dilation, of: [stage.1.weight, absent.weight], is: [{32: [2, _]}]}}", 8),
    ],
)
def test_where_the_program_is_silent_the_default_is_assumed(tmp_path: Path, rule: str, default: Any) -> None:
    found = read(tmp_path, rule, program())
    assert (found.problems, found.assumed) == ([], {"option": default})


def test_without_a_program_nothing_changes(tmp_path: Path) -> None:
    found = read(tmp_path, "{default: 3, program: {take: dilation, of: last.weight}}", None)
    assert (found.config["option"], found.assumed) == (3, {"option": 3})


@pytest.mark.parametrize(
    ("rule", "told", "user", "problem"),
    [
        (
            "{default: 3, program: {take: dilation, of: last.weight}}",
            {},
            2,
            "option: model.json says 1, --set option says 2",
        ),
        (
            "{size: 'last.weight[0]', program: {take: dilation, of: last.weight}}",
            {},
            None,
            "option: the tensors say 5, model.json says 1",
        ),
        (
            "{default: false, program: {take: align_corners, before: last.weight}}",
            {"align_corners": False},
            None,
            "option: model.json has align_corners True before last.weight, but align_corners False before last.weight",
        ),
        (
            "{default: [1], program: {take: dilation, of: stage.<i>.weight}}",
            {"dilations": ((1, 1), (1, 2), (1, 1))},
            None,
            "option: model.json says [1, [1, 2], 1]; expected a list, each a whole number",
        ),
        (
            "{default: [1], program: {take: dilation, of: stage.<i>.weight}}",
            {"dilations": ((1, 1), (1e300, 1e300), (1, 1))},
            None,
            "option: model.json says [1, 1e+300, 1]; expected a list, each a whole number",
        ),
        (
            "{default: 8, program: {take: dilation, of: [stage.1.weight, stage.2.weight], is: [{32: [1, 1]}]}}",
            {},
            None,
            "option: model.json has dilation (2, 4), which fits no value of the option",
        ),
        (
            "{default: [1], program: {take: dilation, of: stage.<i>.weight, times: rate, over: 3}}",
            {},
            None,
            "option: model.json says [1.3333333333333333, 2.6666666666666665, 5.333333333333333]; expected a list",
        ),
    ],
    ids=["user", "tensors", "itself", "oblong", "float", "table", "fraction"],
)
def test_a_contradiction_shows_both_sides(
    tmp_path: Path, rule: str, told: dict[str, Any], user: Any, problem: str
) -> None:
    (found,) = read(tmp_path, rule, program(**told), user, rate="{default: 4}").problems
    assert problem in found


def test_an_option_that_is_not_known_scales_nothing(tmp_path: Path) -> None:
    rule = "{default: [1], program: {take: dilation, of: stage.<i>.weight, times: rate, over: 2}}"
    found = read(tmp_path, rule, program(), rate="{size: 'nothing.weight[0]'}")
    assert (len(found.problems), found.config["option"]) == (1, [1, 2, 4])


def test_another_value_that_means_the_same_is_the_users_to_say(tmp_path: Path) -> None:
    rule = (
        "{default: 8, one_of: [8, 16, 32, null], program: {take: dilation, of: [stage.1.weight, stage.2.weight], "
        "is: [{32: [2, 4]}, {null: [2, _]}, {16: [4, _]}]}}"
    )
    assert read(tmp_path, rule, program()).config["option"] == 32
    path = toy(tmp_path, option=rule)
    given = {"option": Given(None, "--set option")}
    found = infer_config(load_map(path).options, Shapes(SHAPES), given, {}, {}, program())
    assert (found.problems, found.config["option"]) == ([], None)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{of: last.weight}", "'take' is missing"),
        ("{take: colour, of: last.weight}", "expected 'resize' or"),
        ("{take: dilation}", "`of`, `before` or `after`, the weights that the operation is near to, is missing"),
        ("{take: dilation, before: last.weight}", "dilation is that of an operation of a weight"),
        ("{take: bins, of: last.weight}", "bins is that of an operation before or after a weight"),
        ("{take: dilation, of: []}", "is empty"),
        ("{take: dilation, of: stage.<i>.<j>.weight}", "has one index, <i>, or none"),
        ("{take: dilation, of: stage.<i:0..3>.weight}", "has an upper end"),
        ("{take: dilation, of: last.weight, times: 3}", "no name of an option"),
        ("{take: dilation, of: last.weight, over: 3}", "'times', an option, and 'over' need one another"),
        ("{take: dilation, of: last.weight, times: nothing, over: 3}", "'nothing' is no option that stands above"),
        ("{take: dilation, of: last.weight, times: other, over: 0}", "from 1 to 100,000"),
        ("{take: dilation, of: last.weight, is: [{8: [1, 2]}]}", "expected 1 entries in each row of `is:`"),
        ("{take: dilation, of: last.weight, is: [{8: [x]}]}", "expected a whole number"),
        ("{take: dilation, of: stage.<i>.weight, is: [{8: [1]}]}", "'is' is of weights without an index"),
        ("{take: dilation, of: last.weight, where: here}", "'where' is not known here"),
    ],
)
def test_a_malformed_entry_is_refused_with_its_line(tmp_path: Path, entry: str, message: str) -> None:
    path = toy(tmp_path, other="{default: 1}", option=f"{{default: 1, program: {entry}}}")
    with pytest.raises(MapError, match=r"toy\.yaml:10: ") as caught:
        load_map(path)
    assert message in str(caught.value)


def test_a_list_needs_an_index(tmp_path: Path) -> None:
    with pytest.raises(MapError, match=r"each weight of `program:` needs an index"):
        load_map(toy(tmp_path, option="{default: [1], program: {take: dilation, of: last.weight}}"))
