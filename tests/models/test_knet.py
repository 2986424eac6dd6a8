"""KNet: its attention among the images of a batch, and the options that no published config uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ppls
from ppls.models import KNet
from ppls.models.knet import BatchAttention
from tests.architectures import run_live
from tests.options import Case, build, compare

UPDATE = {"num_classes": 5, "num_mask_fcs": 2, "in_channels": 256, "out_channels": 256, "conv_kernel_size": 1}
MADE = {"num_classes": 5, "channels": 256}
FCN = {"head_layer": "FCNKernelHead", "in_channels": 512, "num_convs": 1, "concat_input": False}
UPER = {"head_layer": "UPerKernelHead", "fpn_inplanes": [64, 128, 256, 512], "align_corners": False}

CASES = {
    "without two layers behind the attention": Case(
        {
            "backbone_indices": [0, 1, 2, 3],
            "kernel_update_head_params": {**UPDATE, "with_ffn": False},
            "kernel_generate_head_params": {**MADE, **UPER},
        }
    ),
    "one convolution and two stages": Case(
        {
            "backbone_indices": [3],
            "kernel_update_head_params": {**UPDATE, "feedforward_channels": 64},
            "kernel_generate_head_params": {**MADE, **FCN},
            "num_stages": 2,
        },
        {"backbone_indices": [3]},
    ),
}


@pytest.fixture(scope="module", params=run_live(["KNet"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, CASES, tmp_path_factory.mktemp("knet"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    record = np.load(folder / f"{name}.npz")
    model = ppls.load(folder / f"{name}.pdparams", **CASES[name].told)
    with torch.no_grad():
        compare(model(torch.from_numpy(record["input"])), [record["eval"]])


def test_an_image_sees_the_others_of_its_batch() -> None:
    attention = BatchAttention(16, 4, dropout=0.0)
    x = torch.randn(3, 2, 16)  # three classes, two images
    assert not torch.allclose(attention(x)[:, :1], attention(x[:, :1]))
    torch.testing.assert_close(attention(x)[1:], attention(x[1:]))


def test_what_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(ppls.Error, match="head_layer is 'Head'; it is UPerKernelHead or FCNKernelHead"):
        KNet(kernel_generate_head_params={"head_layer": "Head", "channels": 256})
    with pytest.raises(ppls.Error, match="conv_kernel_size is 1"):
        KNet(kernel_update_head_params={"conv_kernel_size": 3})
    with pytest.raises(ppls.Error, match="a map of 1024 channels, and the backbone's has 256"):
        KNet(backbone="resnet18_vd", enable_auxiliary_loss=True)
