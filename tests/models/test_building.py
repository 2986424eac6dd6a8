"""A model is built for the tensors of a file, without values until it is filled, and with what no file fills."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ppls.errors import CheckpointError
from ppls.models.building import build_to_fit


class Layers(nn.Module):
    """Some layers, and tensors of its own that no state dict holds."""

    def __init__(self, width: int = 2, depth: int = 1, own: str = "") -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        if own == "buffer":
            self.register_buffer("places", torch.arange(width), persistent=False)
        elif own == "attribute":
            self.places = torch.arange(width)


def shapes(width: int = 2, depth: int = 1) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in Layers(width, depth).state_dict().items()}


def test_a_model_that_its_file_fills_takes_no_memory_before() -> None:
    model = build_to_fit(Layers, {"width": 5000}, {"layers.0.weight": (5000, 5000), "layers.0.bias": (5000,)}, "x")
    assert all(tensor.is_meta for tensor in model.state_dict().values())


@pytest.mark.parametrize("own", ["buffer", "attribute"])
def test_tensors_that_no_file_fills_have_their_values(own: str) -> None:
    model = build_to_fit(Layers, {"own": own}, shapes(), "x")
    model.load_state_dict({name: torch.ones(shape) for name, shape in shapes().items()}, assign=True)
    assert isinstance(model, Layers)
    assert model.places.tolist() == [0, 1]
    assert not any(tensor.is_meta for tensor in model.state_dict().values())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"width": 3}, r"wrong shape: layers\.0\.weight \[2, 2\], the model has \[3, 3\]"),
        ({"depth": 2}, r"missing: layers\.1\.weight"),
        ({"depth": 0}, r"unexpected: layers\.0\.weight; the model of this config has no layers\.0\.weight"),
        ({"depth": 5000}, "more than 104 layers"),
        ({"width": 10**9}, "larger than every side"),
        ({"width": {"a": [[10**9]]}}, "larger than every side"),
        ({"width": "two"}, "no Layers of its 2 tensors can be built with"),
        ({"width": -1}, "no Layers of its 2 tensors can be built with"),
        ({"more": 1}, "unexpected keyword argument 'more'"),
    ],
)
def test_a_config_of_another_model_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        build_to_fit(Layers, config, shapes(), "x")


@pytest.mark.filterwarnings("error")
def test_what_torch_thinks_of_a_size_of_0_is_not_shown() -> None:
    with pytest.raises(CheckpointError, match=r"wrong shape: layers\.0\.weight \[2, 2\], the model has \[0, 0\]"):
        build_to_fit(Layers, {"width": 0}, shapes(), "x")


def test_of_many_differences_the_first_are_shown() -> None:
    with pytest.raises(CheckpointError, match="and 180 more") as caught:
        build_to_fit(Layers, {"width": 3, "depth": 100}, shapes(depth=100), "x")
    assert str(caught.value).count("\n") == 21
