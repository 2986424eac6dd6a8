"""Programs as data: both forms come to the same, and what cannot be run or understood is one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppls.checkpoint.reader import read
from ppls.errors import CheckpointError, ConversionError, Error
from ppls.programs.module import load_program
from ppls.programs.program import Program, read_program
from tests.checkpoint import programs, streams
from tests.conftest import Exports
from tests.material import SAMPLES, SMALL_RUN

WEIGHT = np.random.default_rng(0).standard_normal((5, 3, 1, 1)).astype(np.float32)
CONSTANTS = {"full", "full_int_array", "fill_constant"}  # where a `.pdmodel` has an attribute PIR has an input


def written(folder: Path, name: str, program: bytes) -> Path:
    """An export of these bytes, and the weights of `tests.checkpoint.programs`."""
    weights = streams.tensor(np.zeros(2, np.float32)) + streams.tensor(WEIGHT)
    (folder / "m.pdiparams").write_bytes(weights)
    (folder / name).write_bytes(program)
    return folder / "m.pdiparams"


def of_kind(operations: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [operation for operation in operations if operation["#"] == kind]


def names(program: Program) -> list[str]:
    found = [program.operator(step) for step in program.steps]
    return sorted(operator.name for operator in found if operator is not None and operator.name not in CONSTANTS)


def with_a_shape() -> bytes:
    """The program in PIR, whose input says what it is, as Paddle's do."""
    steps = programs.pir_steps()
    for name, kind, value in (("shape", "1.a_intarray", [-1, 3, -1, -1]), ("dtype", "1.a_dtype", "float32")):
        steps[2]["A"].append({"N": name, "AT": {"#": kind, "D": value}})
    return programs.pir(steps)


@pytest.mark.parametrize(("form", "name"), [("pir", "m.json"), ("pdmodel", "m.pdmodel")])
def test_a_program_of_either_form_is_the_same_steps(form: str, name: str, tmp_path: Path) -> None:
    content = with_a_shape() if form == "pir" else programs.GOOD[form]()
    program = read_program(read(written(tmp_path, name, content)))
    assert program.form == form
    conv = program.steps[0]
    assert (conv.kind, list(conv.inputs), list(conv.outputs)) == ("conv2d", ["Input", "Filter"], ["Output"])
    assert conv.attributes["strides"] == [1, 1]
    assert [(each.name, each.dtype, each.shape) for each in program.inputs] == [("x", "float32", (-1, 3, -1, -1))]
    assert list(program.weights.values()) == ["w"]
    image = torch.randn(2, 3, 4, 5)
    (classes,) = load_program(tmp_path)(image)
    assert torch.equal(classes, torch.einsum("nchw,oc->nohw", image, torch.from_numpy(WEIGHT[:, :, 0, 0])).argmax(1))


