"""Lite-HRNet in each of its networks, under FCN: what PaddleSeg computes, in training too, and the sizes it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ppls
from ppls.checkpoint.reader import read
from ppls.converter.translate import translate_back
from ppls.models import FCN
from ppls.models.sizes import size_multiple
from ppls.models.stored import stored_from_torch
from ppls.parity.input_shape import InputShape, inputs_of_shape
from tests.conftest import run_upstream

LITE_HRNET = "paddleseg.models.backbones.lite_hrnet"
CASES: dict[str, tuple[str, dict[str, Any], list[int]]] = {
    "plain": ("Lite_HRNet_18", {}, [-1]),
    "head": ("Lite_HRNet_18", {"use_head": True, "in_channels": 4}, [2]),
    "naive": ("Lite_HRNet_naive", {"freeze_norm": False}, [0]),
    "wider": ("Lite_HRNet_wider_naive", {"use_head": True}, [-1]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    jobs = []
    for name, (preset, options, indices) in CASES.items():
        backbone = {"class": f"{LITE_HRNET}.{preset}", "kwargs": options}
        kwargs = {"num_classes": 5, "backbone": backbone, "backbone_indices": indices}
        model = {"class": "paddleseg.models.FCN", "kwargs": kwargs}
        jobs.append({"name": name, "model": model, "seed": 0, "shape": (1, options.get("in_channels", 3), 64, 96)})
    return run_upstream(jobs, tmp_path_factory.mktemp("lite"))


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_paddleseg_computes_and_goes_back_bit_for_bit(folder: Path, name: str) -> None:
    _, options, indices = CASES[name]
    checkpoint = folder / f"{name}.pdparams"
    record = np.load(checkpoint.with_suffix(".npz"))
    told = {"backbone.freeze_norm": options["freeze_norm"]} if "freeze_norm" in options else {}
    conversion = ppls.convert(checkpoint, overrides=told)
    assert conversion.config["backbone"].items() >= options.items()
    assert conversion.config["backbone_indices"] == indices
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
    for name, tensor in back.tensors.items():
        assert np.array_equal(tensor.load(), stored[name].load()), name


def test_a_size_that_cannot_be_halved_five_times_is_refused_with_one_that_can() -> None:
    model = FCN(5, backbone="lite_hrnet_18").eval()
    assert size_multiple(model) == 32
    with pytest.raises(ppls.Error, match=r"65x129 .*LiteHRNet.* multiples of 32; pad it to 96x160"):
        model(torch.zeros(1, 3, 65, 129))


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_normalisation_is_as_it_was_after_training(frozen: bool) -> None:
    model = FCN(5, backbone={"type": "Lite_HRNet_naive", "freeze_norm": frozen}, backbone_indices=[1]).train()
    norm = model.backbone.stages[0][0].blocks.branches[0][0].convs[0].bn
    before = norm.running_var.clone()
    model(torch.rand(1, 3, 32, 32))[0].square().sum().backward()
    assert torch.equal(norm.running_var, before) == frozen
    assert (norm.weight.grad is None) == frozen


def test_nothing_is_trained_through_the_map_that_is_frozen() -> None:
    for freeze_at in (0, 1):
        backbone = {"type": "Lite_HRNet_naive", "freeze_at": freeze_at}
        model = FCN(5, backbone=backbone, backbone_indices=[0]).train()
        model(torch.rand(1, 3, 32, 32))[0].square().sum().backward()
        assert (model.backbone.stem.conv.conv.weight.grad is None) == (freeze_at == 0)


def test_a_picture_of_another_size_is_padded_and_its_labels_are_its_own_size_and_so_it_is_said(tmp_path: Path) -> None:
    model = FCN(5, backbone="lite_hrnet_naive").eval()
    pixels = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    said: list[str] = []
    (prediction,) = ppls.predict(model, tmp_path / "picture.png", say=said.append)
    normalised = torch.from_numpy((pixels / 255 - 0.5) / 0.5).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        (logits,) = model(torch.nn.functional.pad(normalised, (0, 14, 0, 27)))
    assert np.array_equal(prediction.labels, logits[0, :, :37, :50].argmax(0).numpy())
    with pytest.warns(UserWarning, match="preprocessing assumed"):
        assert np.array_equal(model.predict(pixels), prediction.labels)
    assert any("multiples of 32" in line for line in said)


def test_a_model_that_takes_multiples_is_judged_on_those_of_the_default_inputs() -> None:
    shape = InputShape().in_multiples(32)
    chosen = inputs_of_shape(shape, seed=0, channels=3)
    assert len(chosen) > 10
    assert all(side % 32 == 0 for given in chosen for side in given.array.shape[2:])
    assert not shape.takes((1, 3, 65, 129))
    assert str(shape) == "batch any, channels any, height any in multiples of 32, width any in multiples of 32"
