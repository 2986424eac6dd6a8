"""The config of a model as it is: found, whatever was done to it since it was built, or refused with all reasons."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ppls
from ppls.models.backbone import Backbone, register_backbone
from ppls.models.layers import DropPath
from ppls.models.stdc import STDCNet

from .test_fine_tuning import assert_same, small_model


def another_classifier(model: Any) -> None:
    for head in model.heads:
        head.classifier = nn.Conv2d(head.classifier.in_channels, 8, 1, bias=False)


def another_stem(model: Any) -> None:
    model.backbone.blocks[0].conv = nn.Conv2d(5, 4, 3, stride=2, padding=1, bias=False)


def no_heads_of_training(model: Any) -> None:
    del model.heads[1:]


def nearest(model: Any) -> None:
    for module in model.decoder:
        module.resize_mode = "nearest"


def raw(model: Any) -> None:
    model.raw_logits = True


def several(model: Any) -> None:
    for edit in (another_classifier, another_stem, no_heads_of_training, nearest, raw):
        edit(model)


@pytest.mark.parametrize(
    ("edit", "options"),
    [
        (another_classifier, {"num_classes": 8}),
        (no_heads_of_training, {"auxiliary_heads": False}),
        (nearest, {"resize_mode": "nearest"}),
        (raw, {"raw_logits": True}),
        (several, {"num_classes": 8, "auxiliary_heads": False, "resize_mode": "nearest", "raw_logits": True}),
    ],
)
def test_what_was_edited_is_found_saved_and_loaded(
    edit: Callable[[Any], None], options: dict[str, Any], tmp_path: Path
) -> None:
    model = small_model()
    before = model.config
    edit(model)
    after = model.config
    after["backbone"]["in_channels"] = 3
    assert after == {**before, **options}
    model.save_pretrained(tmp_path)
    channels = model.backbone.blocks[0].conv.in_channels
    image = torch.randn(1, channels, 64, 64)
    for loaded in (ppls.load(tmp_path), type(model).from_pretrained(tmp_path)):
        assert_same(model, loaded)
        assert torch.equal(model.eval()(image)[0], loaded(image)[0])
        assert loaded.config == model.config


def one_classifier(model: Any) -> None:
    model.heads[0].classifier = nn.Conv2d(8, 8, 1, bias=False)


def with_bias(model: Any) -> None:
    model.heads[0].classifier = nn.Conv2d(8, 3, 1)


def another_activation(model: Any) -> None:
    model.heads[0].conv.activation = torch.sigmoid


def a_deeper_head(model: Any) -> None:
    model.heads[0].classifier = nn.Sequential(nn.Dropout(0.1), nn.Conv2d(8, 3, 1, bias=False))


def another_dilation(model: Any) -> None:
    model.heads[0].conv.conv.dilation = (2, 2)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (one_classifier, r"heads\.0\.classifier\.weight: \[8, 8, 1, 1\]; built anew: \[3, 8, 1, 1\]"),
        (with_bias, r"heads\.0\.classifier\.bias: \[3\]; built anew: None"),
        (another_activation, r"heads\.0\.conv\.activation: .*sigmoid"),
        (a_deeper_head, r"heads\.0\.classifier: Sequential; built anew: Conv2d"),
        (another_dilation, r"heads\.0\.conv\.conv\.dilation: \[2, 2\]; built anew: \[1, 1\]"),
    ],
)
def test_what_no_options_build_is_refused_and_nothing_is_written(
    edit: Callable[[Any], None], said: str, tmp_path: Path
) -> None:
    model = small_model()
    edit(model)
    with pytest.raises(ppls.ConversionError, match="no options of PPLiteSeg build this model") as error:
        model.save_pretrained(tmp_path / "hub")
    assert re.search(said, str(error.value))
    assert not (tmp_path / "hub").exists()


def test_what_no_options_build_can_be_traced(tmp_path: Path) -> None:
    model = small_model().eval()
    a_deeper_head(model)
    with pytest.raises(ppls.ConversionError, match="no options of PPLiteSeg build this model"):
        model.config  # noqa: B018
    with pytest.raises(
        ppls.Error, match=r"has another classifier than its class builds: no heads\.0\.classifier\.weight"
    ):
        model.num_classes  # noqa: B018
    assert not hasattr(model, "config")
    image = torch.randn(1, 3, 64, 64)
    traced = torch.jit.trace(model.eval(), image, check_trace=False)
    assert torch.equal(traced(image)[0], model(image)[0])


def test_a_copy_and_a_synchronised_model_are_what_they_were(tmp_path: Path) -> None:
    model = small_model(arm_type="UAFM_ChAtten")
    assert copy.deepcopy(model).config == model.config
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))
    synchronised.save_pretrained(tmp_path)
    assert_same(model, ppls.load(tmp_path))


def test_numerics_that_were_set_come_back(tmp_path: Path) -> None:
    model = small_model()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.01
    model.heads[0].conv.bn.eps = 1e-3
    model.save_pretrained(tmp_path)
    for loaded in (ppls.load(tmp_path), type(model).from_pretrained(tmp_path)):
        norms = {name: m for name, m in loaded.named_modules() if isinstance(m, nn.BatchNorm2d)}
        assert {norm.momentum for norm in norms.values()} == {0.01}
        assert [name for name, norm in norms.items() if norm.eps != 1e-5] == ["heads.0.conv.bn"]


def test_a_backbone_that_was_handed_over_is_described_by_its_options(tmp_path: Path) -> None:
    model = small_model(backbone=STDCNet(8, (2, 2, 2)))
    expected = {"type": "STDCNet", "base": 8, "layers": [2, 2, 2], "block_num": 4, "in_channels": 3}
    assert model.config["backbone"] == expected == small_model().config["backbone"]
    assert ppls.models.PPLiteSeg(backbone="stdc2").config["backbone"]["layers"] == [4, 5, 3]
    model.save_pretrained(tmp_path)
    assert_same(model, ppls.load(tmp_path))


class Own(Backbone):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, 2, 1)
        self.feat_channels, self.feat_strides = [width] * 5, [2] * 5

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.conv(x)] * 5


def test_a_backbone_of_the_users_own_is_said_to_be_needed_again(tmp_path: Path) -> None:
    model = small_model(backbone=Own())
    with pytest.warns(UserWarning, match=r"config.json cannot say what backbone is, a Own"):
        model.save_pretrained(tmp_path)
    assert "backbone" not in json.loads((tmp_path / "config.json").read_text())
    assert_same(model, type(model).from_pretrained(tmp_path, backbone=Own()))
    with pytest.warns(UserWarning, match=r"with num_classes=8 these are drawn anew: heads\.0\.classifier\.weight"):
        assert type(model).from_pretrained(tmp_path, backbone=Own(), num_classes=8).num_classes == 8
    with pytest.raises(ppls.UsageError, match="'in_channels' is for the backbone, and that is a module already"):
        type(model).from_pretrained(tmp_path, backbone=Own(), in_channels=4)
    model.reset_classifier(8)
    assert model.num_classes == 8


def test_a_registered_backbone_of_the_users_own_is_built_by_its_name(tmp_path: Path) -> None:
    register_backbone("OwnOfTheTests")(Own)
    model = small_model(backbone={"type": "OwnOfTheTests", "width": 6})
    model.save_pretrained(tmp_path)
    assert_same(model, type(model).from_pretrained(tmp_path))


def test_a_config_that_is_given_must_be_that_of_the_model(tmp_path: Path) -> None:
    model = small_model()
    with pytest.raises(ppls.ConversionError, match=r"wrong shape: heads\.0\.classifier\.weight"):
        model.save_pretrained(tmp_path / "hub", config={**model.config, "num_classes": 8})
    assert not (tmp_path / "hub").exists()


def test_a_dropout_that_was_set_is_said_to_be_lost_unless_an_option_has_it(tmp_path: Path) -> None:
    model = ppls.models.SegFormer(num_classes=3)
    for module in model.backbone.modules():
        if isinstance(module, DropPath):
            module.rate = 0.0
    assert model.config["backbone"]["drop_path_rate"] == 0.0
    model.dropout.p = 0.0
    with pytest.warns(UserWarning, match=r"not saved, for no option says them: dropout\.p: 0\.0; built anew: 0\.1"):
        model.save_pretrained(tmp_path)
    assert_same(model, ppls.load(tmp_path))
