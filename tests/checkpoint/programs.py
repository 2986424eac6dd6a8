"""Programs of a convolution and the classes that it gives, put together by hand in both forms."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.checkpoint.streams import description, field, variable

INT, FLOAT, STRING, INTS, BOOLEAN, BLOCK, LONG, VAR = 0, 1, 2, 3, 6, 8, 9, 13  # AttrType


def tensor(dtype: str, *shape: int) -> dict[str, Any]:
    return {"#": "0.t_dtensor", "D": [{"#": f"0.t_{dtype}"}, list(shape), "NCHW", [], 0]}


def step(kind: str, inputs: list[int], outputs: dict[int, dict[str, Any]], **attributes: Any) -> dict[str, Any]:
    """An operation of PIR; each attribute with its kind."""
    return {
        "#": kind,
        "A": [{"AT": {"#": code, "D": value}, "N": name} for name, (code, value) in attributes.items()],
        "I": [{"%": value} for value in inputs],
        "O": [{"%": value, "TT": type_} for value, type_ in outputs.items()],
        "OA": [],
    }


def pir_steps() -> list[dict[str, Any]]:
    """A convolution, and the classes that it gives."""
    numbers = {"#": "0.a_array", "D": [{"#": "0.a_i32", "D": 1}] * 2}
    return [
        {"#": "p", "A": [0, 1, 1, "w"], "DA": [], "O": {"%": 1, "TT": tensor("f32", 5, 3, 1, 1)}, "OA": [], "QA": []},
        {"#": "p", "A": [0, 1, 1, "unused"], "DA": [], "O": {"%": 9, "TT": tensor("f32", 2)}, "OA": [], "QA": []},
        step(
            "1.data", [], {2: tensor("f32", -1, 3, -1, -1)}, name=("0.a_str", "x"), place=("1.a_place", [2, 1, "gpu"])
        ),
        step(
            "1.conv2d",
            [2, 1],
            {3: tensor("f32", -1, 5, -1, -1)},
            strides=(numbers["#"], numbers["D"]),
            groups=("0.a_i32", 1),
            struct_name=("0.a_str", "/a \n\x1b text"),
        ),
        step("1.full", [], {4: tensor("i64", 1)}, value=("0.a_f64", 1.0), shape=("1.a_intarray", [1])),
        step("1.argmax", [3, 4], {5: tensor("i32", -1, -1, -1)}, keepdims=("0.a_bool", False)),
        step("1.fetch", [5], {6: tensor("i32", -1, -1, -1)}, name=("0.a_str", "out"), col=("0.a_i32", 0)),
    ]


def pir(operations: list[dict[str, Any]], version: Any = 4, **more: Any) -> bytes:
    blocks = [{"#": "block_0", "args": [], "ops": operations, **more}]
    program = {"regions": [{"#": "region_0", "blocks": blocks}]}
    return json.dumps({"base_code": {"magic": "pir", "version": version}, "program": program}).encode()


def attribute(name: str, kind: int, value: bytes) -> bytes:
    return field(4, field(1, name.encode()) + field(2, kind) + value)


def operation(kind: str, inputs: dict[str, list[str]], outputs: dict[str, list[str]], *attributes: bytes) -> bytes:
    """An operation of a `.pdmodel`."""

    def arguments(number: int, named: dict[str, list[str]]) -> bytes:
        entries = [field(1, name.encode()) + b"".join(field(2, v.encode()) for v in to) for name, to in named.items()]
        return b"".join(field(number, entry) for entry in entries)

    return field(4, field(3, kind.encode()) + arguments(1, inputs) + arguments(2, outputs) + b"".join(attributes))


def value(name: str, code: int, *shape: int) -> bytes:
    """A variable that is computed."""
    return field(3, field(1, name.encode()) + field(2, field(1, 7) + field(3, field(1, description(code, shape)))))


FLOAT32, INT64 = 5, 3
START = [
    variable("w", description(FLOAT32, (5, 3, 1, 1))),
    variable("unused", description(FLOAT32, (2,))),
    value("x", FLOAT32, -1, 3, -1, -1),
    value("y", FLOAT32, -1, 5, -1, -1),
    value("z", INT64, -1, -1, -1),
    operation("feed", {"X": ["feed"]}, {"Out": ["x"]}, attribute("col", INT, field(3, 0))),
]
CONV = operation(
    "conv2d",
    {"Input": ["x"], "Filter": ["w"], "Bias": []},
    {"Output": ["y"]},
    attribute("strides", INTS, field(6, 1) + field(6, 1)),
    attribute("data_format", STRING, field(5, b"NCHW")),
    attribute("op_callstack", 5, field(8, b"a \n\x1b text")),
    attribute("use_cudnn", BOOLEAN, field(10, 1)),
)
CLASSES = operation("arg_max", {"X": ["y"]}, {"Out": ["z"]}, attribute("axis", LONG, field(13, 1)))
END = operation("fetch", {"X": ["z"]}, {"Out": ["fetch"]}, attribute("col", INT, field(3, 0)))


def pdmodel(*entries: bytes, after: bytes = b"") -> bytes:
    return field(1, field(1, 0) + field(2, (1 << 64) - 1) + b"".join(entries)) + after


GOOD = {"pir": lambda: pir(pir_steps()), "pdmodel": lambda: pdmodel(*START, CONV, CLASSES, END)}


def altered(export: Path, folder: Path, change: Callable[[list[dict[str, Any]]], object]) -> Path:
    """A copy of an export of PIR, whose operations are changed."""
    copied = shutil.copytree(export, folder / "export")
    program = copied / "model.json"
    document = json.loads(program.read_text())
    change(document["program"]["regions"][0]["blocks"][0]["ops"])
    program.write_text(json.dumps(document))
    return copied
