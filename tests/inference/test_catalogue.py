"""Models by name: those that PaddleSeg publishes configs of."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
import torch

import ppls
from ppls.models.building import tensors_of

from ..models.test_fine_tuning import assert_same, small_model


def test_models_are_listed_and_filtered_as_timm_does() -> None:
    names = ppls.list_models()
    assert len(names) >= 18
    assert names == sorted(names)
    assert ppls.list_models("*liteseg*") == ["PP-LiteSeg-B", "PP-LiteSeg-T"]
    assert ppls.list_models(["UNet", "bisenetv2*"]) == ["BiSeNetV2", "UNet"]
    assert ppls.list_models("segformer*", exclude_filters="*-b[1-5]") == ["SegFormer-B0"]
    assert ppls.list_models("nothing") == []


def test_a_model_is_created_with_its_options_and_other_classes_and_channels() -> None:
    model = ppls.create_model("pp-liteseg-t", num_classes=8, in_channels=4, raw_logits=True)
    assert isinstance(model, ppls.models.PPLiteSeg)
    assert not model.training
    assert (model.num_classes, model.raw_logits) == (8, True)
    config = {"backbone": {"type": "stdc1", "in_channels": 4}, "arm_out_chs": [32, 64, 128], "num_classes": 8}
    expected = tensors_of(ppls.models.PPLiteSeg, {**config, "seg_head_inter_chs": [32, 64, 64]})
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == expected


def test_a_seed_repeats_a_model() -> None:
    models = [(torch.manual_seed(1), ppls.create_model("SegFormer", num_classes=2))[1] for _ in range(2)]
    assert_same(*models)


def test_a_checkpoint_gives_the_weights_and_its_own_options(tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(ppls.create_model("PPLiteSeg", checkpoint_path=tmp_path), small_model())
    with pytest.warns(UserWarning, match="drawn anew: heads"):
        assert ppls.create_model("PP-LiteSeg-T", checkpoint_path=tmp_path, num_classes=8).num_classes == 8
    with pytest.raises(ppls.UsageError, match="is a PPLiteSeg, SegFormer-B0 is a SegFormer"):
        ppls.create_model("SegFormer-B0", checkpoint_path=tmp_path)


def test_published_weights_are_loaded_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (name, *_) = (row.name for row in ppls.list_published("pp_liteseg_stdc1*", available=True))
    monkeypatch.setenv("PPLS_CACHE", str(tmp_path))
    folder = tmp_path / "published" / name
    folder.mkdir(parents=True)
    ppls.create_model("PP-LiteSeg-T").save_pretrained(tmp_path / "hub")
    ppls.convert_back(tmp_path / "hub", folder / "model.pdparams")  # as if it had been downloaded
    model = ppls.create_model("PP-LiteSeg-T", pretrained=name)
    assert_same(model, ppls.load(tmp_path / "hub"))
    assert isinstance(model, ppls.models.PPLiteSeg)
    assert model.usage.classes is not None
    with pytest.raises(ppls.UsageError, match="give one of them"):
        ppls.create_model("PP-LiteSeg-T", pretrained=name, checkpoint_path=tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (True, "pretrained=True: is no name of PaddleSeg's; of PPLiteSeg PaddleSeg publishes pp_liteseg_stdc1_"),
        ("mine.pdparams", "pretrained='mine.pdparams': is no name of PaddleSeg's"),
        ("segformer_b0_cityscapes_1024x1024_160k", "is a SegFormer; of PPLiteSeg PaddleSeg publishes pp_lite"),
    ],
)
def test_what_is_not_published_for_a_model_is_said_with_what_is(name: str | bool, said: str) -> None:
    with pytest.raises(ppls.UsageError, match=re.escape(said)):
        ppls.create_model("PP-LiteSeg-T", pretrained=name)


def test_what_is_no_model_or_no_option_is_refused_in_words() -> None:
    with pytest.raises(ppls.UsageError, match=r"no model is called resnet50; there are ANN-R101, "):
        ppls.create_model("resnet50")
    with pytest.raises(ppls.UsageError, match=r"no model is called liteseg; there are PP-LiteSeg-B, "):
        ppls.create_model("liteseg")
    with pytest.raises(ppls.UsageError, match=r"no UNet with .*no_option"):
        ppls.create_model("UNet", no_option=1)
    with pytest.raises(ppls.UsageError, match="num_classes is 0"):
        ppls.create_model("UNet", num_classes=0)
