"""The digest of a model: the same for the same function, another for any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import ppls
from ppls.models.base import SegmentationModel
from ppls.models.digest import model_options, model_sha256

BACKBONE = {"type": "STDCNet", "base": 8, "layers": [2, 2, 2], "block_num": 4, "in_channels": 3}
NUMERICS = {"batch_norm": {"epsilon": 1e-5}}


def model(**options: object) -> SegmentationModel:
    """A small model with the metadata of a conversion."""
    torch.manual_seed(0)
    widths = {"cm_out_ch": 16, "arm_out_chs": [8, 12, 16], "seg_head_inter_chs": [8, 8, 12]}
    config = {"num_classes": 3, "backbone": BACKBONE, **widths, **options}
    built = ppls.models.PPLiteSeg(**config)  # type: ignore[arg-type]
    built.provenance = {
        "architecture": "PPLiteSeg",
        "config": json.dumps(config, sort_keys=True),
        "numerics": json.dumps(NUMERICS),
        "map_sha256": "x",
    }
    return built.eval()


def test_a_model_keeps_its_digest_through_files_modes_and_time(tmp_path: Path) -> None:
    built = model()
    digest = model_sha256(built)
    built.save_pretrained(tmp_path)
    built(torch.zeros(1, 3, 64, 64))
    for same in (model(), built, built.train().eval(), ppls.load(tmp_path), type(built).from_pretrained(str(tmp_path))):
        assert model_sha256(same) == digest


def nudged(changed: SegmentationModel) -> SegmentationModel:
    with torch.no_grad():
        weight = next(changed.parameters())
        weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(9.0))
    return changed


def trained(changed: SegmentationModel) -> SegmentationModel:
    changed.train()(torch.randn(2, 3, 64, 64))  # its BatchNorms' statistics alone
    return changed.eval()


def signed(changed: SegmentationModel) -> SegmentationModel:
    bias = next(value for name, value in changed.state_dict().items() if name.endswith("bn.bias"))
    assert not bias.any()
    bias[0] = -0.0
    return changed


def reshaped(changed: SegmentationModel) -> SegmentationModel:
    for layer in changed.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.weight.shape[1] > 1:
            layer.weight = torch.nn.Parameter(layer.weight.reshape(1, *layer.weight.shape[:1], -1, 1).detach())
            return changed
    raise AssertionError


def renumbered(changed: SegmentationModel) -> SegmentationModel:
    changed.provenance["numerics"] = json.dumps({"batch_norm": {"epsilon": 1e-3}})
    return changed


@pytest.mark.parametrize(
    "other",
    [
        lambda: nudged(model()),
        lambda: trained(model()),
        lambda: signed(model()),
        lambda: reshaped(model()),
        lambda: renumbered(model()),
        lambda: model().half(),
        lambda: model().bfloat16(),
        lambda: model().double(),
        lambda: model(num_classes=4),
        lambda: model(resize_mode="nearest"),
        lambda: model(raw_logits=True),
        lambda: model(auxiliary_heads=False),
    ],
    ids=[
        "bit",
        "statistics",
        "sign",
        "shape",
        "numerics",
        "half",
        "bfloat16",
        "double",
        "classes",
        "resizes",
        "logits",
        "heads",
    ],
)
def test_another_model_has_another_digest(other: Callable[[], SegmentationModel]) -> None:
    assert model_sha256(other()) != model_sha256(model())


def test_an_option_that_was_given_when_loading_counts(tmp_path: Path) -> None:
    model().save_pretrained(tmp_path)
    assert model_sha256(ppls.load(tmp_path, raw_logits=True)) != model_sha256(model())


def test_the_options_are_those_of_the_model_as_it_is() -> None:
    options = model_options(model(raw_logits=True))
    assert (options["num_classes"], options["raw_logits"]) == (3, True)
