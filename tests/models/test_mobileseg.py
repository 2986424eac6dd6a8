"""MobileSeg on each of its backbones, with options that no recipe has: what PaddleSeg computes, told by the tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from ppls.checkpoint.reader import read
from ppls.converter.translate import translate_back
from ppls.models.stored import stored_from_torch
from tests.conftest import run_upstream

BINS = {"cm_bin_sizes": [1, 2]}  # PaddleSeg's default, which none of its configs has
# PaddleSeg's backbone, its options, those of the model, and what no tensor shows
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "mobilenetv2": ("mobilenetv2.MobileNetV2_x0_25", {}, {"arm_out_chs": [8], "seg_head_inter_chs": [8]}, BINS),
    "equal_widths": (
        "mobilenetv3.MobileNetV3_small_x0_35",
        {"in_channels": 4},
        {"use_last_fuse": True, "arm_type": "UAFMMobile_SpAtten"},
        BINS,
    ),
    "dilated": (
        "mobilenetv3.MobileNetV3_large_x1_0_os8",
        {},
        {"backbone_indices": [0, 1, 3]},
        {**BINS, "backbone": "MobileNetV3_large_x1_0_os8"},
    ),
    "swish": ("shufflenetv2.ShuffleNetV2_swish", {}, {"arm_type": "UAFM"}, {**BINS, "backbone": "ShuffleNetV2_swish"}),
    "ghosts": ("ghostnet.GhostNet_x0_5", {}, {"arm_type": "UAFM_SpAtten"}, BINS),
    "head": ("lite_hrnet.Lite_HRNet_18", {"use_head": True}, {"backbone_indices": [0, 1, 2]}, BINS),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    jobs = []
    for name, (preset, given, options, _) in CASES.items():
        backbone = {"class": f"paddleseg.models.backbones.{preset}", "kwargs": given}
        model = {"class": "paddleseg.models.MobileSeg", "kwargs": {"num_classes": 5, "backbone": backbone, **options}}
        jobs.append({"name": name, "model": model, "seed": 0, "shape": (1, given.get("in_channels", 3), 64, 96)})
    return run_upstream(jobs, tmp_path_factory.mktemp("mobileseg"))


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_paddleseg_computes_and_goes_back_bit_for_bit(folder: Path, name: str) -> None:
    _, given, options, told = CASES[name]
    checkpoint = folder / f"{name}.pdparams"
    record = np.load(checkpoint.with_suffix(".npz"))
    conversion = ppls.convert(checkpoint, overrides=told)
    levels = {key: value * 3 if len(value) == 1 else value for key, value in options.items() if isinstance(value, list)}
    assert conversion.config.items() >= {"backbone_indices": [1, 2, 3], **options, **levels}.items()
    assert conversion.config["backbone"].items() >= given.items()
    model = ppls.load(checkpoint, **told)
    with torch.no_grad():
        (logits,) = model(torch.from_numpy(record["input"]))
    assert np.abs(logits.numpy() - record["eval"]).max() <= 2e-5 * np.abs(record["eval"]).max()
    tensors = {name: stored_from_torch(tensor) for name, tensor in model.state_dict().items()}
    back = translate_back(tensors, conversion.map, conversion.config)
    assert back.problems == []
    stored = read(checkpoint).tensors
    assert {name: tensor.shape for name, tensor in back.tensors.items()} == {
        name: tensor.shape for name, tensor in stored.items()
    }
    assert all(np.array_equal(tensor.load(), stored[name].load()) for name, tensor in back.tensors.items())


def test_maps_say_how_many_pixels_they_stand_for() -> None:
    for name in ("MobileNetV2_x0_25", "MobileNetV3_small_x0_35", "MobileNetV3_large_x1_0_os8", "GhostNet_x0_5"):
        backbone = ppls.models.backbone.build_backbone(name)
        maps = backbone(torch.zeros(1, 3, 64, 96))
        assert [list(x.shape[1:]) for x in maps] == [
            [channels, 64 // stride, 96 // stride]
            for channels, stride in zip(backbone.feat_channels, backbone.feat_strides, strict=True)
        ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": {"type": "MobileNetV3", "size": "tiny"}}, "unknown size 'tiny' of MobileNetV3; known are large"),
        ({"backbone": {"type": "ShuffleNet", "scale": 0.7}}, "scale=0.7: ShuffleNet V2 has the scales 0.25, 0.33"),
        ({"backbone": {"type": "ShuffleNet", "act": "gelu"}}, "act='gelu': ShuffleNet V2 has the activations relu"),
        ({"arm_type": "UAFMSlow"}, "unknown arm_type 'UAFMSlow'; known are UAFM, "),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ppls.Error, match=message):
        ppls.models.MobileSeg(**options)
