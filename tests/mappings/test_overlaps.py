from __future__ import annotations

from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ppls.mappings.operations import RENAME, Concat, Split
from ppls.mappings.overlaps import clashes, common_name, taken_within
from ppls.mappings.patterns import LARGEST, Form, Pattern, PatternError, bounded
from ppls.mappings.rules import RuleIndex, TensorRule

SMALL = range(20)


def rule(source: str, target: str, line: int = 1) -> TensorRule:
    return TensorRule((Pattern.parse(source),), (Pattern.parse(target),), RENAME, line)


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    """A name of three numbers, each digits or counted from one of two indices."""
    forms = [f"{draw(st.integers(1, 6))}*{letter}+{draw(st.integers(0, 8))}" for letter in "ij"]
    placeholders = [f"<{form}:{low}..>" if low else f"<{form}>" for form in forms for low in [draw(st.integers(0, 3))]]
    numbers = st.one_of(st.sampled_from(placeholders), st.integers(0, 12).map(str))
    return Pattern.parse("a{}.b.{}_{}".format(*(draw(numbers) for _ in range(3))))


def rules(*rows: tuple[str, str]) -> list[TensorRule]:
    return [rule(source, target, line) for line, (source, target) in enumerate(rows, 1)]


@given(patterns(), patterns())
def test_a_common_name_is_matched_by_both_and_where_there_is_none_no_name_is(first: Pattern, second: Pattern) -> None:
    name = common_name(first, second)
    if name is not None:
        assert first.match(name) is not None
        assert second.match(name) is not None
        return
    letters = sorted(first.captures)
    names = (first.fill(dict(zip(letters, values, strict=True))) for values in product(SMALL, repeat=len(letters)))
    assert [name for name in names if first.match(name) is not None and second.match(name) is not None] == []


@st.composite
def tables(draw: st.DrawFn) -> list[TensorRule]:
    """Rules whose two sides have the same indices, among two numbers."""
    rows = []
    for line in range(draw(st.integers(1, 4))):
        letters = draw(st.sampled_from(["", "i", "ij"]))
        sides = []
        for _ in range(2):
            forms = [f"<{draw(st.integers(1, 3))}*{letter}+{draw(st.integers(0, 2))}>" for letter in letters]
            digits = [str(draw(st.integers(0, 3))) for _ in range(2 - len(letters))]
            sides.append("a{}.b{}".format(*draw(st.permutations(forms + digits))))
        rows.append(rule(sides[0], sides[1], line))
    return rows


@given(tables(), st.integers(0, 3), st.integers(0, 3))
def test_what_does_not_clash_is_read_both_ways(rows: list[TensorRule], i: int, j: int) -> None:
    assume(not clashes(rows))
    forward, backward = RuleIndex(rows), RuleIndex([row.inverse for row in rows])
    for row in rows:
        (source,), (target,) = row.sources, row.targets
        indices = {letter: {"i": i, "j": j}[letter] for letter in source.captures}
        name, filled = source.fill(indices), target.fill(indices)
        assert list(forward.matches(name)) == [(row, 0, indices)]
        assert [found for _, _, found in backward.matches(filled)] == [indices]


@given(patterns())
def test_a_pattern_has_its_lowest_name_in_common_with_itself(pattern: Pattern) -> None:
    lows = {form.letter: 0 for form in pattern.numbers if isinstance(form, Form)} | dict(pattern.bounds)
    assert common_name(pattern, pattern) == pattern.fill(lows)


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("a.<i>", "a.3", "a.3"),
        ("a.<i+1>", "a.0", None),
        ("a.<i:1..>", "a.0", None),
        ("a.<3*i>", "a.<3*i+1>", None),
        ("a.<3*i+1>", "a.<5*i+2>", "a.7"),
        ("a.<6*i+1>", "a.<4*i>", None),
        ("a.<i>.<i>", "a.<2*i>.<2*j+1>", None),
        ("a.<i>.<i>", "a.<2*i+1>.<3*j+1>", "a.1.1"),
        ("a.<i>.<i>.<j>.<j>", "a.<i>.2.2.<k>", "a.2.2.2.2"),
        ("a.<i>.<i>.<j>.<j>", "a.1.<k>.<k>.2", None),
        ("a.<i>", "a.01", None),
        ("a.<i>.b", "a.<i>.c", None),
        ("a.<i:5..>", "a.<4*i>", "a.8"),
        (f"a.<{LARGEST - 1}*i+1>", "a.<i:2..>", f"a.{LARGEST}"),
        ("a.<99999*i>", "a.<99998*i:1..>", None),
    ],
)
def test_patterns_meet_where_their_numbers_can_be_equal(first: str, second: str, name: str | None) -> None:
    assert common_name(Pattern.parse(first), Pattern.parse(second)) == name
    assert common_name(Pattern.parse(second), Pattern.parse(first)) == name


