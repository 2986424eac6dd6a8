"""What a checkpoint is, where that is not plain: shared or unknown backbones, backbones alone, equal fits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import ppls
import ppls.models
from ppls.converter.recognise import named_map
from ppls.errors import ConversionError
from ppls.mappings import map_file, map_index
from ppls.mappings.map_file import MAPPINGS, architectures, backbones, load_map, shipped_maps
from ppls.mappings.maps import Map
from tests.checkpoints import State, save, state_of


@pytest.fixture(scope="module")
def deeplab() -> State:
    return state_of("DeepLabV3P", "DeepLabV3P-R18")


@pytest.fixture(scope="module")
def resnet(deeplab: State) -> State:
    return {name.removeprefix("backbone."): array for name, array in deeplab.items() if name.startswith("backbone.")}


def test_a_backbone_file_is_recognised_and_says_how_to_convert_it(resnet: State, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"is the backbone ResNet18_vd alone.*--arch ResNet18_vd"):
        ppls.convert(save(tmp_path / "resnet18_vd_ssld.pdparams", resnet))


@pytest.mark.parametrize("name", ["ResNet18_vd", "resnet_vd"])
def test_a_backbone_is_converted_alone_without_its_classifier_and_loads(
    resnet: State, tmp_path: Path, name: str
) -> None:
    with_classifier = {**resnet, "out.weight": np.ones((512, 1000), "f"), "out.bias": np.ones(1000, "f")}
    source = save(tmp_path / "resnet18_vd_ssld.pdparams", with_classifier)
    conversion = ppls.convert(source, tmp_path / "resnet.safetensors", architecture=name)
    assert conversion.architecture == "ResNet_vd"
    assert [dropped.name for dropped in conversion.dropped] == ["out.weight", "out.bias"]
    backbone = ppls.load(tmp_path / "resnet.safetensors")
    assert type(backbone).__name__ == "ResNetVd"
    assert backbone.feat_channels == [64, 128, 256, 512]
    assert ppls.models.DeepLabV3P(backbone=backbone).backbone is backbone


def test_a_backbone_goes_back_to_paddle(resnet: State, tmp_path: Path) -> None:
    source = save(tmp_path / "resnet18_vd_ssld.pdparams", resnet)
    ppls.convert(source, tmp_path / "resnet.safetensors", architecture="ResNet18_vd")
    back = ppls.convert_back(tmp_path / "resnet.safetensors", tmp_path / "back.pdparams")
    assert back.architecture == "ResNet_vd"
    assert set(back.tensors) == set(resnet)
    assert all(np.array_equal(ppls.read(tmp_path / "back.pdparams")[name], array) for name, array in resnet.items())


def test_a_backbone_by_the_name_of_another_depth_is_refused(resnet: State, tmp_path: Path) -> None:
    source = save(tmp_path / "resnet18_vd_ssld.pdparams", resnet)
    with pytest.raises(ConversionError, match="layers: the tensors say 18, --arch ResNet50_vd says 50"):
        ppls.convert(source, architecture="ResNet50_vd")


def test_there_is_nothing_to_upsample_in_a_backbone(resnet: State, tmp_path: Path) -> None:
    source = save(tmp_path / "resnet18_vd_ssld.pdparams", resnet)
    with pytest.raises(ppls.UsageError, match="--upsample nearest: ResNet_vd has no resize within it"):
        ppls.convert(source, architecture="ResNet18_vd", upsample="nearest")


def test_a_backbone_that_is_damaged_is_not_converted(resnet: State, tmp_path: Path) -> None:
    damaged = {name: array for name, array in resnet.items() if name != "bb_1_1.conv0._conv.weight"}
    with pytest.raises(ConversionError, match=r"missing: bb_1_1\.conv0\._conv\.weight"):
        ppls.convert(save(tmp_path / "damaged.pdparams", damaged), architecture="ResNet18_vd")


@pytest.mark.parametrize(
    ("tensor", "backbone"),
    [
        ("st4.stage_st4_1.branches_func.bb_st4_1_branch_layer_3_3.conv2._batch_norm.bias", "HRNet"),
        ("xception_65/entry_flow/block2._conv3._bn1.weight", "Xception"),
        ("block1.0.attn.spatial_gating_unit.conv0.weight", "MSCAN"),
    ],
)
def test_an_architecture_on_an_unsupported_backbone_is_named_with_what_is_supported(
    deeplab: State, tmp_path: Path, tensor: str, backbone: str
) -> None:
    if backbone in backbones():
        pytest.skip(f"ppls has {backbone}")
    head = {name: array for name, array in deeplab.items() if not name.startswith("backbone.")}
    other = {**head, f"backbone.{tensor}": np.ones(3, "f")}
    with pytest.raises(ConversionError, match=rf"a DeepLabV3P on {backbone}, which is not supported.*ResNet50_vd"):
        ppls.convert(save(tmp_path / "other.pdparams", other))


def test_an_unknown_head_on_a_known_backbone_is_not_taken_for_a_neighbour(deeplab: State, tmp_path: Path) -> None:
    pspnet = {name: array for name, array in deeplab.items() if name.startswith("backbone.")}
    pspnet |= {f"head.psp_module.stages.{i}.1._conv.weight": np.ones((4, 4, 1, 1), "f") for i in range(4)}
    with pytest.raises(ConversionError) as caught:
        ppls.convert(save(tmp_path / "pspnet.pdparams", pspnet))
    assert "not a checkpoint of an architecture that ppls knows" in str(caught.value)
    assert "the backbone is ResNet18_vd, the decode head is none that ppls knows" in str(caught.value)


TWIN = "architecture: Twin\nsource: paddleseg.models.DeepLabV3P\ntarget: ppls.models.DeepLabV3P"


def test_two_architectures_that_fit_equally_are_listed(
    deeplab: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = tmp_path / "twin.yaml"
    for name in ("deeplabv3p", "resnet_vd"):
        shutil.copy(MAPPINGS / f"{name}.yaml", tmp_path / f"{name}.yaml")
    text = (MAPPINGS / "deeplabv3p.yaml").read_text()
    twin.write_text(text.replace("architecture: DeepLabV3P", TWIN))
    both = {"DeepLabV3P": architectures()["DeepLabV3P"], "Twin": load_map(twin)}
    monkeypatch.setattr("ppls.converter.recognise.likely_maps", lambda names: list(both.values()))
    with pytest.raises(ConversionError, match="fits DeepLabV3P and Twin equally; say which with --arch NAME"):
        ppls.convert(save(tmp_path / "model.pdparams", deeplab))


def test_what_no_tensor_shows_is_as_in_the_closest_recipe_which_is_named(tmp_path: Path) -> None:
    source = save(tmp_path / "r101.pdparams", state_of("DeepLabV3P", "DeepLabV3P-R101"))
    conversion = ppls.convert(source)
    assert conversion.recipe == "DeepLabV3P-R101"
    assert conversion.config["backbone"]["layers"] == 101
    assert conversion.assumed["backbone.multi_grid"] == [1, 2, 4]
    assert conversion.to_json()["recipe"] == "DeepLabV3P-R101"


def run_file(path: Path, backbone: str, extra: str = "") -> Path:
    path.write_text(f"model:\n  type: DeepLabV3P\n  backbone: {backbone}\n  num_classes: 2\n{extra}")
    return path


def test_with_the_runs_config_what_it_leaves_out_is_upstreams_default(deeplab: State, tmp_path: Path) -> None:
    config = run_file(tmp_path / "run.yml", "{type: ResNet18_vd, output_stride: 16}", "  aspp_ratios: [1, 6, 12, 18]\n")
    conversion = ppls.convert(save(tmp_path / "model.pdparams", deeplab), config=config)
    assert conversion.config["backbone"]["output_stride"] == 16
    assert conversion.config["backbone"]["multi_grid"] == [1, 1, 1]
    assert conversion.config["aspp_ratios"] == [1, 6, 12, 18]
    assert conversion.recipe is None


def test_a_config_that_contradicts_the_tensors_is_refused_with_both(deeplab: State, tmp_path: Path) -> None:
    config = run_file(tmp_path / "run.yml", "{type: ResNet101_vd}", "  aspp_ratios: [1, 6]\n")
    with pytest.raises(ConversionError) as caught:
        ppls.convert(save(tmp_path / "model.pdparams", deeplab), config=config)
    assert f"backbone.layers: the tensors say 18, {config} says 101" in caught.value.problems
    assert f"aspp_ratios: the tensors say 4 values, {config} says [1, 6]" in caught.value.problems


def test_a_config_of_another_backbone_is_refused_with_those_that_are_known(deeplab: State, tmp_path: Path) -> None:
    config = run_file(tmp_path / "run.yml", "{type: HeavyNet_W18}")
    with pytest.raises(ConversionError, match="DeepLabV3P on HeavyNet_W18 is not supported; ppls knows ResNet18_vd"):
        ppls.convert(save(tmp_path / "model.pdparams", deeplab), config=config)


def test_maps_of_the_same_names_are_told_apart_by_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As U2Net and U2Netp are: one table of names, and models of other widths."""
    maps = []
    for name, width in (("Wide", 8), ("Narrow", 4)):
        build = type(name, (torch.nn.Module,), {"__module__": "ppls.models.toy", "__init__": _toy(width)})
        monkeypatch.setattr(ppls.models, name, build, raising=False)
        maps.append(toy_map(tmp_path / f"{name.lower()}.yaml", name))
    monkeypatch.setattr("ppls.converter.recognise.likely_maps", lambda names: maps)
    for width, name in ((8, "Wide"), (4, "Narrow")):
        state = {"a.weight": np.zeros((width, 3, 1, 1), "f"), "a.bias": np.zeros(width, "f")}
        assert ppls.convert(save(tmp_path / "toy.pdparams", state)).architecture == name
    with pytest.raises(ConversionError, match="fits Wide and Narrow equally"):
        ppls.convert(save(tmp_path / "toy.pdparams", {"a.weight": np.zeros((5, 3), "f"), "a.bias": np.zeros(5, "f")}))


