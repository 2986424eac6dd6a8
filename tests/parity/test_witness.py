"""A witness shows what each layer does: the embedded default must be one, and a weak checkpoint is called weak."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")
pytest.importorskip("paddleseg")

from ppls.parity.answers import Faint, Witness  # noqa: E402
from ppls.parity.reference.batches import mixes  # noqa: E402
from ppls.parity.reference.embedded import draw_weights  # noqa: E402  # imports paddle
from ppls.parity.reference.witness import examine  # noqa: E402
from ppls.parity.reference_run import Recording  # noqa: E402
from ppls.parity.stages.witness import weigh_witness  # noqa: E402
from ppls.parity.tolerance import Tolerances  # noqa: E402

from .conftest import Recorded  # noqa: E402
from .one_by_one import unseen  # noqa: E402


class Attention(paddle.nn.Layer):  # type: ignore[misc, name-defined]
    """DANet's attention over pixels, as upstream starts it, between two layers; classes beside the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = paddle.nn.Conv2D(3, 8, 3, stride=8, padding=1)
        self.norm = paddle.nn.BatchNorm2D(8)
        self.query, self.key, self.value = (paddle.nn.Conv2D(8, 8, 1) for _ in range(3))
        self.gamma = self.create_parameter([1], default_initializer=paddle.nn.initializer.Constant(0.0))
        self.unused = self.create_parameter([1], default_initializer=paddle.nn.initializer.Constant(0.0))
        self.classifier = paddle.nn.Conv2D(8, 4, 1)

    def forward(self, image: Any) -> Any:
        x = paddle.nn.functional.relu(self.norm(self.stem(image)))
        query, key, value = (conv(x).flatten(2) for conv in (self.query, self.key, self.value))
        weights = paddle.nn.functional.softmax(query.transpose([0, 2, 1]) @ key, axis=-1)
        attended = (value @ weights.transpose([0, 2, 1])).reshape(x.shape)
        logits = self.classifier(self.gamma * attended + x)
        return {"logits": logits, "classes": [logits.argmax(axis=1)]}


class AmongImages(Attention):
    """KNet's attention: each pixel sees those at its place in the other images of the batch."""

    def forward(self, image: Any) -> Any:
        x = paddle.nn.functional.relu(self.norm(self.stem(image)))
        query, key, value = (conv(x).flatten(2).transpose([2, 0, 1]) for conv in (self.query, self.key, self.value))
        weights = paddle.nn.functional.softmax(query @ key.transpose([0, 2, 1]), axis=-1)
        return self.classifier(self.gamma * (weights @ value).transpose([1, 2, 0]).reshape(x.shape) + x)


def attention(kind: type[Attention] = Attention, **values: float) -> Any:
    paddle.seed(0)
    model = kind()
    draw_weights(model, np.random.default_rng(0))
    tensors = model.state_dict()
    for name, value in values.items():
        name = name.replace("_", ".")
        tensors[name].set_value(np.full(tensors[name].shape, value, "float32"))
    model.eval()
    return model


def faint(model: Any, folder: Path) -> dict[str, float]:
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32))
    job = {"inputs": [{"name": "noise", "file": "x.npy", "strong": False}], "dtype": "float32"}
    found = examine(model, job, folder)
    assert found["why"] is None
    assert found["examined"] == 7  # six layers and the gate; what is never used is no part of the function
    return {entry["name"]: entry["moves"] for entry in found["faint"]}


def test_behind_a_drawn_gate_everything_is_seen(tmp_path: Path) -> None:
    assert faint(attention(), tmp_path) == {}


def test_an_attention_among_images_is_seen_in_two_of_them(tmp_path: Path) -> None:
    assert faint(attention(AmongImages), tmp_path) == {}


def test_an_attention_among_images_lets_one_see_the_others_and_no_other_does(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32))
    job = {"inputs": [{"name": "noise", "file": "x.npy"}], "dtype": "float32"}
    assert mixes(attention(AmongImages), job, tmp_path) > 1e-2
    assert mixes(attention(), job, tmp_path) < 1e-5


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"gamma": 0.0}, {"query", "key", "value"}),  # as upstream starts it
        ({"gamma": 1e-6}, {"gamma", "query", "key", "value"}),
        ({"norm_weight": 0.0}, {"norm"}),
        ({"norm_bias": -1e3}, {"query", "key", "value"}),  # behind a ReLU that is never open
        ({"classifier_weight": 0.0}, {"classifier"}),
    ],
)
def test_what_cannot_be_seen_is_named(values: dict[str, float], names: set[str], tmp_path: Path) -> None:
    found = faint(attention(**values), tmp_path)
    assert names <= set(found)
    assert max(found[name] for name in names) < 1e-5
    if "gamma" in values:
        assert set(found) == names


def test_what_has_no_gradient_is_tried_out(tmp_path: Path) -> None:
    class Detached(Attention):
        def forward(self, image: Any) -> Any:
            with paddle.no_grad():
                return super().forward(image)

    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32))
    model = Detached()
    draw_weights(model, np.random.default_rng(0))
    job = {"inputs": [{"name": "noise", "file": "x.npy", "strong": False}], "dtype": "float32"}
    assert examine(model, job, tmp_path)["faint"] == []


def test_nothing_is_left_behind_in_the_model(tmp_path: Path) -> None:
    model = attention()
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    faint(model, tmp_path)
    assert all(np.array_equal(before[name], tensor.numpy()) for name, tensor in model.state_dict().items())
    assert not model.training
    assert all(tensor.grad is None for tensor in model.parameters())


def with_witness(recording: Recording, **changes: Any) -> Recording:
    found = recording.result.witness
    assert found is not None
    return replace(recording, result=replace(recording.result, witness=replace(found, **changes)))


def test_the_embedded_default_is_a_strong_witness(embedded: Recorded) -> None:
    found = embedded.recording.result.witness
    assert isinstance(found, Witness)
    assert found.examined > 100
    assert found.faint == ()
    stage = weigh_witness(embedded.recording, Tolerances())
    assert (stage.compared, stage.gap, stage.warnings) == (found.examined, None, ())


def test_a_weak_witness_is_a_warning_that_names_the_layers_and_a_gap(embedded: Recorded) -> None:
    entries = (Faint("head.pam.query", 0.0), Faint("head.b\n", 9e-5), Faint("head.c", 2e-4))
    stage = weigh_witness(with_witness(embedded.recording, faint=entries), Tolerances())
    assert stage.verdict == "pass"
    (warning,) = stage.warnings
    assert "weak witness" in warning
    assert r"head.pam.query, head.b\n should do" in warning
    assert stage.gap is not None  # under --strict the verdict is inconclusive
    assert stage.expected - stage.compared == 2


def test_where_it_cannot_be_measured_that_is_said(embedded: Recorded) -> None:
    stage = weigh_witness(with_witness(embedded.recording, why="RuntimeError: no gradient"), Tolerances())
    assert stage.gap is not None
    assert "no gradient" in stage.gap


def test_a_change_of_any_one_tensor_of_the_embedded_default_is_seen(embedded: Recorded) -> None:
    assert unseen(embedded) == []