def test_an_export_of_either_form_is_the_same_program_and_computes_the_same(exports: Exports) -> None:
    modules = {form: load_program(exports[form]) for form in ("pir", "pdmodel")}
    assert names(modules["pir"].program) == names(modules["pdmodel"].program)
    record = np.load(exports["pir"].parent / "unusual.npz")
    results = {form: module(torch.from_numpy(record["input"]))[0] for form, module in modules.items()}
    assert torch.equal(results["pir"], results["pdmodel"])
    wanted = record["eval"]
    assert np.abs(results["pir"].detach().numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_all_that_cannot_be_run_is_named_at_once_with_its_place_and_how_often(tmp_path: Path) -> None:
    def change(operations: list[dict[str, Any]]) -> None:
        for relu, kind in zip(
            of_kind(operations, "1.relu"), ("fancy_relu", "fancy_relu", "lod_array_length"), strict=False
        ):
            relu["#"] = f"1.{kind}"
        of_kind(operations, "1.sigmoid")[0]["#"] = "1.pylayer"
        conv, second = of_kind(operations, "1.conv2d")[:2]
        second["I"].pop()
        (layout,) = (entry for entry in conv["A"] if entry["N"] == "data_format")
        layout["AT"]["D"] = "NHWC"

    with pytest.raises(ConversionError, match="cannot be run in torch") as caught:
        load_program(programs.altered(SMALL_RUN / "export", tmp_path, change))
    found = sorted(problem.partition(": operation ")[0] for problem in caught.value.problems)
    assert found == [
        "control flow lod_array_length",
        "control flow pylayer",
        "conv2d with data_format 'NHWC'",
        "conv2d with no input Filter",
        "unknown operator fancy_relu, 2 times",
    ]
    assert "/Conv2D/" in next(problem for problem in caught.value.problems if "NHWC" in problem)


def test_what_nothing_returned_rests_on_is_not_asked_for(tmp_path: Path) -> None:
    def change(operations: list[dict[str, Any]]) -> None:
        of_no_use = {"#": "1.fancy", "A": [], "I": [{"%": 1}], "O": [{"%": 99_999, "TT": {"#": "NULL"}}]}
        operations.insert(-1, of_no_use)

    load_program(programs.altered(SMALL_RUN / "export", tmp_path, change))


def test_a_part_that_nothing_takes_is_no_weight(tmp_path: Path) -> None:
    steps = json.loads(with_a_shape())["program"]["regions"][0]["blocks"][0]["ops"][:4]
    part = programs.tensor("f32", 5, -1, -1)
    several = {"#": "0.t_vec", "D": [part, part]}
    steps += [
        programs.step("1.unbind", [3], {20: several}, axis=("0.a_i32", 0)),
        programs.step("0.slice", [20], {21: part}, index=("0.a_i32", 1)),
        programs.step("1.fetch", [21], {22: part}, name=("0.a_str", "out"), col=("0.a_i32", 0)),
    ]
    images = torch.rand(2, 3, 4, 6)
    (found,) = load_program(written(tmp_path, "m.json", programs.pir(steps)))(images)
    torch.testing.assert_close(found, torch.conv2d(images, torch.from_numpy(WEIGHT))[1])


def swapped(operations: list[dict[str, Any]]) -> None:
    first, second = (operations.index(of_kind(operations, kind)[0]) for kind in ("1.conv2d", "1.batch_norm_"))
    operations[first], operations[second] = operations[second], operations[first]


def in_a_circle(operations: list[dict[str, Any]]) -> None:
    conv, relu = (of_kind(operations, kind)[0] for kind in ("1.conv2d", "1.relu"))
    conv["I"][0] = {"%": relu["O"][0]["%"]}


def given_twice(operations: list[dict[str, Any]]) -> None:
    relu = of_kind(operations, "1.relu")[0]
    operations.insert(operations.index(relu), relu)


def returned_twice(operations: list[dict[str, Any]]) -> None:
    operations.append(operations[-1])


def taken_apart(operations: list[dict[str, Any]]) -> None:
    relu = of_kind(operations, "1.relu")[0]
    relu["#"] = "0.split"


def of_no_shape(operations: list[dict[str, Any]]) -> None:
    (entry,) = (entry for entry in of_kind(operations, "1.data")[0]["A"] if entry["N"] == "shape")
    entry["AT"]["D"] = "wide"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swapped, "takes what is not there yet"),
        (in_a_circle, "takes what is not there yet"),
        (given_twice, "gives what is there already"),
        (returned_twice, "does not number what it returns"),
        (lambda operations: operations.pop(), "does not number what it returns"),
        (taken_apart, "taken apart"),
        (of_no_shape, "an input is without a shape"),
    ],
)
def test_a_damaged_program_is_one_message(tmp_path: Path, change: Callable[..., object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_program(programs.altered(SMALL_RUN / "export", tmp_path, change))
    assert "model.json" in str(caught.value)


def test_weights_without_a_program_are_no_export() -> None:
    with pytest.raises(CheckpointError, match=r"no program .* is beside the weights"):
        load_program(SMALL_RUN / "model.pdparams")


def samples() -> list[Path]:
    found = [path for suffix in ("*.pdmodel", "*.json", "__model__") for path in SAMPLES.rglob(suffix)]
    return sorted(path for path in found if "expected" not in path.name and "notes" not in path.name)


def test_every_program_of_every_release_is_run_or_refused_in_one_message() -> None:
    """From Paddle 1.8 to 3.3, in training and in inference, hostile ones among them."""
    ran = 0
    for path in samples():
        try:
            module = load_program(path)
        except Error:
            continue
        ran += 1
        inputs = [
            torch.zeros([3 if side == -1 else side for side in each.shape], dtype=getattr(torch, each.dtype))
            for each in module.program.inputs
        ]
        with suppress(Error):
            assert all(torch.is_tensor(found) for found in module(*inputs))
    assert ran >= 10