@pytest.mark.parametrize(
    ("rows", "name", "why"),
    [
        ([("a.<i>", "b.<i>"), ("a.3", "c")], "a.3", "line 1 (a.<i> -> b.<i>) and line 2 (a.3 -> c) both take 'a.3'"),
        ([("a.<i>", "b.<i>"), ("c", "b.3")], "b.3", "line 1 (a.<i> -> b.<i>) and line 2 (c -> b.3) both fill 'b.3'"),
        ([("a.<i>.1", "b.<i>"), ("a.2.<i>", "c.<i>")], "a.2.1", "both take"),
        ([("a.<3*i+1>", "b.<i>"), ("c.<i:2..>", "b.<2*i+1:2..>")], "b.5", "both fill"),
        ([("a", "b"), ("a", "c")], "a", "both take 'a'"),
        ([("a.<i>.<j>", "b.<i>")], "b.0", "'b.0' does not tell j"),
        ([("a.<i:1..>", "b.<i:1..>.<j>")], "a.1", "'a.1' does not tell j"),
    ],
)
def test_two_rules_that_take_or_fill_one_name_are_told_with_that_name(
    rows: list[tuple[str, str]], name: str, why: str
) -> None:
    (clash,) = clashes(rules(*rows))
    assert clash.name == name
    assert why in str(clash)


def test_one_rule_may_meet_itself() -> None:
    left, right = (Pattern.parse(text) for text in ("w.<i>", "w.<i+1>"))
    (taken,) = clashes([TensorRule((left, right), (Pattern.parse("v.<i>"),), Concat(0, 2), 7)])
    (filled,) = clashes([TensorRule((Pattern.parse("v.<i>"),), (left, right), Split(0, 2), 7)])
    assert str(taken) == "line 7 (w.<i>, w.<i+1> -> v.<i>) takes 'w.1' twice"
    assert str(filled) == "line 7 (v.<i> -> w.<i>, w.<i+1>) fills 'w.1' twice"


@pytest.mark.parametrize(
    "rows",
    [
        [("blks.<3*i>", "a.<i>"), ("blks.<3*i+1>", "b.<i>"), ("blks.<3*i+2>", "c.<i>")],
        [("stage<i+1>.0", "stages.<i>.0"), ("stage<i+1>.<j:1..>", "stages.<i>.<j:1..>")],
        [("first<i+2>", "stages.<i>.0"), ("conv<i+2>.conv<i+2>_<j+2>", "stages.<i>.<j+1>")],
        [("blocks.<i>.conv", "branches.<i>.conv"), ("blocks.<i>.depthwise", "branches.<i>.depthwise")],
    ],
)
def test_rules_that_share_their_modules_and_no_tensor_stand_together(rows: list[tuple[str, str]]) -> None:
    assert clashes(rules(*rows)) == []


def test_a_bound_carried_over_keeps_rules_apart() -> None:
    sides = bounded([Pattern.parse("a.<i:1..>"), Pattern.parse("b.<i>")])
    assert clashes([TensorRule(sides[:1], sides[1:], RENAME, 1), rule("c", "b.0")]) == []


def test_all_clashes_are_told_up_to_a_number() -> None:
    twice = rules(*[(f"a.{i}", f"b.{i}") for i in range(20)] * 2)
    assert len(clashes(twice, 100)) == 40
    assert len(clashes(twice)) == 10


def test_rules_that_differ_in_digits_are_not_held_against_one_another() -> None:
    many = rules(*[(f"a.<i>.b{i}", f"a.{i}.b<i>") for i in range(2000)], ("a.<i>.b<j+2000>", "b.<i>.<j>"))
    assert clashes(many) == []


def test_more_alike_than_can_be_told_apart_is_refused() -> None:
    residues = rules(*[(f"a.<400*i+{i}>", f"b.{i}.<i>") for i in range(400)])
    assert ["too many patterns" in str(clash) for clash in clashes(residues)] == [True]
    modules = [Pattern.parse(f"a.<400*i+{i}>") for i in range(1, 400)]
    with pytest.raises(PatternError, match="too many patterns"):
        list(taken_within(modules, [rule("a.<400*i>.b", "b.<i>")] * 200))
    places = ["".join(f".<{letter}>" if i >> k & 1 else f".{i}" for k, letter in enumerate("abcde")) for i in range(32)]
    assert clashes(rules(*[(f"a{place}", f"{'x' * at}{place}") for at, place in enumerate(places, 1)]), 1)


def test_a_tensor_that_a_rule_takes_is_found_in_modules_that_something_else_takes() -> None:
    table = rules(("aux.<i:1..>.conv.weight", "heads.<i:1..>.weight"), ("head.<3*i+1>.bias", "bias.<i>"))

    def found(*modules: str) -> list[tuple[str, int, str]]:
        taken = taken_within([Pattern.parse(module) for module in modules], table)
        return [(module.text, rule.line, name) for module, rule, name in taken]

    assert found("aux", "aux.<j>", "aux.0", "aux.2.conv.weight", "aux.<i>.conv.bias") == [
        ("aux", 1, "aux"),
        ("aux.<j>", 1, "aux.1"),
        ("aux.2.conv.weight", 1, "aux.2.conv.weight"),
    ]
    assert found("head.<i+2>", "head.<3*j>", "head.<i>.bias.x") == [("head.<i+2>", 2, "head.4")]
