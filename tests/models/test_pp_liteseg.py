"""PP-LiteSeg against PaddleSeg's own, live: every fusion, either encoder, odd sizes, eval and train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from ppls.models import SegmentationModel
from tests.conftest import SMALL_STDC, pp_liteseg_job, run_upstream

DEEP_STDC = {**SMALL_STDC, "kwargs": {"base": 16, "layers": [4, 5, 3], "block_num": 3}}

CONFIGS: dict[str, dict[str, Any]] = {
    "UAFM": {"arm_type": "UAFM"},
    "UAFM_ChAtten": {"arm_type": "UAFM_ChAtten"},
    "UAFM_ChAtten_S": {"arm_type": "UAFM_ChAtten_S"},
    "UAFM_SpAtten": {"arm_type": "UAFM_SpAtten"},
    "UAFM_SpAtten_S": {"arm_type": "UAFM_SpAtten_S"},
    "deep_encoder": {"backbone": DEEP_STDC, "num_classes": 7},
    "four_levels": {
        "backbone_indices": [1, 2, 3, 4],
        "arm_out_chs": [4, 8, 12, 16],
        "seg_head_inter_chs": [4, 8, 12, 16],
    },
    "one_width_for_all_levels": {"arm_out_chs": [12], "seg_head_inter_chs": [8]},
    "other_bins": {"cm_bin_sizes": [1, 3]},
    "nearest_decoder": {"resize_mode": "nearest"},
    "odd_size": {"shape": (1, 3, 65, 97)},
    "one_pixel_at_the_bottom": {"shape": (1, 3, 32, 32)},
    "UAFMMobile": {"arm_type": "UAFMMobile"},
    "UAFMMobile_SpAtten": {"arm_type": "UAFMMobile_SpAtten"},
}
SET = {"other_bins": {"cm_bin_sizes": [1, 3]}, "nearest_decoder": {"resize_mode": "nearest"}}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    jobs = [pp_liteseg_job(name, seed, **options) for seed, (name, options) in enumerate(CONFIGS.items())]
    return run_upstream(jobs, tmp_path_factory.mktemp("pp_liteseg"))


def load(folder: Path, name: str) -> tuple[torch.nn.Module, Any]:
    model = ppls.load(folder / f"{name}.pdparams", **SET.get(name, {}))
    return model, np.load(folder / f"{name}.npz")


@pytest.mark.parametrize("name", CONFIGS)
def test_eval_logits_equal_paddlesegs(upstream: Path, name: str) -> None:
    model, record = load(upstream, name)
    with torch.no_grad():
        (logits,) = model(torch.from_numpy(record["input"]))
    reference = record["eval"]
    assert logits.shape == reference.shape
    assert np.abs(logits.numpy() - reference).max() <= 2e-5 * np.abs(reference).max()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_train_step_gives_paddlesegs_heads_and_running_statistics(upstream: Path, name: str) -> None:
    model, record = load(upstream, name)
    model.train()
    with torch.no_grad():
        heads = model(torch.from_numpy(record["input"]))
    references = [record[key] for key in sorted(record) if key.startswith("train_")]
    assert len(heads) == len(references) == len(model.decoder)
    for head, reference in zip(heads, references, strict=True):
        # normalised by the batch, small activations amplify rounding more than eval mode does
        assert np.abs(head.numpy() - reference).max() <= 2e-3 * np.abs(reference).max()
    conversion = ppls.convert(upstream / f"{name}.pdparams", overrides=SET.get(name))
    state = model.state_dict()
    for target, (source,) in conversion.origins.items():
        if target.endswith(("running_mean", "running_var")):
            np.testing.assert_allclose(state[target], record[f"after.{source}"], rtol=2e-4, atol=2e-5, err_msg=source)


def test_the_config_is_read_off_the_tensors(upstream: Path) -> None:
    config = ppls.convert(upstream / "four_levels.pdparams").config
    assert config["backbone"] == {
        "type": "STDCNet",
        "layers": [2, 2, 2],
        "base": 8,
        "block_num": 4,
        "in_channels": 3,
    }
    assert config["num_classes"] == 3
    assert config["backbone_indices"] == [1, 2, 3, 4]
    assert config["arm_out_chs"] == [4, 8, 12, 16]
    assert config["seg_head_inter_chs"] == [4, 8, 12, 16]
    assert config["cm_out_ch"] == 16
    assert config["auxiliary_heads"] is True
    deep = ppls.convert(upstream / "deep_encoder.pdparams").config
    assert deep["backbone"]["layers"] == [4, 5, 3]
    assert (deep["backbone"]["base"], deep["backbone"]["block_num"], deep["num_classes"]) == (16, 3, 7)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("UAFM")])
def test_the_kind_of_fusion_is_read_off_the_tensors(upstream: Path, name: str) -> None:
    assert ppls.convert(upstream / f"{name}.pdparams").config["arm_type"] == name


def test_bins_that_the_tensors_do_not_show_are_asked_for(upstream: Path) -> None:
    with pytest.raises(ppls.ConversionError, match=r"cm_bin_sizes: .*2 values.*--set 'cm_bin_sizes=\[...\]'"):
        ppls.convert(upstream / "other_bins.pdparams")


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    torch.manual_seed(0)
    options = {"backbone": {"type": "STDC1", "base": 8}, "arm_out_chs": [8], "seg_head_inter_chs": [8]}
    return ppls.models.PPLiteSeg(num_classes=3, cm_out_ch=16, **options).eval()


def test_it_exports_with_a_dynamic_batch(model: torch.nn.Module) -> None:
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(model, (torch.randn(2, 3, 64, 96),), dynamic_shapes=({0: batch},))
    image = torch.randn(5, 3, 64, 96)
    torch.testing.assert_close(program.module()(image), model(image))


def test_it_compiles_without_a_graph_break(model: torch.nn.Module) -> None:
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=None)
    for batch in (1, 3):
        image = torch.randn(batch, 3, 64, 96)
        torch.testing.assert_close(compiled(image), model(image))


def test_raw_logits_are_left_at_the_heads_resolution(model: torch.nn.Module) -> None:
    image = torch.randn(1, 3, 64, 96)
    (resized,) = model(image)
    model.raw_logits = True
    (raw,) = model(image)
    model.raw_logits = False
    assert raw.shape == (1, 3, 8, 12)
    torch.testing.assert_close(torch.nn.functional.interpolate(raw, (64, 96), mode="bilinear"), resized)


def test_without_auxiliary_heads_there_is_one_head_in_train_mode_too() -> None:
    model = ppls.models.PPLiteSeg(3, {"type": "STDC1", "base": 8}, auxiliary_heads=False)
    assert len(model.train()(torch.randn(2, 3, 32, 64))) == 1
    assert not any(name.startswith("heads.1") for name in model.state_dict())


def test_it_trains_at_batch_size_one(model: torch.nn.Module) -> None:
    model.train()
    torch.stack([head.mean() for head in model(torch.randn(1, 3, 32, 32))]).sum().backward()
    pooled = model.context.branches[0].bn
    assert pooled.weight.grad is not None
    assert not pooled.weight.grad.any()
    model.eval()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arm_type": "UAFMSlow"}, "unknown arm_type 'UAFMSlow'; known are UAFM, "),
        ({"backbone": "resnet50"}, "unknown backbone 'resnet50'; known are "),
        ({"arm_out_chs": [1, 2]}, "arm_out_chs has 2 values for 3 decoder levels"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ppls.Error, match=message):
        ppls.models.PPLiteSeg(**options)
