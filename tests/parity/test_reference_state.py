"""A run of the reference leaves nothing behind: what one stage updates, the next would begin from."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")
pytest.importorskip("paddleseg")

from ppls.parity.reference.forward import _forward  # noqa: E402  # imports paddle
from ppls.parity.reference.network import run_all_heads  # noqa: E402
from ppls.parity.reference.state import state_kept  # noqa: E402


class Restless(paddle.nn.Layer):  # type: ignore[misc, name-defined]
    """In training mode it updates buffers in both ways that there are, as EMANet its bases, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: Any
        self.register_buffer("mean", paddle.ones([3]))
        self.register_buffer("steps", paddle.zeros([1], dtype="int64"))
        self.norm = paddle.nn.BatchNorm2D(3)
        self.calls = 0
        self.seen: list[Any] = []

    def forward(self, x: Any) -> Any:
        x = x * self.mean.reshape([1, 3, 1, 1]) + paddle.rand([1]) + np.random.rand() + random.random()
        if self.training:
            self.mean = self.mean * 0.5  # another tensor in its place
            self.steps.add_(paddle.ones([1], dtype="int64"))
            self.calls += 1
            self.seen.append(x.shape)
            self.left_behind = paddle.ones([1])
        return self.norm(x)


def test_whatever_a_run_in_training_mode_updates_is_as_it_was_after() -> None:
    model = Restless()
    model.eval()
    mean, before = model.mean, {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    x = paddle.ones([2, 3, 4, 4])
    with state_kept(model):
        model.train()
        first = model(x)
        assert float(model.norm._mean.sum()) != 0.0
    with state_kept(model):
        model.train()
        assert np.array_equal(model(x).numpy(), first.numpy())  # draws the same numbers too
    assert model.mean is mean
    assert {name: tensor.numpy().tolist() for name, tensor in model.state_dict().items()} == {
        name: array.tolist() for name, array in before.items()
    }
    assert (model.calls, model.seen, model.training, model.norm.training) == (0, [], False, False)
    assert not hasattr(model, "left_behind")


def test_the_heads_run_twice_give_the_same_twice(tmp_path: Any) -> None:
    model = Restless()
    np.save(tmp_path / "x.npy", np.ones((1, 3, 4, 4), np.float32))
    runs = []
    for _ in range(2):
        run_all_heads(model)
        runs.append(_forward(model, tmp_path / "x.npy", "float32")[""])
    assert np.array_equal(*runs)
