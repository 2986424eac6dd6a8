"""Rows that differ in a number become one, and say nothing that the rows did not."""

from __future__ import annotations

import pytest

from ppls.drafting.blocks import with_blocks
from ppls.drafting.indices import generalised
from ppls.drafting.rows import LayerRow

TENSORS = (("weight", "weight", ()),)


def rows(*pairs: tuple[str, str]) -> list[LayerRow]:
    return [LayerRow(source, target, "conv", TENSORS) for source, target in pairs]


def names(found: list[LayerRow]) -> list[tuple[str, str]]:
    return [(row.source, row.target) for row in found]


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([("a.0", "b.0"), ("a.1", "b.1")], [("a.<i>", "b.<i>")]),
        ([("block1.0", "s.0.0"), ("block2.0", "s.1.0"), ("block2.1", "s.1.1")], [("block<i+1>.<j>", "s.<i>.<j>")]),
        ([("a.0", "b.2"), ("a.1", "b.1"), ("a.2", "b.0")], [("a.<x:0|1|2>", "b.<x:2|1|0>")]),
        ([("f.2", "s_s8.0"), ("f.4", "s_s16.0")], [("f.<x:2|4>", "s_<x:s8|s16>.0")]),
        ([("a.0", "b")], [("a.0", "b")]),
        ([("a.01", "b.0"), ("a.02", "b.1")], [("a.<x:01|02>", "b.<x:0|1>")]),
    ],
)
def test_numbers_that_go_together_are_an_index_others_a_list(
    pairs: list[tuple[str, str]], said: list[tuple[str, str]]
) -> None:
    assert names(generalised(rows(*pairs))) == said


def test_an_index_takes_nothing_of_another_row_or_of_what_is_left() -> None:
    pairs = rows(("a.1", "b.1"), ("a.2", "b.2"))
    assert names(generalised([*pairs, LayerRow("a.0", "first", "linear", TENSORS)])) == [
        ("a.<i:1..>", "b.<i:1..>"),
        ("a.0", "first"),
    ]
    assert names(generalised(pairs, [LayerRow("a.0", "", "")])) == [("a.<i:1..>", "b.<i:1..>")]
    assert names(generalised(pairs, [LayerRow("a.3", "", "")])) == [("a.<x:1|2>", "b.<x:1|2>")]


def test_what_repeats_is_a_block_and_one_that_lacks_a_layer_is_of_the_same() -> None:
    found = [
        LayerRow(f"s.{at}.{name}", f"t.{at}.{name}0", kind, TENSORS)
        for at in range(3)
        for name, kind in (("q", "linear"), ("norm", "layer_norm"), ("out", "linear"))
        if (at, name) != (2, "norm")
    ]
    table, blocks = with_blocks(found, {"linear", "layer_norm"}, {})
    (name,) = blocks
    assert [entry[:3] for entry in blocks[name]] == [
        ("q", "q0", "linear"),
        ("norm", "norm0", "layer_norm"),
        ("out", "out0", "linear"),
    ]
    assert names(generalised(table)) == [("s.<i>", "t.<i>")]
