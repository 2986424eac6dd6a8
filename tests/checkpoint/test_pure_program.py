"""A program is written anew for Paddle to run, or refused with a sentence: nothing in it is taken on trust."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ppls.checkpoint.graph import read_graph
from ppls.checkpoint.program import read as read_program
from ppls.checkpoint.pure_program import PureProgram, Returned, rewrite
from ppls.checkpoint.source import Source
from ppls.errors import CheckpointError
from tests.checkpoint.programs import (
    BLOCK,
    BOOLEAN,
    CLASSES,
    CONV,
    END,
    FLOAT,
    FLOAT32,
    GOOD,
    INT,
    INT64,
    START,
    STRING,
    VAR,
    attribute,
    operation,
    pdmodel,
    pir,
    pir_steps,
    step,
    tensor,
    value,
)
from tests.checkpoint.streams import field


def written(path: Path, content: bytes) -> PureProgram:
    path.write_bytes(content)
    return rewrite(Source.open(path))


@pytest.mark.parametrize("form", GOOD)
def test_classes_come_with_the_logits_that_they_are_made_of(tmp_path: Path, form: str) -> None:
    found = written(tmp_path / "m", GOOD[form]())
    assert found.outputs == (Returned(logits=0, itself=1, ending="argmax"),)
    assert (found.input_name, found.input_shape, found.parameters) == ("x", (-1, 3, -1, -1), ("w",))
    assert found.takes((2, 3, 7, 9))
    assert not found.takes((2, 4, 7, 9))
    assert not found.takes((3, 7, 9))


@pytest.mark.parametrize("form", GOOD)
def test_what_is_written_says_what_the_program_said_and_nothing_more(tmp_path: Path, form: str) -> None:
    content = GOOD[form]()
    found = written(tmp_path / "m", content)
    (tmp_path / "again").write_bytes(found.content)
    before, after = (read_graph(Source.open(tmp_path / name)) for name in ("m", "again"))
    computing = [step for step in before.operations if step.kind not in ("fetch", "feed", "data")]
    again = [step for step in after.operations if step.kind not in ("fetch", "feed", "data")]
    assert [step.kind for step in again] == [step.kind for step in computing]
    for one, other in zip(again, computing, strict=True):
        left_out = {"struct_name", "op_callstack", "use_cudnn"}
        assert one.attributes == {name: v for name, v in other.attributes.items() if name not in left_out}
    assert len([step for step in after.operations if step.kind == "fetch"]) == 2
    assert [variable.name for variable in read_program(Source.open(tmp_path / "again")).candidates[0]] == ["w"]
    assert b"text" not in found.content
    assert b"gpu" not in found.content


@pytest.mark.parametrize("form", GOOD)
def test_writing_is_the_same_of_what_was_written(tmp_path: Path, form: str) -> None:
    found = written(tmp_path / "m", GOOD[form]())
    again = written(tmp_path / "again", found.content)
    assert [output.itself for output in again.outputs] == [0, 1]
    assert again.parameters == found.parameters


def test_in_double_precision_float64_stands_in_the_place_of_float32_and_nothing_else_changes(tmp_path: Path) -> None:
    for form, types in (("pir", (b'"0.t_f32"', b'"0.t_f64"')), ("pdmodel", (b"\x08\x05", b"\x08\x06"))):
        (tmp_path / form).write_bytes(GOOD[form]())
        source = Source.open(tmp_path / form)
        single, double = rewrite(source), rewrite(source, double=True)
        assert double.content == single.content.replace(*types) != single.content
        assert double._replace(content=b"") == single._replace(content=b"")


def test_what_has_no_ending_is_its_own_logits(tmp_path: Path) -> None:
    steps = pir_steps()
    steps[-1]["I"] = [{"%": 3}]
    assert written(tmp_path / "m", pir(steps)).outputs == (Returned(0, 0, None),)


def test_probabilities_and_the_classes_of_these_end_in_logits_too(tmp_path: Path) -> None:
    steps = pir_steps()
    softmax = step("1.softmax", [3], {7: tensor("f32", -1, 5, -1, -1)}, axis=("0.a_i32", 1))
    steps[5]["I"][0] = {"%": 7}
    steps.insert(5, softmax)
    assert written(tmp_path / "m", pir(steps)).outputs == (Returned(0, 1, "argmax"),)


def test_a_sum_whose_type_is_not_said_is_written_as_it_is(tmp_path: Path) -> None:
    steps = pir_steps()
    attributes = {"dtype": ("1.a_dtype", "Undefined(ALL_DTYPE)"), "keepdim": ("0.a_bool", True)}
    steps.insert(5, step("1.sum", [3, 4], {7: tensor("f32", -1, 1, -1, -1)}, **attributes))
    assert b'"Undefined(ALL_DTYPE)"' in written(tmp_path / "m", pir(steps)).content


Change = Callable[[list[dict[str, Any]]], Any]


def runs(kind: str) -> Change:
    def change(steps: list[dict[str, Any]]) -> None:
        steps[3]["#"] = kind

    return change


def has(name: str, kind: str, value: Any) -> Change:
    def change(steps: list[dict[str, Any]]) -> None:
        steps[3]["A"].append({"AT": {"#": kind, "D": value}, "N": name})

    return change


def put(place: int, key: str, value: Any) -> Change:
    def change(steps: list[dict[str, Any]]) -> None:
        steps[place][key] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        *((runs(f"1.{kind}"), f"it runs '{kind}'") for kind in ("save", "load", "py_func", "pylayer")),
        *((runs(f"1.{kind}"), "a branch or a loop is without its blocks") for kind in ("while", "if")),
        *((runs(f"1.{kind}"), f"it runs '{kind}'") for kind in ("run_program", "print", "c_allreduce_sum", "send_v2")),
        (runs("2.my_own"), "it runs 'my_own'"),
        (runs("conv2d"), "it runs 'conv2d'"),
        (runs("0.conv2d"), "it runs 'conv2d'"),
        (runs("1.\x1b[31m"), r"it runs '\\x1b"),
        (has("execution_stream", "0.a_str", "s"), "attribute 'execution_stream'"),
        (has("strange", "0.a_pointer", 1), "an attribute of the kind '0.a_pointer'"),
        (has("axis", "0.a_array", [{"#": "0.a_array", "D": []}]), "kind '0.a_array'"),
        (has("axis", "0.a_i32", 1 << 31), "integer of 32 bits"),
        (has("axis", "0.a_i32", True), "integer of 32 bits"),
        (has("axis", "0.a_i32", "1"), "integer of 32 bits"),
        (has("epsilon", "0.a_f32", "nan"), "where a number belongs"),
        (has("is_test", "0.a_bool", 1), "true or false"),
        (has("data_format", "0.a_str", "/etc/passwd"), "has a text"),
        (has("dtype", "1.a_dtype", ["float32"]), "kind '1.a_dtype'"),
        (has("dtype", "1.a_dtype", "Undefined(ANY)"), "kind '1.a_dtype'"),
        (has("place", "1.a_place", []), "kind '1.a_place'"),
        (has("a b", "0.a_i32", 1), "has a name"),
        (put(3, "regions", []), "has a part 'regions'"),
        (put(3, "I", [{"%": 2}, {"%": 77}]), "takes what is not there yet"),
        (put(3, "I", [{"%": 3}, {"%": 1}]), "takes what is not there yet"),
        (put(3, "I", [{"%": True}, {"%": 1}]), "takes what is not there yet"),
        (put(3, "O", [{"%": 1, "TT": tensor("f32", 1)}]), "gives what is there already"),
        (put(3, "O", [{"%": 1 << 40, "TT": tensor("f32", 1)}]), "gives what is there already"),
        (put(3, "O", [{"%": 3, "TT": tensor("f32", 1 << 40)}]), "a value of shape"),
        (put(3, "O", [{"%": 3, "TT": tensor("f32", -2)}]), "a value of shape"),
        (put(3, "O", [{"%": 3, "TT": tensor("pointer", 1)}]), "type that is not on ppls's list"),
        (put(3, "O", [{"%": 3, "TT": {"#": "0.t_array", "D": []}}]), "type that is not on ppls's list"),
        (lambda steps: steps[4]["A"][1]["AT"].update(D=[1 << 20, 1 << 20]), "makes a tensor of"),
        (lambda steps: steps[6]["A"][1]["AT"].update(D=1), "number what it returns"),
        (lambda steps: steps.insert(6, copy.deepcopy(steps[6])), "number what it returns"),
        (lambda steps: steps.pop(6), "number what it returns"),
        (lambda steps: steps.pop(2), "takes what is not there yet"),
        (lambda steps: steps.insert(3, step("1.data", [], {8: tensor("f32", 1)}, name=("0.a_str", "b"))), "no float32"),
        (lambda steps: steps.insert(3, {**steps[2], "O": [{**steps[2]["O"][0], "%": 8}]}), "takes 2 inputs"),
        (lambda steps: steps[2]["O"][0].update(TT=tensor("i64", -1, 3, -1, -1)), "takes int64"),
        (lambda steps: steps[2]["O"][0].update(TT=tensor("f32", -1, 3)), "takes float32"),
        (lambda steps: (runs("1.dropout")(steps), has("is_test", "0.a_bool", False)(steps)), "as in training"),
        (lambda steps: steps.append({"#": 3}), "without kind"),
    ],
)  # fmt: skip
def test_what_is_not_on_the_list_is_refused_with_a_sentence(tmp_path: Path, change: Change, says: str) -> None:
    steps = pir_steps()
    change(steps)
    with pytest.raises(CheckpointError, match=rf"m: Paddle is not given this program to run: .*({says})") as error:
        written(tmp_path / "m", pir(steps))
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "content",
    [
        pir(pir_steps(), version=1000),
        pir(pir_steps(), version="4"),
        pir(pir_steps(), args=[1]),
        pir(pir_steps(), more=1),
        json.dumps({"base_code": {"magic": "pir", "version": 1}, "program": {"regions": []}}).encode(),
        b"{",
        b"\xff",
    ],
)
def test_what_is_no_single_block_of_pir_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CheckpointError, match="is not given this program to run"):
        written(tmp_path / "m", content)


def with_attribute(name: str, kind: int, content: bytes) -> bytes:
    conv = operation("conv2d", {"Input": ["x"], "Filter": ["w"]}, {"Output": ["y"]}, attribute(name, kind, content))
    return pdmodel(*START, conv, CLASSES, END)


def of_kind(kind: str) -> bytes:
    return pdmodel(*START, operation(kind, {"X": ["x"]}, {"Out": ["y"]}), CLASSES, END)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        *((of_kind(kind), f"it runs '{kind}'") for kind in ("save", "load", "save_combine", "py_func", "while")),
        *((of_kind(kind), f"it runs '{kind}'") for kind in ("run_program", "conditional_block", "my_own")),
        (with_attribute("sub_block", BLOCK, field(12, 0)), "'sub_block' is a block"),
        (with_attribute("axis", 10, field(14, 0)), "'axis' is blocks"),
        (with_attribute("axis", VAR, field(17, b"w")), "'axis' is a variable"),
        (with_attribute("axis", 99, b""), "of an unknown kind"),
        (with_attribute("axis", INT, b""), "has 0 values"),
        (with_attribute("axis", INT, field(3, 1) + field(3, 2)), "has 2 values"),
        (with_attribute("axis", INT, field(3, 1) + field(12, 1)), "is of two kinds"),
        (with_attribute("axis", INT, field(3, b"text")), "integer of 64 bits"),
        (with_attribute("epsilon", FLOAT, b"\x25" + struct.pack("<f", float("inf"))), "where a number belongs"),
        (with_attribute("is_test", BOOLEAN, field(10, 2)), "true or false"),
        (with_attribute("data_format", STRING, field(5, b"/etc/passwd")), "has a text"),
        (with_attribute("data_format", STRING, field(5, b"\xff")), "codec"),
        (with_attribute("remote_prefetch", BOOLEAN, field(10, 1)), "attribute 'remote_prefetch'"),
        (with_attribute("a b", INT, field(3, 1)), "has a name"),
        (pdmodel(*START, CONV, CLASSES, END) * 2, "more than one block"),
        (pdmodel(*START, CONV, CLASSES, END, after=field(9, 1)), "more than one block"),
        (pdmodel(*START, CLASSES, CONV, END), "takes 'y', which is no tensor, or not there yet"),
        (pdmodel(*START[:4], *START[5:], CONV, CLASSES, END), "gives 'z', which is no tensor"),
        (pdmodel(*START[:5], CONV, CLASSES, END), "takes 'x'"),
        (pdmodel(*START, START[5], CONV, CLASSES, END), "takes 2 inputs"),
        (pdmodel(*START, CONV, CLASSES), "number what it takes and returns"),
        (pdmodel(*START, CONV, CLASSES, END.replace(field(3, 0), field(3, 1))), "number what it takes and returns"),
        (pdmodel(value("x", INT64, 1, 3, 8, 8), *START[:2], *START[3:], CONV, CLASSES, END), "takes int64"),
        (pdmodel(value("v", FLOAT32, 1 << 40), *START, CONV, CLASSES, END), "a value of shape"),
        (pdmodel(value("v", 99, 1), *START, CONV, CLASSES, END), "of a type that ppls does not know"),
        (
            pdmodel(
                *START,
                operation("fill_constant", {}, {"Out": ["y"]}, attribute("shape", 11, field(15, 1 << 40))),
                CLASSES,
                END,
            ),
            "makes a tensor of",
        ),
        (
            pdmodel(
                *START, operation("dropout", {"X": ["x"]}, {"Out": ["y"]}, attribute("is_test", 6, field(10, 0))), END
            ),
            "as in training",
        ),
    ],
)  # fmt: skip
def test_what_is_not_on_the_list_of_a_pdmodel_is_refused_too(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(CheckpointError, match=rf"m: Paddle is not given this program to run: .*{says}"):
        written(tmp_path / "m", content)


@pytest.mark.parametrize("form", GOOD)
def test_a_program_that_is_cut_or_changed_anywhere_ends_in_one_message_or_is_written(tmp_path: Path, form: str) -> None:
    content = GOOD[form]()
    for at in range(0, len(content), 3):
        for changed in (content[:at], content[:at] + bytes([content[at] ^ 0x15]) + content[at + 1 :]):
            with suppress(CheckpointError):
                written(tmp_path / "m", changed)


def test_a_name_that_is_written_twice_ends_in_no_logits(tmp_path: Path) -> None:
    """What stands under it in the end need not be what the classes were made of."""
    again = operation("relu", {"X": ["y"]}, {"Out": ["y"]})
    found = written(tmp_path / "m", pdmodel(*START, CONV, CLASSES, again, END))
    assert found.outputs == (Returned(0, 0, None),)
