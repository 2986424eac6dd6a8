"""A model that somebody is training is predicted with, evaluated, exported and timed, and then trained on as before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import ppls
from ppls.inference.devices import in_use
from ppls.models.modes import modes_kept, modules_in_training


class Tiny(nn.Module):
    """What shows that it was left in eval mode, on another device, or with other statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.frozen = nn.BatchNorm2d(4).eval()
        self.fails = False

    def forward(self, image: Tensor) -> list[Tensor]:
        if self.fails:
            raise RuntimeError("it fails")
        return [self.frozen(self.bn(self.conv(image)))]


def state(model: nn.Module) -> list[object]:
    tensors = [(name, tensor.tolist(), str(tensor.device)) for name, tensor in model.state_dict().items()]
    return [
        tensors,
        [layer.training for layer in model.modules()],
        [weight.requires_grad for weight in model.parameters()],
        (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()),
    ]


@pytest.fixture
def training() -> Tiny:
    """In train mode, but for the layer that is frozen, and with gradients."""
    model = Tiny().train()
    model.frozen.eval()
    model(torch.randn(2, 3, 8, 8))[0].sum().backward()
    return model


def photograph(folder: Path, values: int = 255) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, values, (32, 32, 3), np.uint8)).save(folder / "image.png")
    return folder / "image.png"


def sample(folder: Path) -> ppls.Sample:
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(folder / "label.png")
    return ppls.Sample(photograph(folder), folder / "label.png", "list:1")


USES: dict[str, Callable[[nn.Module, Path], object]] = {
    "predict": lambda model, folder: ppls.predict(model, photograph(folder)),
    "evaluate": lambda model, folder: ppls.evaluate(model, [sample(folder)]),
    "export": lambda model, folder: ppls.export(model, folder / "model.pt", size=(32, 32), format="torchscript"),
    "benchmark": lambda model, folder: ppls.benchmark(model, sizes=[(32, 32)], modes=["eager"], rounds=1, threads=1),
}


@pytest.mark.parametrize("use", USES)
def test_a_model_in_training_is_used_in_eval_mode_and_stays_as_it_was(use: str, training: Tiny, tmp_path: Path) -> None:
    if use == "export":
        pytest.importorskip("openvino")
    before = state(training)
    gradients = [weight.grad for weight in training.parameters()]
    USES[use](training, tmp_path)
    assert state(training) == before
    assert all(weight.grad is kept for weight, kept in zip(training.parameters(), gradients, strict=True))


@pytest.mark.parametrize("use", USES)
def test_it_stays_as_it_was_where_its_use_raises(use: str, training: Tiny, tmp_path: Path) -> None:
    training.fails = True
    before = state(training)
    with pytest.raises((ppls.Error, RuntimeError)):
        USES[use](training, tmp_path)
    assert state(training) == before


def test_predicting_in_train_mode_gives_what_eval_mode_gives(training: Tiny, tmp_path: Path) -> None:
    (in_training,) = ppls.predict(training, photograph(tmp_path))
    (in_eval,) = ppls.predict(training.eval(), photograph(tmp_path))
    assert np.array_equal(in_training.labels, in_eval.labels)


def test_a_picture_that_cannot_be_written_leaves_no_inference_mode(training: Tiny, tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        assert not torch.is_inference_mode_enabled()
        raise KeyError("the caller's own")

    with pytest.raises(KeyError):
        ppls.predict(training, photograph(tmp_path), progress=fail)
    assert not torch.is_inference_mode_enabled()
    assert training.bn.training
    assert not training.frozen.training


def test_optimize_refuses_a_model_of_which_a_part_is_in_training(training: Tiny) -> None:
    training.eval()
    training.bn.train()
    before = state(training)
    with pytest.raises(ppls.UsageError, match="eval"):
        ppls.optimize(training, torch.zeros(1, 3, 8, 8), compile=False, runtimes=())
    assert state(training) == before


def test_a_model_of_another_device_stays_there(training: Tiny) -> None:
    on_meta = Tiny().to("meta").train()
    on_meta.conv = nn.Conv2d(3, 4, 1)  # a copy to the device that is asked for fails halfway
    with pytest.raises(NotImplementedError), in_use(on_meta, torch.device("cpu")):
        pass
    assert str(on_meta.bn.weight.device) == "meta"
    assert on_meta.bn.training
    with in_use(training, torch.device("meta")) as moved:
        assert str(moved.bn.weight.device) == "meta"
        assert not moved.bn.training
    assert str(training.bn.weight.device) == "cpu"
    assert training.bn.training


def test_each_layer_has_its_own_mode_again() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with modes_kept(model):
        model.eval()
    assert [layer.training for layer in model.modules()] == [True, True, False]


def test_what_torchscript_has_frozen_is_in_no_mode(training: Tiny, tmp_path: Path) -> None:
    fast = ppls.optimize(training.eval(), torch.zeros(1, 3, 32, 32), compile=False, runtimes=())
    (expected,), (found,) = (ppls.predict(model, photograph(tmp_path)) for model in (training, fast))
    assert np.array_equal(found.labels, expected.labels)
    assert modules_in_training(fast) == []
