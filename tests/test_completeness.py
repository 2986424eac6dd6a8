from __future__ import annotations

from ppls.completeness import differences


def test_what_is_missing_of_another_shape_or_too_many_is_said_by_its_name() -> None:
    assert differences({"a": (2,), "b": (3, 1), "c": ()}, {"b": (1, 3), "c": (), "d\n": (4,)}) == [
        "missing: a [2]",
        "wrong shape: b [1, 3], the model has [3, 1]",
        "unexpected: d\\n; the model of this config has no d\\n",
    ]
    assert differences({"a": (2,)}, {"a": (2,)}) == []


def test_what_a_file_calls_it_comes_first() -> None:
    assert differences({"a": (2,), "b": (3,)}, {"b": (1,), "c": (4,)}, lambda name: f"file.{name}") == [
        "missing: file.a, for a [2]",
        "wrong shape: file.b gives b [1], the model has [3]",
        "unexpected: file.c; the model of this config has no c",
    ]
