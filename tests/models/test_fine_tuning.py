"""Fine-tuning to other classes, of every architecture: the head alone is drawn anew, and what is saved comes back."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ppls
from ppls.mappings.map_file import architectures
from ppls.mappings.targets import import_target
from ppls.models.base import SegmentationModel
from ppls.models.building import without_values
from ppls.models.config import config_of
from ppls.models.initialization import draw
from tests.architectures import map_of, run_live, small_config
from tests.material import SMALL_RUN

SIZE = 64


@dataclass
class Saved:
    """A small model of an architecture, and the folder that it was saved in."""

    model: SegmentationModel
    folder: Path


def small_model(**options: Any) -> ppls.models.PPLiteSeg:
    torch.manual_seed(0)
    backbone = {"type": "STDCNet", "base": 8, "layers": [2, 2, 2], "block_num": 4, "in_channels": 3}
    widths = {"cm_out_ch": 16, "arm_out_chs": [8, 12, 16], "seg_head_inter_chs": [8, 8, 12]}
    return ppls.models.PPLiteSeg(**{"num_classes": 3, "backbone": backbone, **widths, **options})


@pytest.fixture(scope="module", params=run_live(sorted(architectures())))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    map = map_of(request.param)
    torch.manual_seed(0)
    model = import_target(map)(**small_config(map))
    assert isinstance(model, SegmentationModel)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    yield Saved(model.eval(), folder)
    (folder / "model.safetensors").unlink()


def train(model: nn.Module, channels: int = 3, steps: int = 3) -> None:
    model.train()
    optimizer = torch.optim.SGD(model.parameter_groups(1e-3, head_lr_mult=10), momentum=0.9)  # type: ignore[operator]
    for _ in range(steps):
        outputs = model(torch.randn(2, channels, SIZE, SIZE))
        maps = [x for x in outputs if isinstance(x, torch.Tensor) and x.ndim == 4]  # without embeddings and points
        heads = [x for x in maps if x.shape[1] > 1]  # without boundaries
        labels = torch.randint(0, heads[0].shape[1], (2, SIZE, SIZE))
        loss = sum((F.cross_entropy(head, labels) for head in heads), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


def assert_same(a: nn.Module, b: nn.Module) -> None:
    assert type(a) is type(b)
    assert list(a.state_dict()) == list(b.state_dict())
    assert all(torch.equal(tensor, b.state_dict()[name]) for name, tensor in a.state_dict().items())


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_other_classes_and_channels_are_trained_saved_loaded_and_taken_back(saved: Saved, tmp_path: Path) -> None:
    before = saved.model.state_dict()
    with pytest.warns(UserWarning, match="with num_classes=8, in_channels=4 these are drawn anew: ") as said:
        model = ppls.load(saved.folder, num_classes=8, in_channels=4)
    drawn = [name for name, tensor in model.state_dict().items() if tensor.shape != before[name].shape]
    assert all(name in str(said[0].message) for name in drawn[:16])
    assert not [
        name for name in before if name not in drawn and not torch.equal(before[name], model.state_dict()[name])
    ]
    stems = {name for name in drawn if shapes(model)[name][1:2] == (4,)}
    assert stems
    assert 8 in {side for name in drawn if name not in stems for side in shapes(model)[name]}
    assert (model.num_classes, json.loads(model.metadata()["config"])["num_classes"]) == (8, 8)

    train(model, channels=4)
    model.save_pretrained(tmp_path / "hub")
    back = ppls.load(tmp_path / "hub")
    assert_same(model, back)
    assert_same(model, saved.model.from_pretrained(tmp_path / "hub"))
    assert (back.config, back.num_classes) == (model.config, 8)
    ppls.convert_back(tmp_path / "hub", tmp_path / "back.pdparams")
    assert_same(model, ppls.load(tmp_path / "back.pdparams"))
    with pytest.warns(UserWarning, match="drawn anew"):
        again = ppls.load(tmp_path / "back.pdparams", num_classes=5)
    assert shapes(again) == shapes(without_values(type(model), {**config_of(model), "num_classes": 5}))


def test_the_same_number_of_classes_keeps_the_head(saved: Saved) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(saved.model, ppls.load(saved.folder, num_classes=saved.model.num_classes, in_channels=3))


def test_features_are_those_that_the_model_says(saved: Saved) -> None:
    model = saved.model
    with torch.no_grad():
        maps = model.forward_features(torch.randn(1, 3, 64, 96))
    assert [x.shape[1] for x in maps] == list(model.feat_channels)
    assert [(64 // x.shape[2], 96 // x.shape[3]) for x in maps] == [(stride, stride) for stride in model.feat_strides]


def test_a_frozen_backbone_learns_nothing_in_train_mode_either(saved: Saved) -> None:
    model = copy.deepcopy(saved.model).freeze_backbone().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(model, steps=1)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    inside = tuple(f"{part}." for part in type(model).encoder)
    assert changed
    assert not [name for name in changed if name.startswith(inside)]
    assert {group["name"] for group in model.parameter_groups(1.0)} == {"head"}
    assert all(parameter.requires_grad for parameter in model.freeze_backbone(False).train().parameters())
    assert all(module.training for module in model.modules())


def test_every_parameter_is_of_the_encoder_or_of_the_head(saved: Saved) -> None:
    encoder, head = (
        {id(p) for p in parameters} for parameters in (saved.model.backbone_parameters(), saved.model.head_parameters())
    )
    assert encoder
    assert {id(p) for p in saved.model.classifier_parameters()} <= head
    assert not encoder & head
    assert encoder | head == {id(p) for p in saved.model.parameters()}


def test_parameter_groups_have_the_rates_that_were_asked_for() -> None:
    model = small_model()
    groups = model.parameter_groups(
        0.1, backbone_lr_mult=0.1, head_lr_mult=10, weight_decay=1e-4, filter_bias_and_bn=True
    )
    told = {group["name"]: (round(group["lr"], 9), group["weight_decay"]) for group in groups}
    assert told == {
        "backbone": (0.01, 1e-4),
        "backbone, no weight decay": (0.01, 0.0),
        "head": (1.0, 1e-4),
        "head, no weight decay": (1.0, 0.0),
    }
    assert all(
        (parameter.dim() < 2) == ("no weight" in group["name"]) for group in groups for parameter in group["params"]
    )
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert "weight_decay" not in model.parameter_groups(0.1)[0]


def test_the_classifier_of_as_many_classes_is_drawn_anew_when_asked() -> None:
    model = small_model()
    before = copy.deepcopy(model)
    model.reset_classifier(3)
    names = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before.state_dict()[name])]
    assert names == [f"heads.{i}.classifier.weight" for i in range(3)]
    model.reset_classifier(8)
    assert (model.num_classes, model(torch.zeros(2, 3, 64, 64))[0].shape[1]) == (8, 8)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_classes": 0}, "num_classes is 0; it is a number from 1 to 65536"),
        ({"num_classes": True}, "num_classes is True"),
        ({"num_classes": "8"}, "num_classes is '8'"),
        ({"num_classes": 10**9}, "num_classes is 1000000000; it is"),
        ({"in_channels": -1}, "in_channels is -1"),
        ({"auxiliary_heads": 1}, "auxiliary_heads is 1; it is True or False"),
        ({"enable_auxiliary_loss": True}, "'enable_auxiliary_loss' is no option of PPLiteSeg"),
        ({"num_class": 8}, "'num_class' is no option of PPLiteSeg"),
    ],
)
def test_what_is_no_number_of_classes_is_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path)
    with pytest.raises(ppls.UsageError, match=said):
        ppls.load(tmp_path, **options)


def test_nothing_else_may_mismatch(tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path)
    with pytest.raises(ppls.CheckpointError, match="the weights do not fit the model") as error:
        ppls.load(tmp_path, num_classes=8, arm_type="UAFM")
    assert str(error.value).count("unexpected: decoder.") == 20


def test_heads_of_training_are_left_out_and_drawn_when_asked(tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path / "three")
    with pytest.warns(UserWarning, match=r"with auxiliary_heads=False these are left out: heads.1.classifier.weight"):
        one = ppls.load(tmp_path / "three", auxiliary_heads=False)
    one.save_pretrained(tmp_path / "one")
    with pytest.warns(
        UserWarning, match=r"num_classes=7, .*drawn anew: heads.0.classifier.weight, heads.1.conv.conv.w"
    ):
        three = ppls.models.PPLiteSeg.from_pretrained(tmp_path / "one", auxiliary_heads=True, num_classes=7)
    assert [x.shape[1] for x in three.train()(torch.zeros(2, 3, 64, 64))] == [7, 7, 7]


def test_redrawn_weights_have_the_type_of_the_others(tmp_path: Path) -> None:
    small_model().bfloat16().save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="drawn anew"):
        model = ppls.load(tmp_path, num_classes=8)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}


def test_a_seed_repeats_what_is_drawn(tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = [(torch.manual_seed(3), ppls.load(tmp_path, num_classes=8))[1] for _ in range(2)]
    assert_same(*models)


def test_a_compiled_model_trains_and_saves_under_its_own_names(tmp_path: Path) -> None:
    model = small_model()
    compiled: Any = torch.compile(model, backend="eager")
    train(compiled, steps=1)
    compiled.save_pretrained(tmp_path / "whole")
    assert_same(model, ppls.load(tmp_path / "whole"))
    torch.save(compiled.state_dict(), tmp_path / "compiled.pt")
    assert all(name.startswith("_orig_mod.") for name in compiled.state_dict())
    ppls.convert_back(tmp_path / "compiled.pt", tmp_path / "back.pdparams")
    assert_same(model, ppls.load(tmp_path / "back.pdparams"))
    model.backbone = torch.compile(model.backbone, backend="eager")
    assert any("_orig_mod" in name for name in model.state_dict())
    model.save_pretrained(tmp_path / "part")
    assert not [name for name in ppls.load(tmp_path / "part").state_dict() if "_orig_mod" in name]
    assert (model.num_classes, len(model.feat_channels)) == (3, 5)


def test_scripting_is_refused_in_words() -> None:
    for module in (small_model(), nn.Sequential(small_model())):
        with pytest.raises(ppls.Error, match=r"torch.jit.script does not compile PPLiteSeg, .* ppls.export"):
            torch.jit.script(module)


def test_drawing_a_model_resets_all_of_it() -> None:
    model = small_model()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(7)
    draw(model)
    assert not [name for name, tensor in model.state_dict().items() if (tensor == 7).any()]
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("source", ["model.pdparams", "export"])
def test_what_paddleseg_trained_and_exported_gets_other_classes(source: str, tmp_path: Path) -> None:
    path = SMALL_RUN / source
    plain = ppls.load(path)
    with pytest.warns(UserWarning, match=rf"{source}: with num_classes=8 these are drawn anew: heads\.0\.classifier"):
        model = ppls.load(path, num_classes=8)
    drawn = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, plain.state_dict()[name])}
    assert drawn == {f"heads.{i}.classifier.weight" for i in range(len(plain.heads))}
    assert len(plain.heads) == (1 if source == "export" else 3)
    with pytest.warns(UserWarning, match="drawn anew"):
        trained = ppls.load(path, num_classes=8, auxiliary_heads=True)
    train(trained, steps=1)
    assert len(trained.heads) == 3
    trained.save_pretrained(tmp_path)
    assert_same(trained, ppls.load(tmp_path))
    assert ppls.load(tmp_path).provenance["trained_from"] == plain.provenance["source_sha256"]
