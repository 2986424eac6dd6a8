"""A map of several files: what every map begins with, what it is like, its prefixes and its backbones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ppls
from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter.infer import infer_model_config
from ppls.converter.translate import translate, translate_back
from ppls.errors import ConversionError, MapError
from ppls.mappings import map_file, map_index
from ppls.mappings.map_file import MAPPINGS, PORTS, architectures, backbones, load_map, port_maps, shipped_maps
from tests.architectures import readable, specimen
from tests.checkpoints import save

OTHER = specimen(lambda map: True, but="PPLiteSeg")  # than the small checkpoint's
HEAD = "format: 2\narchitecture: Toy\ntarget: none\n"
BONE = """\
format: 2
backbone: Bone
source: paddleseg.models.Bone
modules: [[stem, stem, conv], [extra, extra, conv], [stage.<i>, stages.<i>, conv]]
constants: {gate: {value: 2.0, shape: [1], beside: stem.weight, only: {gated: true}}}
optional: {more: {modules: extra, kept: false}}
dead: {fc: {why: never run, written: {weight: [width, "stem.weight[1]", 3]}}}
config: {width: "stem.weight[0]", gated: true}
features: stage.<i>.weight[0]
"""
SHAPES = {"backbone.stem.weight": (4, 3), "backbone.stage.0.weight": (4,), "backbone.stage.1.weight": (8,)}


def write(folder: Path, **maps: str) -> Path:
    for name, text in maps.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(maps))}.yaml"


def rules(path: Path) -> list[str]:
    return [f"{rule.sources[0]} -> {rule.targets[0]}" for rule in load_map(path).rules]


def test_every_map_begins_with_paddles_layers_and_may_have_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, toy=HEAD + "modules: [[a, b, conv_bn], [c, d, pool]]\n")
    map = load_map(path)
    assert "a._batch_norm._mean -> b.bn.running_mean" in rules(path)
    assert map.numerics == {"batch_norm": {"epsilon": 1e-5, "momentum": 0.9}}  # of the kinds that it has
    path = write(tmp_path, toy=HEAD + "blocks: {conv_bn: {c: [d, conv]}}\nmodules: [[a, b, conv_bn]]\n")
    assert rules(path) == ["a.c.weight -> b.d.weight", "a.c.bias -> b.d.bias"]


def test_blocks_hold_blocks_and_rows_list_words(tmp_path: Path) -> None:
    text = HEAD + "blocks: {pair: {l<k>: [k<k+1>, one], r: [r, one]}, one: {x: [y, linear, {weight: negate}]}}\n"
    path = write(tmp_path, toy=text + "modules: [[a.<i>.<x:p|q>, b.<i>.<x:0|1>, pair]]\n")
    assert rules(path)[::2] == [
        "a.<i>.p.l<k>.x.weight -> b.<i>.0.k<k+1>.y.weight",
        "a.<i>.p.r.x.weight -> b.<i>.0.r.y.weight",
        "a.<i>.q.l<k>.x.weight -> b.<i>.1.k<k+1>.y.weight",
        "a.<i>.q.r.x.weight -> b.<i>.1.r.y.weight",
    ]
    assert [type(step).__name__ for step in load_map(path).rules[0].operation.steps] == ["Transpose", "Negate"]  # type: ignore[attr-defined]


def test_a_bound_on_one_side_holds_on_both(tmp_path: Path) -> None:
    (rule, _) = load_map(write(tmp_path, toy=HEAD + "modules: [[a.<i:1..>, b.<i>, conv]]\n")).rules
    assert rule.inverse.sources[0].match("b.0.weight") is None
    assert rule.inverse.sources[0].match("b.1.weight") == {"i": 1}


def test_a_prefix_stands_for_a_name_anywhere(tmp_path: Path) -> None:
    text = (
        HEAD
        + 'prefixes: {arm: head.arms.<i>}\nmodules: [[$arm.x, b.<i>, conv]]\nconfig: {widths: "$arm.x.weight[0]"}\n'
    )
    map = load_map(write(tmp_path, toy=text + "dead: {$arm.y: never run}\n"))
    assert map.rules[0].sources[0].text == "head.arms.<i>.x.weight"
    assert map.dead[0].pattern.text == "head.arms.<i>.y"
    assert map.options[0].reading.pattern.text == "head.arms.<i>.x.weight"  # type: ignore[attr-defined]


def test_a_port_has_the_facts_of_the_architecture_and_its_own_table(tmp_path: Path) -> None:
    own = specimen(lambda map: map.backbones and map.upsample and "." in str(map.classifiers[0]))
    layer = str(own.classifiers[0])
    map = load_map(write(tmp_path, port=f"format: 2\nlike: {own.name}\nmodules: [[{layer}, mine, conv]]\n"))
    assert (map.title, map.source, map.target) == (own.title, own.source, None)
    assert [rule.path for rule in map.options] == [rule.path for rule in own.options]
    assert (map.recipes, map.upsample, map.backbones) == (own.recipes, own.upsample, own.backbones)
    outside = [str(row.source) for row in map.rows if not str(row.source).startswith("backbone.")]
    assert outside == [layer]


def test_the_rest_of_a_port_may_keep_the_sources_own_names(tmp_path: Path) -> None:
    text = "format: 2\nlike: stdcseg\nrest: same\nmodules: [[ffm.convblk, mine, conv_bn]]\n"
    map = load_map(write(tmp_path, port=text))
    names = {str(row.source): str(row.target) for row in map.rows}
    assert names.pop("ffm.convblk._conv") == "mine._conv"  # blocks too have the source's own names
    assert names.pop("ffm.convblk._batch_norm") == "mine._batch_norm"
    assert len(names) == len(architectures()["STDCSeg"].rows) - 2
    assert all(source == target for source, target in names.items())
    assert str(map.rules[0].targets[0]) == "mine._conv.weight"


def test_names_that_stay_leave_operations_behind_and_numerics_not(tmp_path: Path) -> None:
    toy = "blocks: {pair: {l: [m, conv, {weight: negate}], n: [o, layer_norm, {epsilon: 1.0e-6}]}}\n"
    rows = "modules: [[a, b, pair], [c, d, layer_norm, {epsilon: 1.0e-3, weight: negate}]]\n"
    write(tmp_path, toy=HEAD + toy + rows)
    map = load_map(write(tmp_path, port="format: 2\nlike: toy\nrest: same\n"))
    assert [(str(row.target), row.operations, row.numerics) for row in map.rows] == [
        ("a.l", {}, {}), ("a.n", {}, {"epsilon": 1e-6}), ("c", {}, {"epsilon": 1e-3}),
    ]  # fmt: skip


def test_another_architecture_has_the_sections_of_one_that_it_is_like_but_recipes_of_its_own(tmp_path: Path) -> None:
    own = specimen(lambda map: map.backbones)
    head = f"format: 2\narchitecture: Other\nlike: {own.name}\n"
    map = load_map(write(tmp_path, other=head + "recipes: {Other: {num_classes: 3}}\n"))
    assert (map.title, map.source, list(map.recipes)) == ("Other", "paddleseg.models.Other", ["Other"])
    assert [rule.path for rule in map.options] == [rule.path for rule in own.options]
    assert load_map(write(tmp_path, other=head)).recipes == {}
    with pytest.raises(MapError, match="of either an `architecture:` or a `backbone:`"):
        load_map(write(tmp_path, other=head.replace(own.name, "stdc")))


def test_a_port_of_a_port_is_that_port_but_for_what_it_says(tmp_path: Path) -> None:
    head = (PORTS / "super_gradients.yaml").read_text()
    maps = {path.stem: path.read_text() for path in PORTS.glob("*.yaml")}
    map = load_map(write(tmp_path, **{"mine": "format: 2\nlike: super_gradients_b\nkeep: [a]\n", **maps}))
    assert head == maps["super_gradients"]
    assert [str(pattern) for pattern in map.keep] == ["a"]
    assert map.includes[0].map.name == "super_gradients_b_stdc"
    assert len(map.rules) == len(load_map(PORTS / "super_gradients_b.yaml").rules)


def test_maps_that_are_like_one_another_are_refused(tmp_path: Path) -> None:
    write(tmp_path, one="format: 2\nlike: two\n", two="format: 2\nlike: one\n")
    for name in ("one", "two"):
        with pytest.raises(MapError, match="is like a map that is like it"):
            load_map(tmp_path / f"{name}.yaml")


@pytest.fixture
def on_bone(tmp_path: Path) -> Path:
    toy = HEAD + "backbones: [bone, any]\nmodules: [[head.<i>, head.<i>, conv]]\n"
    return write(tmp_path, toy=toy + 'config: {indices: {size: "head.<i>.weight[1]", index_in: features}}\n', bone=BONE)


def test_an_option_leans_on_whichever_backbone_there_is(on_bone: Path) -> None:
    map = load_map(on_bone)
    assert map.backbones == ("bone", *(other.name for other in backbones().values()))
    shapes = {**SHAPES, "head.0.weight": (1, 8), "head.1.weight": (1, 4)}
    assert infer_model_config(map, shapes, {}).config["indices"] == [1, 0]
    other = map.with_backbone("resnet_vd")
    shapes = {f"backbone.bb_{i}_0.short._conv.weight": (64 << i, 1) for i in range(4)} | {"head.0.weight": (1, 512)}
    assert infer_model_config(other, shapes, {}).config["indices"] == [3]
    strange = infer_model_config(other, {**shapes, "head.0.weight": (1, 500)}, {}).problems
    assert any("has 500 channels, which is none of [64, 128, 256, 512]" in problem for problem in strange)


def test_a_backbone_without_features_is_refused_where_an_option_leans_on_them(on_bone: Path) -> None:
    write(on_bone.parent, bone=BONE.replace("features:", "#"))
    with pytest.raises(MapError, match=r"toy\.yaml:6: indices: the backbone's map says nothing of its `features:`"):
        load_map(on_bone)


def test_what_a_backbone_says_of_its_options_holds_within_an_architecture(on_bone: Path) -> None:
    map = load_map(on_bone)
    tensors = {name: stored(np.ones(shape, np.float32)) for name, shape in SHAPES.items()}
    tensors["backbone.gate"] = stored(np.full(1, 2, np.float32))
    tensors["backbone.extra.weight"] = stored(np.ones(3, np.float32))
    config = infer_model_config(map, {name: tensor.shape for name, tensor in tensors.items()}, {}).config
    assert config["backbone"] == {"type": "Bone", "width": 4, "gated": True, "more": False}
    there = translate(tensors, map, config)
    assert there.problems == []
    assert {dropped.name for dropped in there.dropped} == {"backbone.gate", "backbone.extra.weight"}
    back = translate_back(there.tensors, map, config)
    assert back.tensors["backbone.gate"].load().tolist() == [2.0]
    assert "backbone.gate" not in translate_back(there.tensors, map, {"backbone": {"gated": False}}).tensors


def test_what_paddleseg_writes_and_never_runs_is_written_again_in_its_shape(on_bone: Path) -> None:
    map = load_map(on_bone)
    stem = {"backbone.stem.weight": stored(np.ones((4, 3), np.float32))}
    back = translate_back(stem, map, {"backbone": {"width": 4}})
    assert "backbone.fc.weight" not in back.tensors  # nothing of the candidate's
    assert back.unused["backbone.fc.weight"].shape == (4, 3, 3)
    message = "backbone.fc.weight: its shape is not known without backbone.width"
    assert translate_back(stem, map, {}).problems == [message]


def stored(array: np.ndarray) -> StoredTensor:
    return StoredTensor("float32", array.shape, lambda: array)


def test_a_map_that_was_edited_is_read_again(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "m.pdparams", {"a.weight": np.ones(2, np.float32)})
    toy = HEAD + "modules: [[a, {}, conv]]\n"
    for name in ("first", "second"):
        path = write(tmp_path, toy=toy.replace("{}", name))
        assert list(ppls.convert(checkpoint, map=path).tensors) == [f"{name}.weight"]
    like = write(tmp_path, port="format: 2\nlike: toy\n")
    assert rules(like)[0] == "a.weight -> second.weight"
    write(tmp_path, toy=toy.replace("{}", "third"))
    assert rules(like)[0] == "a.weight -> third.weight"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's maps, to put others beside them."""
    folder = tmp_path / "maps"
    folder.mkdir()
    for path in MAPPINGS.glob("*.yaml"):
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(map_file, "MAPPINGS", folder)
    shipped_maps.cache_clear()
    port_maps.cache_clear()
    yield folder  # type: ignore[misc]
    shipped_maps.cache_clear()
    port_maps.cache_clear()


