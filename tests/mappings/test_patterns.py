from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppls.mappings.patterns import LARGEST, Pattern, PatternError, bounded, lookup, natural_key

LITERALS = st.sampled_from([".", "_", "-", ".conv", "_1x", ".0.", ".b.7.c_"])


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    """A pattern of up to three numbers of two indices, each of which has one bound or none."""
    bounds = {letter: f":{low}.." if low else "" for letter in "ij" for low in [draw(st.integers(0, 3))]}
    forms = {letter: (draw(st.integers(1, 12)), draw(st.integers(0, 30))) for letter in "ij"}
    text = "n"
    for letter in draw(st.text("ij", max_size=3)):
        scale, offset = forms[letter]
        scaled = f"{scale}*{letter}" if scale > 1 else letter
        text += f"{draw(LITERALS)}<{scaled}{f'+{offset}' if offset else ''}{bounds[letter]}>"
    return Pattern.parse(text + draw(st.sampled_from(["", ".weight", "d"])))


@pytest.mark.parametrize(
    ("pattern", "name", "indices"),
    [
        ("blocks.<i>.conv", "blocks.12.conv", {"i": 12}),
        ("blocks.<i>.conv", "blocks.12.conv.weight", None),
        ("blocks.<i>.conv", "x.blocks.12.conv", None),
        ("blocks.<i>.conv", "blocks.01.conv", None),
        ("blocks.<i>.conv", "blocks.a.conv", None),
        ("bb_<i>_<j>.conv0", "bb_3_1.conv0", {"i": 3, "j": 1}),
        ("a.<i>.b.<i>", "a.2.b.2", {"i": 2}),
        ("a.<i>.b.<i>", "a.2.b.3", None),
        ("heads.<i:1..>", "heads.0", None),
        ("heads.<i:1..>", "heads.7", {"i": 7}),
        ("a.b", "aXb", None),
        ("a.<i+1>", "a.0", None),
        ("a.<i+1>", "a.1", {"i": 0}),
        ("a.<3*i+1>.b", "a.7.b", {"i": 2}),
        ("a.<3*i+1>.b", "a.8.b", None),
        ("a.<3*i+4>.b", "a.1.b", None),
        ("a.<3*i:1..>", "a.0", None),
        ("a.<3*i:1..>", "a.3", {"i": 1}),
        ("tr<s+1>.to<s+1>", "tr1.to1", {"s": 0}),
        ("tr<s+1>.to<s+1>", "tr1.to2", None),
        ("a.<i>", "a.1²", None),
        ("a.<i>", "a.²", None),
        ("a.<i>", "a.١", None),
        ("a.<i>", f"a.{LARGEST}", {"i": LARGEST}),
        ("a.<i>", f"a.{LARGEST + 1}", None),
        ("a.<i>", f"a.{'9' * 10_000}", None),
        ("a.<i>.<j>", "a.5.#", None),
        ("a.<i>.<j>", "a.#.#", None),
        ("a.<i>.3", "a.5.4", None),
    ],
)
def test_patterns_are_anchored(pattern: str, name: str, indices: dict[str, int] | None) -> None:
    assert Pattern.parse(pattern).match(name) == indices


@given(patterns(), st.data())
def test_filling_is_the_inverse_of_matching(pattern: Pattern, data: st.DataObject) -> None:
    lows = dict(pattern.bounds)
    indices = {letter: data.draw(st.integers(lows.get(letter, 0), 10**6)) for letter in sorted(pattern.captures)}
    name = pattern.fill(indices)
    assert pattern.match(name) == indices
    assert pattern.match_within(f"{name}.x") == (indices, "x")
    assert re.fullmatch(pattern.expression, name)
    for letter, low in pattern.bounds:
        assert pattern.match(pattern.fill({**indices, letter: low - 1})) is None


@given(patterns(), st.lists(st.integers(0, 40), min_size=8, max_size=8))
def test_what_matches_is_what_is_filled_in(pattern: Pattern, numbers: list[int]) -> None:
    drawn = iter(numbers)
    name = re.sub(r"#", lambda _: str(next(drawn)), pattern.template)
    indices = pattern.match(name)
    if indices is not None:
        assert pattern.fill(indices) == name


def test_a_computed_index_adds_numbers_and_values_of_the_config() -> None:
    pattern = Pattern.parse_computed("features.<i+2+layers.0>")
    assert pattern.fill({"i": 1}, {"layers": [4, 5, 3]}) == "features.7"
    assert pattern.captures == {"i"}
    assert pattern.values == {"layers.0"}
    assert Pattern.parse_computed("f.<3*i + 2*layers.0 + 1>").fill({"i": 1}, {"layers": [4]}) == "f.12"
    inner = pattern.qualified("backbone")
    assert inner.text == "features.<i+2+backbone.layers.0>"
    with pytest.raises(KeyError):
        inner.fill({"i": 1}, {"layers": [4, 5, 3]})


