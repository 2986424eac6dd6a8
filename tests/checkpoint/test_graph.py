"""The graph of a program: the same of both forms, what is near what, and what is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from ppls.checkpoint.graph import Graph, Operation, read_graph
from ppls.checkpoint.source import Source
from ppls.errors import CheckpointError
from tests.checkpoint.streams import description, field, variable


def graph_of(path: Path, content: bytes) -> Graph:
    path.write_bytes(content)
    return read_graph(Source.open(path))


def operation(kind: str, inputs: list[str], outputs: list[str], *attributes: bytes) -> bytes:
    """An operation of a `.pdmodel`."""
    taken, given = (field(1, b"X") + b"".join(field(2, name.encode()) for name in names) for names in (inputs, outputs))
    return field(4, field(3, kind.encode()) + field(1, taken) + field(2, given) + b"".join(attributes))


def attribute(name: str, value: bytes) -> bytes:
    return field(4, field(1, name.encode()) + field(2, 0) + value)


def block(*entries: bytes) -> bytes:
    return field(1, field(1, 0) + field(2, 0) + variable("w", description(5, (2,))) + b"".join(entries))


def pir(*operations: dict[str, Any]) -> bytes:
    parameter = {"#": "p", "A": [0, 1, 1, "w"], "O": {"%": 1, "TT": {"#": "0.t_dtensor", "D": []}}}
    program = {"regions": [{"blocks": [{"ops": [parameter, *operations]}]}]}
    return json.dumps({"base_code": {"magic": "pir", "version": 1}, "program": program}).encode()


def pir_operation(kind: str, inputs: list[int], outputs: list[int], **attributes: Any) -> dict[str, Any]:
    named = [{"N": name, "AT": value} for name, value in attributes.items()]
    return {"#": kind, "A": named, "I": [{"%": v} for v in inputs], "O": [{"%": v, "TT": None} for v in outputs]}


def test_a_pdmodel_and_pir_say_the_same(tmp_path: Path) -> None:
    numbers = field(6, 3) + field(6, (1 << 64) - 1)
    pdmodel = block(
        operation("conv2d", ["x", "w"], ["y"], attribute("dilations", numbers), attribute("same", field(10, 1))),
        operation("nearest_interp_v2", ["y"], ["z"], attribute("interp_method", field(5, b"nearest"))),
        operation("relu", ["z"], ["z"]),  # under the name of its own input
    )
    numbers = {"#": "0.a_array", "D": [{"#": "0.a_i32", "D": 3}, {"#": "0.a_i32", "D": -1}]}
    same = pir(
        pir_operation("1.conv2d", [7, 1], [2], dilations=numbers, same={"#": "0.a_bool", "D": True}),
        pir_operation("1.nearest_interp", [2, 0, 0], [3], interp_method={"#": "0.a_str", "D": "nearest"}),
        pir_operation("1.relu_", [3], [4]),
    )
    for name, content in (("model.pdmodel", pdmodel), ("model.json", same)):
        graph = graph_of(tmp_path / name, content)
        conv, resize, relu = graph.operations
        assert [found.kind for found in graph.operations] == ["conv2d", "nearest_interp", "relu"]
        assert conv.attributes == {"dilations": [3, -1], "same": True}
        assert graph.users("w") == [conv]
        assert graph.users("unknown") == []
        assert graph.after(conv, ["nearest_interp"]) == [resize]
        assert graph.after(conv, ["relu"]) == [relu]
        assert graph.before(relu, ["conv2d"]) == [conv]
        assert graph.before(conv, ["relu"]) == []


def test_a_packed_list_is_a_list(tmp_path: Path) -> None:
    packed = attribute("a", field(6, b"\x01\x02"))
    floats = attribute("b", field(7, struct.pack("<2f", 0.5, 2.0)))
    graph = graph_of(tmp_path / "m", block(operation("conv2d", ["w"], ["y"], packed, floats)))
    assert graph.operations[0].attributes == {"a": [1, 2], "b": [0.5, 2.0]}


def test_the_nearest_are_several_where_they_are_equally_near() -> None:
    made = [Operation("resize", {"at": at}, (at,), (10 + at,)) for at in (1, 2)]
    far = Operation("resize", {"at": 3}, (3,), (1,))
    add = Operation("add", {}, (11, 12), (20,))
    graph = Graph("m", [far, *made, add], {})
    assert graph.before(add, ["resize"]) == made


def test_an_input_that_is_not_given_feeds_nothing() -> None:
    stray, conv = Operation("resize", {}, (), (0,)), Operation("conv2d", {}, (5, 0), (6,))
    assert Graph("m", [stray, conv], {}).before(conv, ["resize"]) == []


def test_a_search_ends_in_a_circle_and_in_a_long_program() -> None:
    circle = [Operation("relu", {}, (1,), (2,)), Operation("relu", {}, (2,), (1,))]
    assert Graph("m", circle, {}).after(circle[0], ["resize"]) == []
    long = [Operation("relu", {}, (at,), (at + 1,)) for at in range(1, 100_000)]
    graph = Graph("m", [*long, Operation("resize", {}, (100_000,), ())], {})
    assert graph.after(long[0], ["resize"]) == []
    wide = [Operation("relu", {}, (1,), (at,)) for at in range(2, 100_000)]
    first = Operation("relu", {}, (), (1,))
    assert Graph("m", [first, *wide], {}).after(first, ["resize"]) == []


def test_searching_takes_of_what_the_file_may_cost(tmp_path: Path) -> None:
    found = graph_of(tmp_path / "m", block(*(operation("relu", ["w"], [f"{at}"]) for at in range(100))))
    searches = (found.after(found.operations[0], ["resize"]) for _ in range(1_000_000))
    with pytest.raises(CheckpointError, match="more values"):
        any(searches)


@pytest.mark.parametrize(
    "content",
    [
        block(operation("", ["w"], ["y"])),
        block(operation("conv2d", ["w"], ["y"], attribute("a", field(4, b"abc")))),
        block(operation("conv2d", ["w"], ["y"], attribute("a", field(7, b"abc")))),
        block(operation("conv2d", ["w"], ["y"], attribute("a", field(5, b"\xff")))),
        block(field(4, b"\xff\xff")),
        field(2, b"x"),
        pir({"#": 3}),
        pir({"#": "1.conv2d", "A": {}, "I": [], "O": []}),
        pir({"#": "1.conv2d", "A": [], "I": [{"%": "1"}], "O": []}),
        pir({"#": "1.conv2d", "A": [{"N": 1}], "I": [], "O": []}),
        b'{"base_code": {"magic": "pir"}}',
        b"{" * 1000,
    ],
)
def test_what_no_program_says_is_one_message(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"damaged, or not a Paddle program|nested more than"):
        graph_of(tmp_path / "m", content)


def test_a_program_that_asks_for_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, figure in {"FREE_NODES": 500, "NODES_PER_BYTE": 0}.items():
        monkeypatch.setattr(f"ppls.budget._{name}", figure)
    for content in (
        block(operation("conv2d", ["w"] * 1000, ["y"])),
        block(operation("conv2d", ["w"], ["y"], attribute("a", field(6, b"\x01" * 1000)))),
        pir(pir_operation("1.conv2d", [1] * 1000, [2])),
    ):
        with pytest.raises(CheckpointError, match="more values"):
            graph_of(tmp_path / "m", content)