def test_a_malformed_map_breaks_its_own_architecture_alone(package: Path, small_checkpoint: Path) -> None:
    write(package, aaa="format: 2\narchitecture: Broken\nmodules: 5\n", bbb="format: 2\nbackbone: Bad\n")
    shipped_maps.cache_clear()
    (package / "folder.yaml").mkdir()
    (package / "gone.yaml").symlink_to("nowhere")
    shipped_maps.cache_clear()
    assert {map.title for map in architectures().values()} == set(readable())
    assert "Broken" in architectures()
    assert architectures().malformed().keys() == {"Broken", "folder", "gone"}
    with pytest.raises(MapError, match="cannot be read"):
        architectures()["gone"]
    assert ppls.convert(small_checkpoint).architecture == "PPLiteSeg"
    strange = save(package / "strange.pdparams", {"strange": np.zeros(1, np.float32)})
    with pytest.raises(ConversionError, match=r"- left out, for it is malformed: .*aaa\.yaml:3: modules: "):
        ppls.convert(strange)
    for name in ("Broken", "broken", "Bad"):
        with pytest.raises(MapError, match=r"(aaa|bbb)\.yaml:\d: "):
            ppls.convert(small_checkpoint, architecture=name)


def test_a_malformed_map_is_said_where_it_would_have_been_recognised(package: Path, small_checkpoint: Path) -> None:
    path = package / "pp_liteseg.yaml"
    path.write_text(path.read_text().replace("modules:", "modules:\n  - 5"))
    with pytest.raises(MapError, match=r"pp_liteseg\.yaml:8: modules: expected a list, found 5"):
        ppls.convert(small_checkpoint)


def test_two_maps_of_one_architecture_are_an_error_of_that_architecture(package: Path, small_checkpoint: Path) -> None:
    write(package, twin=(package / f"{OTHER.name}.yaml").read_text())
    shipped_maps.cache_clear()
    assert ppls.convert(small_checkpoint).architecture == "PPLiteSeg"
    said = rf"twin\.yaml: {OTHER.title} has a map already, .*{OTHER.name}\.yaml; one of the two"
    for ask in (lambda: architectures()[OTHER.title], lambda: map_index.map_called(OTHER.name)):
        with pytest.raises(MapError, match=said):
            ask()
    assert OTHER.title not in dict(architectures().items())


def test_opening_one_map_reads_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = map_file.documents.read

    def read_and_note(path: Path) -> bytes:
        read.append(path.name)
        return whole(path)

    monkeypatch.setattr(map_file.documents, "read", read_and_note)
    map_file._OPENED.clear()
    load_map(MAPPINGS / "pp_liteseg.yaml")
    assert set(read) == {"pp_liteseg.yaml", "stdc.yaml", "paddle.yaml"}
