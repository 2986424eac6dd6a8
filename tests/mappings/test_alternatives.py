from __future__ import annotations

import pytest

from ppls.mappings.alternatives import expanded
from ppls.mappings.patterns import PatternError


@pytest.mark.parametrize(
    ("row", "rows"),
    [
        (["a.<i>", "b.<i>"], [["a.<i>", "b.<i>"]]),
        (["h.<x:pam|cam>.q", "a.<x:position|channel>"], [["h.pam.q", "a.position"], ["h.cam.q", "a.channel"]]),
        (["stage<x:3|4>.<i>", "stages.<x:0|1>.<i>"], [["stage3.<i>", "stages.0.<i>"], ["stage4.<i>", "stages.1.<i>"]]),
        (["<x:left|right>.w", "in_<x>.w"], [["left.w", "in_left.w"], ["right.w", "in_right.w"]]),
        (["s<x:3|4>.s<x>_1", "<x:0|1>.<x>"], [["s3.s3_1", "0.0"], ["s4.s4_1", "1.1"]]),
        (["up<x:|d>", "<x:encoder|decoder>"], [["up", "encoder"], ["upd", "decoder"]]),
        (["<x:a|b>.<y:c|d>", "<y>.<x>"], [["a.c", "c.a"], ["a.d", "d.a"], ["b.c", "c.b"], ["b.d", "d.b"]]),
        (["qkv", "<x:q|k>", "of"], [["qkv", "q", "of"], ["qkv", "k", "of"]]),
    ],
)
def test_a_row_with_lists_stands_for_one_row_for_each_word(row: list[str], rows: list[list[str]]) -> None:
    assert expanded(row) == rows


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (["<x:a|b>", "<x:a|b|c>"], "2 words in one list, 3 in another"),
        (["<x:a|a>", "<x:b|c>"], "a word twice"),
        (["<x:a|b c>", "d"], "no word"),
        (["<x:a|b*>", "d"], "no word"),
        (["<x:a|b>.<x+1>", "d"], "counts from x"),
        (["<x:a|b>", "<x:1..>"], "counts from x"),
        ([".".join(f"<{letter}:a|b|c|d|e>" for letter in "uvwxyz"), "d"], "more than 256 rows"),
        ([f"<x:{'|'.join(map(str, range(400)))}>", "d"], "500 at most"),
    ],
)
def test_lists_that_make_no_rows_are_refused(row: list[str], why: str) -> None:
    with pytest.raises(PatternError, match=why):
        expanded(row)
