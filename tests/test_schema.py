"""Data is built as types say, and what the types do not have is refused with its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from ppls.errors import UsageError
from ppls.schema import (
    Listed,
    Node,
    Part,
    Placed,
    Word,
    at_least,
    at_most,
    between,
    build,
    describe,
    made_of,
    not_empty,
)
from ppls.yaml_documents import YamlReader


@dataclass
class Point:
    x: int
    y: Annotated[int, between(0, 9)] = 0


@dataclass
class Circle:
    radius: Annotated[float, at_least(0)]
    center: Point = field(default_factory=lambda: Point(0))


@dataclass
class Line:
    start: Point
    end: Point
    radius: None = None

    def __post_init__(self) -> None:
        if self.start == self.end:
            raise ValueError("a line of no length")


@dataclass
class Row(Listed):
    name: Word
    count: int = 1


@dataclass
class Some(Part):
    known: int = 0


def error(place: str, why: str) -> UsageError:
    return UsageError(f"{place}: {why}")


def of(data: Any, kind: Any) -> Any:
    return build(Node.of(data, error, "top"), kind)


def of_yaml(text: str, kind: Any) -> Any:
    return build(YamlReader(error).text(text, lambda line: f"file:{line}"), kind)


@pytest.mark.parametrize(
    ("data", "kind", "value"),
    [
        (1, int, 1),
        (1, float, 1.0),
        (None, int | None, None),
        ("a", Literal["a", "b"], "a"),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, "a"], tuple[int, str], (1, "a")),
        ({"a": 1}, dict[str, int], {"a": 1}),
        ({"a": 1}, dict[Annotated[str, made_of(Word, str.upper)], int], {"A": 1}),
        ({"x": 1}, Point, Point(1)),
        ({"radius": 1, "center": {"x": 2}}, Circle | Line, Circle(1.0, Point(2))),
        ({"start": {"x": 1}, "end": {"x": 2}}, Circle | Line, Line(Point(1), Point(2))),
        (["a"], Row, Row(Word("a"))),
        (["a", 2], Row, Row(Word("a"), 2)),
        ({"known": 1, "other": object()}, Some, Some(1)),
        ({"a": [1, None, "x", 0.5]}, Any, {"a": [1, None, "x", 0.5]}),
        ("5", Annotated[int, made_of(str, int)], 5),
    ],
)
def test_what_fits_is_built(data: Any, kind: Any, value: Any) -> None:
    found = of(data, kind)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (True, int, "top: expected a whole number, found True"),
        (1.0, int, "top: expected a whole number, found 1.0"),
        (float("nan"), float, "top: expected a number, found nan"),
        (1, Literal[True], "top: expected True, found 1"),
        ("x", int | None, "top: expected a whole number, found 'x'"),
        ({"a": float("inf")}, Any, "top.a: expected plain data, found inf"),
        ({"a": 1, "x": 1}, Point, "top.a: 'a' is not known here; known are x, y"),
        ({}, Point, "top: 'x' is missing"),
        ({"x": 1, "y": 10}, Point, "top.y: expected a number from 0 to 9, found 10"),
        ([1], Point, "top: expected `key: value` pairs, found a list"),
        ({"start": {"x": 1}, "end": {"x": 1}}, Line, "top: a line of no length"),
        ({"radius": 1, "end": {"x": 1}}, Circle | Line, "top.end: 'end' has no meaning beside 'radius'"),
        ({"y": 1}, Circle | Point, "top: 'x' is missing"),
        ({"x": 1, "radius": 1}, Circle | Point, "top: radius and x cannot stand together"),
        (["a", 1, 2], Row, "top: expected 1 or 2 entries, found 3"),
        ([1, 2, 3], tuple[int, int], "top: expected 2 entries, found 3"),
        ([], Annotated[list[int], not_empty], "top: is empty"),
        ([1, 2], Annotated[list[int], at_most(1)], "top: 2 entries, 1 at most"),
        ("abc", Annotated[str, at_most(1)], "top: 3 characters, 1 at most"),
        ("x", Annotated[int, made_of(str, int)], "top: invalid literal for int() with base 10: 'x'"),
        ({"a\x1b": 1}, Point, r"top.a\x1b: 'a\x1b' is not known here"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(data: Any, kind: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        of(data, kind)
    assert str(caught.value).startswith(message)


def test_a_word_is_what_is_written() -> None:
    assert of_yaml("[1.0, off, 010, x, '5']", list[Word]) == ["1.0", "off", "010", "x", "5"]
    with pytest.raises(UsageError, match="file:1: expected a word, found a list"):
        of_yaml("[[1]]", list[Word])


def test_a_value_of_yaml_is_placed_by_its_line_and_the_key_it_belongs_to() -> None:
    text = "a:\n  - x: 1\n  -\n    x: wrong\n"
    with pytest.raises(UsageError, match=r"^file:4: x: expected a whole number, found 'wrong'$"):
        of_yaml(text, dict[str, list[Point]])
    placed = of_yaml(text, dict[str, list[Placed[Any]]])["a"][1]
    assert placed.value == {"x": "wrong"}
    assert (placed.node.place, placed.node.line, placed.node.key, placed.node.key_place) == ("file:4", 4, "a", "file:1")


def test_a_number_that_yaml_takes_for_a_word_says_how_to_write_it() -> None:
    with pytest.raises(UsageError, match=r"found '1e-5' \(YAML wants 1.0e-5 for 1e-5\)"):
        of_yaml("1e-5", float)


def test_types_are_described_in_words() -> None:
    assert describe(list[Annotated[int, between(0, 9)]]) == "a list, each a whole number from 0 to 9"
    assert describe(int | None) == "a whole number or nothing"
    assert describe(Annotated[int, made_of(Word, int)]) == "a word"
