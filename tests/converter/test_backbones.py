"""Architectures on other backbones than those that PaddleSeg publishes them on: recognised, converted, taken back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from ppls.converter.inspect import inspect
from ppls.mappings.map_file import architectures, backbones
from ppls.mappings.targets import import_target
from ppls.models.backbone import build_backbone
from ppls.parity.reference.structure import places
from tests.architectures import run_live
from tests.checkpoints import save, state_of
from tests.conftest import SMALL_STDC, pp_liteseg_job, run_upstream

BACKBONES = {
    "stdc": SMALL_STDC,
    "resnet_vd": {"class": "paddleseg.models.backbones.resnet_vd.ResNet18_vd", "kwargs": {}},
    "mix_transformer": {"class": "paddleseg.models.backbones.mix_transformer.MixVisionTransformer_B0", "kwargs": {}},
}
SMALL: dict[str, dict[str, Any]] = {
    "PPLiteSeg": {**pp_liteseg_job("")["model"]["kwargs"], "backbone_indices": [1, 2, 3]},
    "DeepLabV3P": {"num_classes": 3},
    "PSPNet": {"num_classes": 3, "pp_out_channels": 8},
    "SegFormer": {"num_classes": 3, "embedding_dim": 8},
    "STDCSeg": {"num_classes": 3},
}
FIXED = {("SegFormer", "stdc"), ("STDCSeg", "stdc")}  # five maps where it takes four; its sizes are STDC1's
PAIRS = [
    (architecture, backbone)
    for architecture in SMALL
    for backbone in architectures()[architecture].backbones
    if backbone in BACKBONES and (architecture, backbone) not in FIXED
]
# what no tensor shows is taken to be as published, where PaddleSeg publishes the pair: here it is as by default
TOLD = {("DeepLabV3P", "resnet_vd"): {"aspp_ratios": [1, 6, 12, 18], "backbone.multi_grid": [1, 1, 1]}}
SHAPE = (1, 3, 64, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every pair as PaddleSeg builds and saves it, with what it computes."""
    jobs = []
    for seed, (architecture, backbone) in enumerate(PAIRS):
        kwargs = {**SMALL[architecture], "backbone": BACKBONES[backbone]}
        model = {"class": f"paddleseg.models.{architecture}", "kwargs": kwargs}
        jobs.append({"name": f"{architecture}-{backbone}", "model": model, "seed": seed, "shape": SHAPE})
    return run_upstream(jobs, tmp_path_factory.mktemp("pairs"))


def test_there_are_ten_pairs() -> None:
    assert len(PAIRS) >= 10


@pytest.mark.parametrize(("architecture", "backbone"), PAIRS)
def test_a_pair_is_recognised_converted_and_taken_back(
    folder: Path, tmp_path: Path, architecture: str, backbone: str
) -> None:
    source = folder / f"{architecture}-{backbone}.pdparams"
    found = inspect(source).recognised
    assert found is not None
    assert (found.map.architecture, found.map.includes[0].map.name) == (architecture, backbone)
    conversion = ppls.convert(source, tmp_path / "model.safetensors", overrides=TOLD.get((architecture, backbone)))
    record = np.load(source.with_suffix(".npz"))
    with torch.no_grad():
        logits, *_ = ppls.load(tmp_path / "model.safetensors")(torch.from_numpy(record["input"]))
    assert logits.shape == record["eval"].shape
    assert np.abs(logits.numpy() - record["eval"]).max() <= 1e-5 * np.abs(record["eval"]).max()

    ppls.convert_back(tmp_path / "model.safetensors", tmp_path / "back.pdparams")
    before, after = ppls.read(source), ppls.read(tmp_path / "back.pdparams")
    assert list(after) == list(before)
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert conversion.reference["kwargs"]["backbone"]["class"].startswith("paddleseg.models.backbones.")


def test_a_state_dict_without_metadata_goes_back_on_the_backbone_that_its_names_are_of(
    folder: Path, tmp_path: Path
) -> None:
    source = folder / "DeepLabV3P-stdc.pdparams"
    torch.save(ppls.load(source).state_dict(), tmp_path / "model.pt")
    back = ppls.convert_back(tmp_path / "model.pt")
    assert back.config["backbone"]["type"] == "STDCNet"
    assert set(back.tensors) == set(ppls.read(source))


@pytest.mark.parametrize("backbone", [next(iter(map.presets)) for map in backbones().values()])
@pytest.mark.parametrize("architecture", run_live(name for name, map in architectures().items() if map.includes))
def test_a_pair_by_name_is_a_model_or_an_error_of_ppls_that_says_what_is_possible(
    architecture: str, backbone: str
) -> None:
    try:
        model = import_target(architectures()[architecture])(num_classes=2, backbone=backbone)
    except ppls.Error as error:
        said = str(error)
        assert said.startswith(("backbone: ", "backbone_indices=[", "fpn_inplanes is ["))
        assert f"gives {len(build_backbone(backbone).feat_channels)}" in said or "channels" in said
        return
    with torch.no_grad():
        outputs = places(model.eval()(torch.zeros(1, 3, 64, 64)), torch.is_tensor)
    assert all(torch.isfinite(output).all() for _, output in outputs)


@pytest.mark.parametrize("indices", [[], [0, 9], [0, -9], [0, 1, 2]])
def test_feature_maps_that_are_not_there_or_not_so_many_are_said(indices: list[int]) -> None:
    two = re.compile(r"backbone_indices=\[.*this model takes 2|gives 4 feature maps, 0 to 3")
    said = []
    for map in architectures().values():
        if any(rule.path == "backbone_indices" and len(rule.default or ()) == 2 for rule in map.options):
            try:
                import_target(map)(backbone="resnet18_vd", backbone_indices=indices)
            except ppls.Error as error:  # of those that take any number, some take these
                said.append(str(error))
    assert any(two.search(message) for message in said), said


def test_recognition_says_how_sure_it_is(folder: Path) -> None:
    recognised = inspect(folder / "DeepLabV3P-stdc.pdparams").to_json()["recognised"]
    assert recognised["architecture"] == "DeepLabV3P"
    assert recognised["backbone"] == "STDCNet"
    assert recognised["share"] == 1.0
    assert recognised["runner_up"]["architecture"] != "DeepLabV3P"
    assert recognised["runner_up"]["share"] < 0.9


WITHOUT_HEAD = [
    name
    for name, map in architectures().items()
    if "enable_auxiliary_loss" in {rule.path for rule in map.options} | {each.option for each in map.optional}
]


@pytest.mark.parametrize("architecture", run_live(WITHOUT_HEAD))
def test_a_file_without_its_auxiliary_head_is_converted_and_loaded(architecture: str, tmp_path: Path) -> None:
    recipe = next(iter(architectures()[architecture].recipes))
    bare = {name: array for name, array in state_of(architecture, recipe).items() if "aux" not in name}
    conversion = ppls.convert(save(tmp_path / "bare.pdparams", bare), tmp_path / "bare.safetensors")
    assert conversion.config["enable_auxiliary_loss"] is False
    assert {type(index) for index in conversion.config.get("backbone_indices", [0])} == {int}
    assert len(ppls.load(tmp_path / "bare.safetensors").state_dict()) == len(bare) - len(conversion.dropped)