def _toy(width: int) -> Callable[[torch.nn.Module], None]:
    def build(self: torch.nn.Module) -> None:
        torch.nn.Module.__init__(self)
        self.a = torch.nn.Conv2d(3, width, 1)

    return build


def toy_map(path: Path, name: str) -> Map:
    path.write_text(f"format: 2\narchitecture: {name}\nmodules:\n  - [a, a, conv]\n")
    return load_map(path)


@pytest.mark.parametrize("name", ["fc.weight", "head.weight", "out.weight", "backbone.fc.weight"])
def test_a_classifier_alone_is_no_backbone(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConversionError, match="not a checkpoint of an architecture that ppls knows") as caught:
        ppls.convert(save(tmp_path / "fc.pdparams", {name: np.ones((4, 4), "f")}))
    assert "backbone" not in str(caught.value).replace("backbone (1)", "")


@pytest.mark.parametrize("name", ["ResNet18_vd", "resnet18_VD", "RESNET_VD", "resnet_vd"])
def test_a_preset_or_a_class_is_named_in_any_letter_case(resnet: State, tmp_path: Path, name: str) -> None:
    conversion = ppls.convert(save(tmp_path / "resnet.pdparams", resnet), architecture=name)
    assert conversion.architecture == "ResNet_vd"
    assert named_map("stdc1", None) is backbones()["STDCNet"]
    assert named_map("mixvisiontransformer_b0", None) is backbones()["MixVisionTransformer"]


