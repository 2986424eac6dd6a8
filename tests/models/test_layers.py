"""BatchNorm2d against Paddle's, live and in float64: forward, gradients, running statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppls.models.layers import BatchNorm2d
from tests.conftest import run_upstream

CASES: dict[str, dict[str, Any]] = {
    "many_values": {"shape": [4, 3, 5, 7]},
    "two_values": {"shape": [2, 3, 1, 1]},
    "one_value": {"shape": [1, 3, 1, 1]},
    "slow_momentum": {"shape": [2, 3, 2, 2], "momentum": 0.99},
    "large_epsilon": {"shape": [2, 3, 2, 2], "epsilon": 1e-3},
}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    jobs = [{"name": name, "layer": True, "momentum": 0.9, "epsilon": 1e-5, **case} for name, case in CASES.items()]
    return run_upstream(jobs, tmp_path_factory.mktemp("batch_norm"))


def paddles_float(value: float) -> float:
    """Paddle keeps epsilon and momentum in float32, in a float64 model too."""
    return float(np.float32(value))


@pytest.mark.parametrize("name", CASES)
def test_batch_norm_trains_as_paddles(upstream: Path, name: str) -> None:
    record = {key: torch.from_numpy(value) for key, value in np.load(upstream / f"{name}.npz").items()}
    case = CASES[name]
    layer = BatchNorm2d(
        3,
        eps=paddles_float(case.get("epsilon", 1e-5)),
        momentum=1 - paddles_float(case.get("momentum", 0.9)),
        dtype=torch.float64,
    )
    layer.load_state_dict(
        {
            "weight": record["weight"],
            "bias": record["bias"],
            "running_mean": record["_mean"],
            "running_var": record["_variance"],
        }
    )
    image = record["input"].requires_grad_()
    output = layer.train()(image)
    output.backward(record["seed"])
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(output, record["output"], **close)
    torch.testing.assert_close(image.grad, record["input_gradient"], **close)
    torch.testing.assert_close(layer.weight.grad, record["weight_gradient"], **close)
    torch.testing.assert_close(layer.bias.grad, record["bias_gradient"], **close)
    torch.testing.assert_close(layer.running_mean, record["mean_after"], **close)
    torch.testing.assert_close(layer.running_var, record["variance_after"], **close)
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(image), record["eval"], **close)


def test_batch_norm_has_no_num_batches_tracked_and_loads_strictly() -> None:
    layer = BatchNorm2d(2)
    assert set(layer.state_dict()) == {"weight", "bias", "running_mean", "running_var"}
    plain = {name: tensor.clone() for name, tensor in layer.state_dict().items()}  # without torch's version metadata
    layer.load_state_dict(plain, strict=True)
    del plain["running_var"]
    with pytest.raises(RuntimeError, match="running_var"):
        layer.load_state_dict(plain, strict=True)
