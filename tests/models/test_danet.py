"""DANet: its two attentions by definition, gates, files without the heads for training, and options."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ppls
from ppls.models.danet import ChannelAttention, PositionAttention
from tests.architectures import run_live
from tests.checkpoints import save, state_of
from tests.options import Case, build, check

CASES = {
    "one map": Case(
        {"num_classes": 3, "backbone_indices": [2], "align_corners": True},
        {"backbone_indices": [2], "align_corners": True},
        shape=(2, 3, 49, 65),
    )
}


@pytest.fixture(scope="module", params=run_live(["DANet"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, CASES, tmp_path_factory.mktemp("danet"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    check(folder, name, CASES[name])


def test_a_pixel_takes_most_from_those_like_it_and_a_channel_from_those_unlike_it() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 3, 4)
    pixels, channels = PositionAttention(8), ChannelAttention()
    for attention in (pixels, channels):
        torch.nn.init.constant_(attention.gamma, 2.0)
    with torch.no_grad():
        query, key, value = (conv(x).flatten(2) for conv in (pixels.query, pixels.key, pixels.value))
        weights = torch.einsum("ncp,ncq->npq", query, key).softmax(2)  # of pixel q for pixel p
        expected = 2 * torch.einsum("npq,ncq->ncp", weights, value).reshape(x.shape) + x
        assert torch.allclose(pixels(x), expected, atol=1e-5)
        weights = (-torch.einsum("nchw,ndhw->ncd", x, x)).softmax(2)
        assert torch.allclose(channels(x), 2 * torch.einsum("ncd,ndhw->nchw", weights, x) + x, atol=1e-5)


def test_gates_start_closed() -> None:
    x = torch.randn(1, 8, 3, 4)
    with torch.no_grad():
        assert torch.equal(PositionAttention(8)(x), x)
        assert torch.equal(ChannelAttention()(x), x)


def test_without_the_heads_for_training_it_is_the_same_model(tmp_path: Path) -> None:
    state = state_of("DANet", "DANet-R50")
    assert "head.aux_head_pam.1.weight" not in state  # never run: it goes back all the same, and need not be there
    whole = ppls.convert(save(tmp_path / "whole.pdparams", state))
    heads = ("head.aux_head.", "head.aux_head_cam.")
    bare = ppls.convert(save(tmp_path / "bare.pdparams", {k: a for k, a in state.items() if not k.startswith(heads)}))
    assert (whole.config["auxiliary_heads"], bare.config["auxiliary_heads"]) == (True, False)
    assert len(whole.tensors) - len(bare.tensors) == 4
    model = ppls.load(tmp_path / "bare.pdparams").train()
    assert len(model(torch.zeros(2, 3, 32, 32))) == 1
