from __future__ import annotations

import pytest

from ppls.mappings.patterns import Pattern, PatternError, natural_key


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
        ("heads.<i:1..2>", "heads.3", None),
        ("a.b", "aXb", None),
    ],
)
def test_patterns_are_anchored(pattern: str, name: str, indices: dict[str, int] | None) -> None:
    assert Pattern.parse(pattern).match(name) == indices


def test_filling_is_the_inverse_of_matching() -> None:
    pattern = Pattern.parse("stage<i>.blocks.<j>.conv")
    indices = pattern.match("stage2.blocks.10.conv")
    assert indices is not None
    assert pattern.fill(indices) == "stage2.blocks.10.conv"


def test_a_computed_index_adds_numbers_and_values_of_the_config() -> None:
    pattern = Pattern.parse_computed("features.<i+2+layers.0>")
    assert pattern.fill({"i": 1}, {"layers": [4, 5, 3]}) == "features.7"


def test_a_module_pattern_finds_what_lies_within() -> None:
    pattern = Pattern.parse("x8.0.<i>")
    assert pattern.match_within("x8.0.3.conv.weight") == ({"i": 3}, "conv.weight")
    assert pattern.match_within("x8.0.3") == ({"i": 3}, "")
    assert pattern.match_within("x8.0.3x.conv") is None


@pytest.mark.parametrize("text", ["", "a.<I>", "a.<>", "a.<i", "a.i>", "a b", "a.*", "a.<i+j>", "a.<i:x..>"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(PatternError):
        Pattern.parse(text)


def test_names_sort_as_a_person_counts() -> None:
    assert sorted(["a.10", "a.9", "a.b"], key=natural_key) == ["a.9", "a.10", "a.b"]