def test_a_module_pattern_finds_what_lies_within() -> None:
    pattern = Pattern.parse("x8.0.<i>")
    assert pattern.match_within("x8.0.3.conv.weight") == ({"i": 3}, "conv.weight")
    assert pattern.match_within("x8.0.3") == ({"i": 3}, "")
    assert pattern.match_within("x8.0.3x.conv") is None
    assert Pattern.parse("heads.<i:1..>").match_within("heads.1.conv") == ({"i": 1}, "conv")


@pytest.mark.parametrize(
    "text",
    [
        *["", "a.<I>", "a.<>", "a.<i", "a.i>", "a b", "a.*", "a.#", "a.<i+j>", "a.<i:x..>", "a.<i-1>", "a.<0*i>"],
        *["a..b", ".a", "a.", "a<i>.", "a.<x:l|r>", "a.<i>²<", "a\u202eb", "a.<i+9999999999>", "x" * 501, "a.<i>" * 9],
        *[
            "a.<i*3>",
            "a.<1+i>",
            "a.<²*i>",
            "a.<i+²>",
            "a.<i+ 1>",
            "a.<ii>",
            "a.<i:>",
            "a.<i:1>",
            "a.<i>.<i+1>",
            "a.1" * 33,
        ],
    ],
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(PatternError):
        Pattern.parse(text)


@pytest.mark.parametrize(
    "text", ["a.<>", "a.<.>", "a.<1.5>", "a.<i+>", "a.<i*3>", "a.<i-1>", "a.<layers..0>", "a.<i", "a.<i:1..>"]
)
def test_what_cannot_be_computed_is_refused(text: str) -> None:
    with pytest.raises(PatternError):
        Pattern.parse_computed(text)


@pytest.mark.parametrize("text", ["a.<i><j>", "a.<i>2<j>", "a.1<i>", "a.<i>1"])
def test_an_index_is_a_whole_number(text: str) -> None:
    with pytest.raises(PatternError, match="whole number"):
        Pattern.parse(text)


@pytest.mark.parametrize("text", ["a.<j:1..1>", "a.<i:0..3>", "a.<i:3..1>", "a.<i+1:0..0>"])
def test_an_index_has_no_upper_end(text: str) -> None:
    with pytest.raises(PatternError, match="upper end"):
        Pattern.parse(text)


@pytest.mark.parametrize(
    "text", [f"a.<i:{LARGEST}..>", f"a.<i+5:{LARGEST - 4}..>", f"a.<{LARGEST}*i+{LARGEST}>", "a.<99999*i:99999..>"]
)
def test_a_bound_that_leaves_no_choice_is_refused(text: str) -> None:
    with pytest.raises(PatternError, match="no choice of i"):
        Pattern.parse(text)


def test_a_bound_on_one_side_holds_on_the_other() -> None:
    sources = bounded(
        [Pattern.parse("heads.<i:1..>.<j>"), Pattern.parse("aux.<3*i+1>.<j>.of<3*i+1>"), Pattern.parse("x")]
    )
    assert [pattern.text for pattern in sources] == ["heads.<i:1..>.<j>", "aux.<3*i+1:1..>.<j>.of<3*i+1>", "x"]
    assert sources[1].match("aux.1.0.of1") is None
    assert sources[1].match("aux.4.0.of4") == {"i": 1, "j": 0}


@pytest.mark.parametrize("texts", [["a.<i:1..>", "b.<i:2..>"], ["a.<i:1..>.<i:2..>"], ["a.<i:10..>", "b.<99999999*i>"]])
def test_bounds_that_cannot_both_hold_are_refused(texts: list[str]) -> None:
    with pytest.raises(PatternError):
        bounded([Pattern.parse(text) for text in texts])


@pytest.mark.parametrize(
    ("pattern", "no_name"),
    [("a.<i:1..>", "a.0"), ("a.<i+2>", "a.1"), ("a.<i>.<i>", "a.1.2"), ("a.<i>", "a.01"), ("a.<3*i:1..>", "a.2")],
)
def test_the_regular_expression_knows_bounds_and_repeats(pattern: str, no_name: str) -> None:
    expression = Pattern.parse(pattern).expression
    assert re.fullmatch(expression, Pattern.parse(pattern).fill({"i": 10}))
    assert not re.fullmatch(expression, no_name)


@pytest.mark.parametrize("path", ["layers.-1", "layers.²", "layers.١", "layers.3", "layers.x", "layers.0.0", "base.0"])
def test_a_path_that_leads_nowhere_is_a_key_error(path: str) -> None:
    assert lookup({"layers": [4, 5, 3]}, "layers.2") == 3
    with pytest.raises(KeyError):
        lookup({"layers": [4, 5, 3], "base": 64}, path)


def test_names_sort_as_a_person_counts() -> None:
    assert sorted(["a.10", "a.9", "a.b"], key=natural_key) == ["a.9", "a.10", "a.b"]
