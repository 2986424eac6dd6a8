"""A malformed map is refused with the file, the line and the rule at fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppls.errors import MapError
from ppls.mappings import documents, map_file
from ppls.mappings.map_file import architectures, load_map, port_maps, shipped_maps
from tests.architectures import specimen

HEAD = """\
format: 2
architecture: Toy
target: none
layers:
  conv: {weight: weight, bias: bias}
  linear: {weight: {to: weight, transpose: [1, 0]}, bias: bias}
"""
MODULES = "modules:\n  - [a.<i>, b.<i>, conv]\n"

MALFORMED = [
    ("", 1, "the file is empty"),
    ("format: 2\n: [", 2, "not YAML"),
    (HEAD + "modules: " + "[" * 50_000, 7, "nested more than 64 deep"),
    (HEAD + "modules:\n  - [a, b, conv, {weight: &x [*x]}]\n", 8, "*x stands within itself"),
    (HEAD + MODULES + "recipes: {a: {k: 2020-13-13}}\n", 9, "cannot be understood: month must be in 1..12"),
    (
        HEAD
        + "recipes:\n  a0: &a0 {k: v}\n"
        + "".join(f"  a{i}: &a{i} {{l: *a{i - 1}, r: *a{i - 1}}}\n" for i in range(1, 40)),
        22,
        "holds more values than any",
    ),
    ("- a\n", 1, "expected `key: value` pairs, found a list"),
    (HEAD.replace("format: 2\n", "") + MODULES, 1, "`format: 2` is missing"),
    (HEAD.replace("format: 2", "format: 3") + MODULES, 1, "format 3 is not known; this version of ppls reads format 2"),
    (HEAD.replace("format: 2", "format: 1") + MODULES, 1, "mapping-language.md says how format 1 is written now"),
    (HEAD + MODULES + "moduls: []\n", 9, "'moduls' is not known here; known are format"),
    (HEAD + MODULES + "modules: []\n", 9, "'modules' stands here twice"),
    (
        HEAD.replace("architecture", "backbone") + MODULES,
        1,
        "`source:`, the upstream class of the backbone, is missing",
    ),
    (HEAD + "backbone: Toy\n" + MODULES, 1, "either an `architecture:` or a `backbone:`"),
    (HEAD, 1, "`modules:`, the table of layers, is missing or empty"),
    (HEAD + "modules:\n  - [a, b]\n", 8, "expected 3 or 4 entries, found 2"),
    (
        HEAD + "modules:\n  - [a, b, conf]\n",
        8,
        "'conf' is no kind of layer or block; known are conv, linear, batch_norm",
    ),
    (HEAD + "modules:\n  - [a.<i>, b.<j>, conv]\n", 8, "a.<i> and b.<j> have different indices"),
    (HEAD + "modules:\n  - [a.<I>, b, conv]\n", 8, "<I> is not an index: write <i>"),
    (HEAD + "modules:\n  - [a.*, b, conv]\n", 8, "'a.*' is not a name"),
    (
        HEAD + MODULES + "  - [a.<i>, c.<i>, conv]\n",
        9,
        "line 8 (a.<i>.weight -> b.<i>.weight) and line 9 (a.<i>.weight -> c.<i>.weight) both take 'a.0.weight'",
    ),
    (
        HEAD + MODULES + "  - [c.<i>, b.<i>, conv]\n",
        9,
        "line 8 (a.<i>.weight -> b.<i>.weight) and line 9 (c.<i>.weight -> b.<i>.weight) both fill 'b.0.weight'",
    ),
    (HEAD + "modules:\n  - [a, b, conv, {scale: negate}]\n", 8, "a conv has no 'scale'"),
    (HEAD + "modules:\n  - [a, b, conv, {weight: negative}]\n", 8, "'negative' is no operation; known are negate"),
    (HEAD + "modules:\n  - [a, b, conv, {weight: {squeeze: [2, 2]}}]\n", 8, "[2, 2] is no list of dimensions"),
    (HEAD + "modules:\n  - [a, b, conv, {weight: {permute: {dim: 0, order: [0, 2]}}}]\n", 8, r"[0, 2] is no order"),
    (HEAD.replace("[1, 0]", "[1, 1]") + MODULES, 6, "[1, 1] is no order of the dimensions"),
    (HEAD + MODULES + "config:\n  size: a.0.weight\n", 10, "'a.0.weight' is no dimension of a tensor; expected one"),
    (HEAD + MODULES + "config:\n  size: {}\n", 10, "says neither how to read the option nor its `default:`"),
    (HEAD + MODULES + 'config:\n  size: {size: "a[0]", count: b}\n', 10, "size and count cannot stand together"),
    (HEAD + MODULES + "config:\n  size: a.<i>.<j>[0]\n", 10, "must have one index"),
    (HEAD + MODULES + "config:\n  size: a[one]\n", 10, "'a[one]' is no dimension of a tensor"),
    (HEAD + MODULES + "numerics:\n  batch_norm: {eps: 1.0}\n", 10, "'eps' is not known here; known are epsilon"),
    (HEAD + MODULES + "numerics:\n  batch_norm: {epsilon: 1e-5}\n", 10, "YAML wants 1.0e-5 for 1e-5"),
    (HEAD + MODULES + "constants:\n  a._scale: {value: 1.0}\n", 10, "'shape' is missing"),
    (HEAD + MODULES + "duplicates:\n  x.<i>: a.<i-1>\n", 10, "<i-1> is not a sum"),
    (HEAD + MODULES + "dead:\n  c: why\noptional:\n  there: c\n", 10, "c is `optional:` too"),
    (HEAD + MODULES + "backbones: [nothing]\n", 9, "no map 'nothing' beside this one or in ppls; ppls has "),
    (HEAD + MODULES + "backbones: [toy]\n", 9, "'toy' is no backbone's map"),
    (HEAD + MODULES + "backbones: [any, stdc]\n", 9, "the first of the `backbones:` is the default, and named"),
    (HEAD.replace("architecture", "backbone") + MODULES + "backbones: [stdc]\n", 9, "a backbone stands on no other"),
    (HEAD + MODULES + "  - [bone, bone, backbone]\n", 9, "the map has no `backbones:`"),
    (HEAD + MODULES + "features: a.<i>.weight[0]\n", 9, "`features:` are those of a backbone"),
    (HEAD + MODULES + "like: nothing\n", 9, "no other map 'nothing' beside this one or in ppls"),
    (HEAD + MODULES + "rest: same\n", 9, "`rest:` are the rows of the map that this one is `like:`"),
    (HEAD + MODULES + "  - [$arm.conv, c, conv]\n", 9, "$arm is none of the `prefixes:`; known are none"),
    (HEAD + "modules:\n  - [a, b, twice]\nblocks:\n  twice: {x: [x, twice]}\n", 8, "does 'twice' hold itself?"),
    (HEAD + "blocks:\n  pair: {x: [x, nothing]}\n" + MODULES, 8, "'nothing' is no kind of layer or block"),
    (HEAD + "blocks:\n  pair: {x: [x, conv]}\nmodules:\n  - [a, b, pair, {epsilon: 1.0}]\n", 10, "belong to a single"),
    (HEAD + "modules:\n  - [a.<x:l|r>, b.<x:l|r|m>, conv]\n", 8, "has 2 words in one list, 3 in another"),
    (HEAD + "modules:\n  - [a.<j:1..1>, b.<j:1..1>, conv]\n", 8, "<j:1..1> has an upper end, and an index has none"),
    (HEAD + MODULES + "classifiers:\n  - c\n", 10, "c is no layer of the table"),
    (HEAD + MODULES + "exponents:\n  - c\n", 10, "c is no layer of the table"),
    (HEAD + MODULES + "numerics:\n  convv: {epsilon: 1.0e-5}\n", 10, "'convv' is no kind of layer"),
    (HEAD + MODULES + "eras:\n  - {era: old, only: {mode: 1}}\n", 10, "'mode' is no option of `config:`"),
    (
        HEAD + MODULES + "constants:\n  a._s: {value: 1.0, shape: [1], beside: a, only: {mode: 1}}\n",
        10,
        "'mode' is no option of `config:`",
    ),
    (
        HEAD + MODULES + "config: {mode: 1}\nconstants:\n  s: {value: 1.0, shape: [1], beside: a, only: {mode: x}}\n",
        11,
        "mode: expected a whole number",
    ),
    (HEAD + MODULES + "presets:\n  a: {mode: 1}\n", 10, "'mode' is no option of `config:`"),
    (HEAD + MODULES + "config:\n  mode: {told_by: presets}\n", 10, "the map has no `presets:` that could tell it"),
    (
        HEAD + MODULES + "config:\n  mode: {told_by: presets}\npresets:\n  a: {mode: 1}\n  b: {}\n",
        13,
        "'b' gives no 'mode', which is told by the presets",
    ),
    (
        HEAD
        + MODULES
        + "config:\n  mode: {told_by: presets}\npresets:\n"
        + "".join(f"  a{i}: {{mode: {i}}}\n" for i in range(33)),
        10,
        "told by 33 presets, whose models are all built; 32 at most",
    ),
    (HEAD + MODULES + "recipes:\n  a: {mode: 1}\n", 10, "'mode' is no option of `config:`"),
    (HEAD + MODULES + "duplicates:\n  x.<i>: a.<i+layers.0>\n", 10, "'layers.0' is no option of `config:`"),
    (HEAD + MODULES + "duplicates:\n  x: a.<i>\n", 10, "a.<i> has an index that x has not"),
    (HEAD + MODULES + "aliases: {a: b}\n", 9, "'aliases' is not known here"),
    (HEAD + MODULES + "published: {a: 1}\n", 9, "'published' is not known here"),
    (HEAD + MODULES + "tensors:\n  - {from: [a, b], to: c}\n", 10, "a renaming does not take 2 to 1 tensors"),
    (HEAD + MODULES + "tensors:\n  - {from: x, to: [c, d], concat: {dim: 0}}\n", 10, "concat does not take 1 to 2"),
]


@pytest.mark.parametrize(("text", "line", "rule"), MALFORMED, ids=[rule for _, _, rule in MALFORMED])
def test_a_malformed_map_is_refused_by_file_line_and_rule(tmp_path: Path, text: str, line: int, rule: str) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(text)
    with pytest.raises(MapError) as error:
        load_map(path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert rule in str(error.value)


def test_a_map_that_is_not_there_is_an_error_of_usage(tmp_path: Path) -> None:
    with pytest.raises(MapError, match=r"none\.yaml: cannot be read: No such file") as error:
        load_map(tmp_path / "none.yaml")
    assert error.value.exit_status == 2


def test_bytes_that_are_no_text_are_no_map(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_bytes(b"\x80\x02\xff\x00")
    with pytest.raises(MapError, match="not YAML"):
        load_map(path)


def test_every_map_in_the_package_loads_and_a_new_file_is_found_by_itself() -> None:
    assert "PPLiteSeg" in architectures()
    for path in shipped_maps().values():
        load_map(path)


def test_every_map_in_the_package_holds_against_itself_on_each_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was composed is not checked again when it is opened: here it is."""
    monkeypatch.setattr(documents, "composed", lambda *_: None)
    documents._opened.cache_clear()
    map_file._OPENED.clear()
    for path in [*shipped_maps().values(), *port_maps().values()]:
        map = load_map(path)
        assert not documents.document(path, lambda name: shipped_maps().get(name)).checked
        for backbone in map.backbones:
            assert map.with_backbone(backbone).includes[0].map.name == backbone
    documents._opened.cache_clear()
    map_file._OPENED.clear()