def test_a_backbone_that_the_tensors_are_not_of_is_refused_with_theirs(deeplab: State, tmp_path: Path) -> None:
    source = save(tmp_path / "model.pdparams", deeplab)
    with pytest.raises(ConversionError, match="--set backbone: says the backbone STDC1, the tensors are of ResNet_vd"):
        ppls.convert(source, architecture="deeplabv3p", overrides={"backbone": "STDC1"})


def test_a_preset_of_an_architecture_is_one_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As PaddleSeg's function U2Netp, which builds a small U2Net."""
    path = tmp_path / "toy.yaml"
    path.write_text(
        "format: 2\narchitecture: Toy\ntarget: none\nmodules:\n  - [a, a, conv]\n"
        "config: {width: 'a.weight[0]'}\npresets: {ToySmall: {width: 4}}\n"
    )
    maps = {**shipped_maps(), "toy": path}
    for module in (map_file, map_index):
        monkeypatch.setattr(module, "shipped_maps", lambda: maps)
    small = save(tmp_path / "small.pdparams", {"a.weight": np.zeros((4, 3, 1, 1), "f"), "a.bias": np.zeros(4, "f")})
    assert ppls.convert(small, architecture="toysmall").config == {"width": 4}
    wide = save(tmp_path / "wide.pdparams", {"a.weight": np.zeros((8, 3, 1, 1), "f"), "a.bias": np.zeros(8, "f")})
    assert ppls.convert(wide, architecture="TOY").config == {"width": 8}
    with pytest.raises(ConversionError, match="width: the tensors say 8, --arch toysmall says 4"):
        ppls.convert(wide, architecture="toysmall")
