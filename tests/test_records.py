"""Dataclasses without generated code behave as those of `dataclasses` do."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import field
from functools import cached_property
from typing import Any

import pytest

from ppls.records import dataclass


def classes(dataclass: Any) -> dict[str, Any]:
    """The same classes, made by one decorator or the other."""

    @dataclass(frozen=True)
    class Point:
        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list, compare=False)

        @cached_property
        def length(self) -> int:
            return self.x + self.y

    @dataclass(frozen=True)
    class Named(Point):
        name: str = ""

    @dataclass(eq=False, repr=False)
    class Plain:
        a: int
        b: int = 0

        def __post_init__(self) -> None:
            if self.a < 0:
                raise ValueError("negative")
            self.b += 1

    @dataclass(frozen=True, kw_only=True)
    class Keyed:
        needed: int
        other: str = "x"

    @dataclass
    class Own:
        """Its own methods stay."""

        a: int
        kept: int = field(default=7, init=False)

        def __repr__(self) -> str:
            return "own"

    return {kind.__name__: kind for kind in (Point, Named, Plain, Keyed, Own)}


THEIRS, OURS = classes(dataclasses.dataclass), classes(dataclass)
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Point", (1,), {}), ("Point", (1, 3, ["t"]), {}), ("Point", (), {"y": 1, "x": 0}), ("Point", (), {}),
    ("Point", (1, 2, [], 4), {}), ("Point", (1,), {"x": 2}), ("Point", (1,), {"z": 2}),
    ("Named", (1, 2), {"name": "n"}),
    ("Plain", (1,), {}), ("Plain", (-1,), {}), ("Keyed", (), {"needed": 1}), ("Keyed", (1,), {}), ("Keyed", (), {}),
    ("Own", (1,), {}), ("Own", (1, 2), {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "named"), CALLS)
def test_an_instance_is_what_dataclasses_would_make(name: str, values: tuple, named: dict) -> None:
    theirs, ours = THEIRS[name], OURS[name]
    try:
        expected = theirs(*values, **named)
    except (TypeError, ValueError) as error:
        with pytest.raises(type(error)):
            ours(*values, **named)
        return
    found = ours(*values, **named)
    assert {f.name: getattr(found, f.name) for f in dataclasses.fields(found)} == {
        f.name: getattr(expected, f.name) for f in dataclasses.fields(expected)
    }
    assert [f.name for f in dataclasses.fields(ours)] == [f.name for f in dataclasses.fields(theirs)]
    assert (repr(found) == repr(expected)) is (name != "Plain")
    assert (found == ours(*values, **named)) is (expected == theirs(*values, **named))
    assert ours.__match_args__ == theirs.__match_args__
    assert copy.copy(found).__dict__ == found.__dict__
    assert found != expected


def test_equal_ones_have_one_hash_and_what_is_not_compared_does_not_count() -> None:
    point = OURS["Point"]
    assert {point(1), point(1, 2, ["other"])} == {point(1)}
    assert point(1) != point(2)
    assert point(1) != OURS["Named"](1)
    assert OURS["Plain"](1) != OURS["Plain"](1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(OURS["Own"](1))


def test_each_instance_has_a_list_of_its_own() -> None:
    assert OURS["Point"](1).tags is not OURS["Point"](1).tags


def test_what_is_frozen_stays_as_it_is_and_can_be_replaced() -> None:
    point = OURS["Point"](1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x
    assert dataclasses.replace(point, x=5) == OURS["Point"](5)
    assert point.length == 3
    assert dataclasses.is_dataclass(point)