def test_a_backbones_names_are_put_under_those_of_the_architecture() -> None:
    map = architectures()["PPLiteSeg"]
    pairs = map.pair_modules(["backbone.features.3.conv_list.2.bn", "seg_heads.1.conv._conv", "relu"])
    assert [(pair.source, pair.target, pair.kind) for pair in pairs] == [
        ("backbone.features.3.conv_list.2.bn", "backbone.blocks.3.convs.2.bn", "batch_norm"),
        ("seg_heads.1.conv._conv", "heads.1.conv.conv", "conv"),
    ]


def test_the_digest_covers_the_included_maps(tmp_path: Path) -> None:
    for name, path in shipped_maps().items():
        (tmp_path / f"{name}.yaml").write_bytes(path.read_bytes())
    before = load_map(tmp_path / "pp_liteseg.yaml").digest
    with open(tmp_path / "stdc.yaml", "a") as file:
        file.write("# changed\n")
    assert load_map(tmp_path / "pp_liteseg.yaml").digest != before


def test_an_architecture_stands_on_each_of_its_backbones() -> None:
    map = specimen(lambda map: map.backbones[:1] == ("resnet_vd",) and "stdc" in map.backbones)
    assert map.backbones[0] == map.includes[0].map.name == "resnet_vd"
    other = map.with_backbone("stdc")
    assert other.includes[0].map.name == "stdc"
    assert other.architecture == map.architecture
    assert any(True for _ in other.forward.matches("backbone.features.0.conv.weight"))
    assert not any(True for _ in map.forward.matches("backbone.features.0.conv.weight"))
    assert other is map.with_backbone("stdc")
    assert not other.recipes
    assert map.with_backbone("resnet_vd").recipes == map.recipes
    alone = specimen(lambda map: map.backbones == ("stdc",))
    with pytest.raises(KeyError):
        alone.with_backbone("resnet_vd")
