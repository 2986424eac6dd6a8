"""What a map may not say, and each time one error with the line: the table, its words and bounds, rows that meet."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from ppls.checkpoint.tensors import StoredTensor
from ppls.converter.convert import convert
from ppls.converter.translate import translate_back
from ppls.errors import ConversionError, MapError
from ppls.mappings.map_file import architectures, load_map
from tests.material import SMALL_RUN

HEAD = "format: 2\narchitecture: Toy\ntarget: none\n"
BACKBONE = "format: 2\nbackbone: Toy\nsource: paddleseg.models.Toy\nmodules:\n  - [c, d, conv]\n"
MANY_DEAD = "dead:\n" + "".join(f"  a.<300*i+{k}>.x<300*j+200>: never run\n" for k in range(200))


def toy(*rows: str, more: str = "", head: str = HEAD) -> str:
    """A map whose rows begin on the fifth line."""
    return f"{head}modules:\n" + "".join(f"  - [{row}]\n" for row in rows) + more


def refused(tmp_path: Path, text: str, beside: str = BACKBONE) -> str:
    (tmp_path / "base.yaml").write_text(beside)
    (tmp_path / "toy.yaml").write_text(text)
    begin = time.process_time()
    with pytest.raises(MapError) as error:
        load_map(tmp_path / "toy.yaml")
    assert time.process_time() - begin < 5
    return str(error.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("a.<i><j>, b.<i>.<j>, conv", "an index is a whole number"),
        ("conv1<i>, b.<i>, conv", "an index is a whole number"),
        ("a.<i:0..3>, b.<i>, conv", "has an upper end"),
        ("a.<i:1..1>, b.<i>, conv", "has an upper end"),
        ("a.<i:1..>, b.<i:2..>, conv", "i is from 1 on in one place, and from 2 on in another"),
        ("a.<i:20..>, b.<99999999*i>, conv", "leaves no choice of i"),
        ("a.<0*i>, b.<i>, conv", "the same number for every i"),
        ("a.<i>.<i+1>, b.<i>, conv", "counts i from two numbers"),
        ("a.<i>.<j>, b.<i+j>, conv", "<i+j> is not an index"),
        ("a.<i-1>, b.<i>, conv", "<i-1> is not an index"),
        ("'a.<²*i>', b.<i>, conv", "<²*i> is not an index"),
        ("a.<i>, b.<j>, conv", "different indices"),
        ("a.<i>, b, conv", "different indices"),
        ("a, b.<i>, conv", "different indices"),
        ("a..b, c, conv", "nothing before, between or behind its dots"),
        ("a.#, c, conv", "is not a name"),
        (f"a.{'.'.join('1' * 40)}, b, conv", "40 numbers; 32 at most"),
        ("a.<x:l|r>, b.<x:1|2|3>, conv", "2 words in one list, 3 in another"),
        ("a.<x:l|l>, b.<x:1|2>, conv", "a word twice"),
        ("a.<x:l|r s>, b.<x>, conv", "'r s' is no word"),
        ("a.<x:l|>, b.<x:l|r>, conv", "nothing before, between or behind its dots"),
        ("a.<x:l>, b.<x>, conv", "<x:l> is not an index"),
        ("a.<x:l|r>, b.<x+1>, conv", "counts from x, which is a word"),
        ("a.<x:l|r>.<i>, b.<x>, conv", "different indices"),
        ("a.<x:l|r>, b, conv", "both fill 'b.weight'"),
        ("a, b.<x:l|r>, conv", "both take 'a.weight'"),
        ("<x:a|b|c|d|e|f|g>.<y:a|b|c|d|e|f|g>.<z:a|b|c|d|e|f|g>, b, conv", "more than 256 rows"),
        ("$p.a, b, conv", "$p is none of the `prefixes:`"),
        ("$.a, b, conv", "$ is none of the `prefixes:`"),
        ("a, b, backbone", "has no `backbones:`"),
    ],
)
def test_a_row_that_cannot_be_read_both_ways_is_refused_by_its_line(tmp_path: Path, row: str, why: str) -> None:
    message = refused(tmp_path, toy(row))
    assert message.startswith("toy.yaml:5: modules: ")
    assert why in message


@pytest.mark.parametrize(
    ("rows", "more", "line", "why"),
    [
        (["a.<i>, b.<i>, conv", "a.3, c, conv"], "", 6, "line 6 (a.3.weight -> c.weight) both take 'a.3.weight'"),
        (["a.<i>, b.<i>, conv", "c, b.3, conv"], "", 6, "both fill 'b.3.weight'"),
        (["a.<i+1>, b.<i>, conv", "a.<3*i>, c.<i>, conv"], "", 6, "both take 'a.3.weight'"),
        (["a.<x:0|1>, b.<x>, conv", "a.1, c, conv"], "", 6, "both take 'a.1.weight'"),
        (["a, b, k"], "blocks: {k: {x: [y, conv], x.z: [y, conv]}}", 5, "both fill 'b.y.weight'"),
        (["a, b, conv"], "tensors: [{from: w.<i>, to: [k.<i>, k.<i+1>], split: {dim: 0}}]", 6, "fills 'k.1' twice"),
        (["a, b, conv"], "tensors: [{from: [w.<i>, w.<i+2>], to: k.<i>, concat: {dim: 0}}]", 6, "takes 'w.2' twice"),
        (["a, b, conv"], "tensors: [{to: k, fold_bias: {mean: w.<i>, bias: v.<i>}}]", 6, "the same indices"),
        (["a.<i>, b.<i>, conv"], "dead: {a.<i:2..>: never run}", 6, "takes 'a.2' too"),
        (["a.<i>, b.<i>, conv"], "dead: {a.4.bias: never run}", 6, "takes 'a.4.bias' too"),
        (["a.<i>, b.<i>, conv"], "duplicates: {a.<3*i+2>: c.<i>}", 6, "takes 'a.2' too"),
        (["a, b, conv"], "constants: {a.weight: {value: 1.0, shape: [1], beside: c}}", 6, "takes 'a.weight' too"),
        (["a.<i>, b.<i>, conv"], "duplicates: {c.<i>: {of: a.<i+j>, written: true}}", 6, "<i+j> is not an index"),
        (["a.<i>, b.<i>, conv"], "duplicates: {c.<i>.<j>: {of: a.<i>, written: true}}", 6, "different indices"),
        ([f"a.<i>.x{k}, b{k}.<i>, conv" for k in range(200)], MANY_DEAD, 206, "too many patterns"),
        (["a, b, conv"], "config: {n: {default: 5, one_of: [2]}}", 6, "the default 5 is none of [2]"),
        (["a, b, conv"], "blocks: {k: {}}", 6, "is empty"),
        (["a, b, conv"], "prefixes: {p: $p}", 6, "prefixes are not made of one another"),
        (["a, b, conv"], f"prefixes: {{p: {'a' * 501}}}", 6, "501 characters, 500 at most"),
        (["a, b, conv"], "prefixes: {a b: c}", 6, "no name of a prefix"),
    ],
)
def test_what_cannot_stand_together_is_refused_by_the_later_line(
    tmp_path: Path, rows: list[str], more: str, line: int, why: str
) -> None:
    message = refused(tmp_path, toy(*rows, more=f"{more}\n"))
    assert message.startswith(f"toy.yaml:{line}: ")
    assert why in message


@pytest.mark.parametrize(
    ("text", "beside", "why"),
    [
        (toy("backbone.c, x, conv", head=f"{HEAD}backbones: [base]\n"), BACKBONE, "'backbone.c.weight'; one is the"),
        (toy("a, b, backbone, {epsilon: 1}", head=f"{HEAD}backbones: [base]\n"), BACKBONE, "a backbone has no options"),
        (toy("a, b, conv", head=f"{HEAD}backbones: [base, other]\n"), BACKBONE, "no map 'other' beside this one"),
        (toy("a, b, conv", head=f"{HEAD}backbones: [any]\n"), BACKBONE, "the first of the `backbones:`"),
        (
            "format: 2\nlike: base\n",
            "format: 2\nlike: toy\n",
            "base.yaml:2: like: toy.yaml is like a map that is like it",
        ),
        ("format: 2\nlike: base\nrest: same\n", HEAD, "`modules:`, the table of layers, is missing"),
        (toy("a, b, conv", head="format: 2\nlike: base\nrest: same\n"), f"{HEAD}tensors: 5\n", "no other tensors"),
        (
            toy("a.<i>, b.<i>, conv", head="format: 2\nlike: base\nrest: same\n"),
            toy("a.<j:1..>, c.<j>, conv"),
            "both take 'a.1.weight'; in base.yaml and toy.yaml",
        ),
    ],
)
def test_a_map_that_does_not_fit_the_one_that_it_needs_is_refused(
    tmp_path: Path, text: str, beside: str, why: str
) -> None:
    assert why in refused(tmp_path, text, beside)


def test_a_map_like_one_without_rows_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(HEAD)
    (tmp_path / "toy.yaml").write_text(toy("a, b, conv", head="format: 2\nlike: base\nrest: same\n"))
    assert [str(row.target) for row in load_map(tmp_path / "toy.yaml").rows] == ["b"]


def test_a_duplicate_that_is_written_again_keeps_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(toy("a.<i>, b.<i>, conv", more="duplicates: {c.<i:1..>: {of: a.<i>, written: true}}\n"))
    one = np.ones(1, np.float32)
    tensors = {f"b.{i}.bias": StoredTensor("float32", (1,), lambda: one) for i in range(2)}
    assert sorted(translate_back(tensors, load_map(path), {}).tensors) == ["a.0.bias", "a.1.bias", "c.1.bias"]


def test_a_map_of_a_known_architecture_that_is_a_table_alone_has_the_facts_of_the_packages(tmp_path: Path) -> None:
    names = "backbone.features.<i>, encoder.<i>"
    (tmp_path / "mine.yaml").write_text(
        "format: 2\narchitecture: PPLiteSeg\nblocks: {pair: {conv: [conv, conv], bn: [bn, batch_norm]}}\n"
        f"modules:\n  - [{names}, pair]\n  - [seg_heads.<i>.conv_out, heads.<i>, conv]\n"
    )
    mine, theirs = load_map(tmp_path / "mine.yaml"), architectures()["PPLiteSeg"]
    assert [rule.path for rule in mine.options] == [rule.path for rule in theirs.options]
    assert mine.target is None
    assert {row.target.text.partition(".")[0] for row in mine.rows} == {"encoder", "heads"}


def test_a_table_that_is_whole_has_nothing_of_the_backbones(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "format: 2\nlike: pp_liteseg\nrest: none\nmodules: [[seg_heads.<i>.conv_out, heads.<i>, conv]]\n"
    )
    mine = load_map(tmp_path / "mine.yaml")
    assert len(mine.rows) == 1
    assert any(rule.path == "backbone.layers" for rule in mine.options)
    assert any(copy.pattern.text.startswith("backbone.x2") for copy in mine.duplicates)


def test_rows_that_are_open_are_refused_by_a_conversion_and_by_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "format: 2\nlike: pp_liteseg\nrest: same\nopen: {seg_heads.0.conv_out.weight: [a.weight, b.weight]}\n"
    )
    mine = load_map(tmp_path / "mine.yaml")
    assert [(each.name, each.candidates, each.line) for each in mine.open] == [
        ("seg_heads.0.conv_out.weight", ("a.weight", "b.weight"), 4)
    ]
    with pytest.raises(ConversionError, match=r"line 4: seg_heads.0.conv_out.weight: a.weight, b.weight"):
        convert(SMALL_RUN / "model.pdparams", map=mine)
