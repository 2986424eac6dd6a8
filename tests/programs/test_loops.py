"""Programs with loops: as many rounds as a size, a number of the image, or the images of a batch ask for."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from ppls.errors import CheckpointError, ConversionError
from ppls.parity.program.operations import OperationFigures
from ppls.parity.program.verify import verify_program
from ppls.programs import description
from ppls.programs.module import load_program
from tests.checkpoint.programs import altered
from tests.fuzz.limits import measured
from tests.programs.in_paddle import export_in_paddle

LOOPING = """
import paddle
import paddle.nn.functional as F

class Network(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.more = paddle.nn.Conv2D(3, 4, 3, padding=1), paddle.nn.Conv2D(4, 4, 1)

    def forward(self, image):
        x = self.conv(image)
        while x.shape[2] > 6:  # a size
            x = F.avg_pool2d(x, [2, 1])
        while paddle.mean(paddle.abs(x)) < 0.5:  # a number; the weight is from around the loop
            x = self.more(x) + x * 1.5
            if x.shape[3] > 4:
                x = x + 0.1
        each = []
        for at in range(x.shape[0]):  # a list, one image after the other
            each.append(x[at:at + 1] * (at + 1))
        kept = [x[:1]]
        if paddle.mean(image) > 0:  # a list that a branch writes to, or does not
            kept.append(x[:1] * 2)
        for at in range(x.shape[0]):
            if paddle.mean(x[at]) > paddle.mean(x):
                kept.append(x[at:at + 1])
        rest = paddle.mean(paddle.concat(kept, 0), 0)
        return paddle.concat(each, 0) + each[0] + each[-1] + paddle.mean(paddle.stack(each, 1), [0, 1]) + rest

def images():
    return [paddle.randn([1, 3, 6, 5]), paddle.randn([3, 3, 50, 24]) / 50, paddle.randn([2, 3, 24, 30]) * 3]
"""


@pytest.fixture(scope="module")
def looping(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The export, and what Paddle computes of it for images that ask for other numbers of rounds."""
    return export_in_paddle(LOOPING, tmp_path_factory.mktemp("looping"))


def kinds_of(document: Any) -> set[str]:
    if isinstance(document, dict):
        found = set().union(*map(kinds_of, document.values()))
        return found | ({document["#"]} if isinstance(document.get("#"), str) else set())
    return set().union(*map(kinds_of, document)) if isinstance(document, list) else set()


@torch.no_grad()
def test_as_many_rounds_are_run_as_paddle_runs(looping: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    export, run = looping
    assert {"1.while", "1.if", "1.array_write_", "1.slice_array_dense", "1.array_to_tensor"} <= kinds_of(
        json.loads((export / "model.json").read_text())
    )
    ppls.convert_program(export, tmp_path / "out")
    module = load_program(export)
    for each in (module, ppls.load(tmp_path / "out"), copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        for way in range(3):
            found = each(torch.from_numpy(run[f"x{way}"]))[0].numpy()
            assert found.shape == run[f"y{way}"].shape
            assert np.abs(found - run[f"y{way}"]).max() <= 1e-6 * np.abs(run[f"y{way}"]).max()


def test_paddle_runs_it_beside_torch(looping: tuple[Path, dict[str, Any]]) -> None:
    report = verify_program(looping[0])
    assert report.verdict == "pass", (report.failures, report.first_divergence)
    operators = report.stage("operators")
    assert operators is not None
    assert operators.expected - operators.compared == 6  # two lists; and what the loops ask is written over in them
    kinds = {figures.kind for figures in operators.figures if isinstance(figures, OperationFigures)}
    assert {"while", "array_to_tensor", "slice_array_dense"} <= kinds


def loop(operations: list[dict[str, Any]], at: int = 0) -> dict[str, Any]:
    return [operation for operation in operations if operation["#"] == "1.while"][at]


def block(operations: list[dict[str, Any]], at: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = loop(operations, at)["regions"][0]["blocks"][0]
    return found


def without_a_block(operations: list[dict[str, Any]]) -> None:
    del loop(operations)["regions"]


def without_an_argument(operations: list[dict[str, Any]]) -> None:
    block(operations)["args"].pop()


def without_an_end(operations: list[dict[str, Any]]) -> None:
    block(operations)["ops"][-1]["I"].pop()


def without_a_result(operations: list[dict[str, Any]]) -> None:
    loop(operations)["O"].pop()


def taken_from_inside(operations: list[dict[str, Any]]) -> None:
    operations[-1]["I"][0] = {"%": block(operations)["ops"][-1]["I"][1]["%"]}


def taken_before_it_is_there(operations: list[dict[str, Any]]) -> None:
    first = next(operation for operation in block(operations)["ops"] if operation["I"])
    first["I"][0] = block(operations)["ops"][-1]["I"][1]


def returned_from_inside(operations: list[dict[str, Any]]) -> None:
    block(operations)["ops"].insert(0, operations.pop())


def within_itself(operations: list[dict[str, Any]]) -> None:
    for _ in range(25):
        inner = copy.deepcopy(loop(operations))
        operations = block(operations)["ops"]
        operations.insert(0, inner)


def first(operations: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(operation for operation in operations if operation["#"] == kind)


def taken_by_what_writing_gives(operations: list[dict[str, Any]]) -> None:
    given = first(operations, "1.array_write_")["O"][0]["%"]
    first(operations, "1.array_to_tensor")["I"][0] = {"%": given}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_block, "a loop without its block"),
        (taken_by_what_writing_gives, "takes what is not there yet"),
        (without_an_argument, "a loop that does not end in what it begins with"),
        (without_an_end, "a loop that does not end in what it begins with"),
        (without_a_result, "a loop that does not end in what it begins with"),
        (taken_from_inside, "it returns what nothing gives"),
        (taken_before_it_is_there, "takes what is not there yet"),
        (returned_from_inside, "an input or an output is in a loop"),
        (within_itself, "nested more than 64 deep"),
    ],
)
def test_a_damaged_loop_is_one_message(
    looping: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    change: Callable[[list[dict[str, Any]]], None],
    message: str,
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_program(altered(looping[0], tmp_path, change))


def without_an_end_of_its_rounds(operations: list[dict[str, Any]]) -> None:
    asked = loop(operations)["I"][0]
    block(operations)["ops"][-1]["I"][0] = asked  # what was true at first stays so
    pool = next(operation for operation in block(operations)["ops"] if operation["#"] == "1.pool2d")
    block(operations)["ops"][-1]["I"][1] = pool["I"][0]


def test_a_loop_without_an_end_is_given_up(looping: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    module = load_program(altered(looping[0], tmp_path, without_an_end_of_its_rounds))
    with pytest.raises(
        ConversionError, match=r"while, cannot be run on this input: it goes around more than 10000 times"
    ):
        module(torch.zeros(1, 3, 24, 24))


def a_list_for_a_tensor(operations: list[dict[str, Any]]) -> None:
    first(operations, "1.array_to_tensor")["#"] = "1.softmax"


def test_a_list_where_a_tensor_belongs_is_one_message(looping: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    module = load_program(altered(looping[0], tmp_path, a_list_for_a_tensor))
    with pytest.raises(ConversionError, match="softmax, cannot be run on this input"):
        module(torch.ones(1, 3, 6, 5))


def asking_a_number(operations: list[dict[str, Any]]) -> None:
    branch = first(operations, "1.if")
    branch["I"][0] = first(operations, "1.mean")["O"][0]


def asking_nothing(operations: list[dict[str, Any]]) -> None:
    first(operations, "1.if")["I"][0] = {"%": 0}


def beginning_with_nothing(operations: list[dict[str, Any]]) -> None:
    loop(operations)["I"][1] = {"%": 0}
    block(operations)["args"][0]["TT"] = {"#": "NULL"}


def beginning_with_several(operations: list[dict[str, Any]]) -> None:
    carrying = loop(operations, 3)
    (place,) = (at for at, given in enumerate(carrying["O"]) if given["TT"]["#"] == "1.t_dense_tensor_array")
    block(operations, 3)["args"][place]["TT"] = {"#": "0.t_vec", "D": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (asking_a_number, "asks no truth value"),
        (asking_nothing, "takes or gives what is no tensor"),
        (beginning_with_nothing, "takes or gives what is no tensor"),
        (beginning_with_several, "takes or gives what is no tensor"),
    ],
)
def test_paddle_is_not_given_blocks_that_take_or_ask_something_else(
    looping: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    change: Callable[[list[dict[str, Any]]], None],
    message: str,
) -> None:
    with pytest.raises(CheckpointError, match=message):
        ppls.read(altered(looping[0], tmp_path, change)).program()


def test_many_branches_of_a_long_program_cost_little(looping: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    def long(operations: list[dict[str, Any]]) -> None:
        asked = first(operations, "1.less_than")["O"][0]
        blocks = [{"blocks": [{"args": [], "ops": [{"#": "2.yield", "A": [], "I": [], "O": []}]}]}] * 2
        branch = {"#": "1.if", "A": [], "I": [{"%": asked["%"]}], "O": [], "regions": blocks}
        several = {
            "#": "1.split",
            "A": [],
            "I": [],
            "O": [{"%": 10_000 + at, "TT": asked["TT"]} for at in range(9_000)],
        }
        operations[-1:-1] = [several, *[branch] * 6_000]

    export = altered(looping[0], tmp_path, long)
    with measured(seconds=5.0):
        ppls.read(export).program()


def unknown_inside(operations: list[dict[str, Any]]) -> None:
    next(operation for operation in block(operations)["ops"] if operation["#"] == "1.pool2d")["#"] = "1.pool2e"


def test_what_is_not_known_in_a_loop_is_named(looping: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="unknown operator pool2e: operation"):
        load_program(altered(looping[0], tmp_path, unknown_inside))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body["outputs"].pop(), "does not end in what it begins with"),
        (lambda body: body["inputs"].pop(), "does not end in what it begins with"),
        (lambda body: body.pop("steps"), "a loop lacks a part"),
        (lambda body: body["steps"].pop(0), "takes what is not there yet"),
        (lambda body: body["steps"][1].update(place=body["steps"][0]["place"]), "numbers two operations alike"),
        (lambda body: body["inputs"].append("1"), "where a number of a value belongs"),
    ],
)
def test_a_damaged_description_of_a_loop_is_one_message(
    looping: tuple[Path, dict[str, Any]], change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    document = json.loads(description.written(load_program(looping[0]).program))
    change(next(step for step in document["steps"] if "body" in step)["body"])
    with pytest.raises(CheckpointError, match=message):
        description.parsed(json.dumps(document).encode(), "program.json")
