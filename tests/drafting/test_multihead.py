"""torch's own attention, which runs no layers: it is filled from three, or from one, wherever it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.drafting.toys import MAP, Attention, settled


class OfTorch(nn.Module):
    """The same of torch's own attention, which runs no layers."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, stride=4)
        self.attn = nn.MultiheadAttention(4, 1, batch_first=batch_first)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.patches(x).flatten(2)
        x = x.transpose(1, 2) if self.attn.batch_first else x.permute(2, 0, 1)
        return [self.attn(x, x, x, need_weights=False)[0]]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("order", ["", "qkv", "vqk"])
def test_torchs_own_attention_is_filled_from_three_layers_or_from_one(
    order: str, batch_first: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    port = OfTorch(batch_first)
    found = settled(MAP, Attention(order, 0.5), port, tmp_path)
    rows = {row.target[0]: row for row in found.rows}
    if order == "vqk":  # which no operation says
        assert found.unmatched_source == ["attn.0.weight", "attn.0.bias"]
        assert found.unmatched_target == ["attn.in_proj_weight", "attn.in_proj_bias"]
        return
    assert found.settled, found
    names = ["attn.0"] if order else ["attn.0", "attn.1", "attn.2"]
    assert rows["attn.in_proj_weight"].source == tuple(f"{name}.weight" for name in names)
    assert rows["attn.in_proj_weight"].operation == ("transpose" if order else "transpose, concat")
    assert rows["attn.in_proj_bias"].source == tuple(f"{name}.bias" for name in names)
    assert rows["attn.out_proj.weight"].source == ("attn.1.weight" if order else "attn.3.weight",)
    assert "forward" not in vars(port.attn)  # it is as it was


class Crossing(nn.Module):
    """Attention to another map than it asks from, of two heads."""

    def __init__(self, of_torch: bool) -> None:
        super().__init__()
        self.patches, self.down = nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 4, 2, stride=2)
        linears = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))
        self.attn = nn.MultiheadAttention(4, 2, batch_first=True) if of_torch else linears

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.patches(x)
        x, y = (each.flatten(2).transpose(1, 2) for each in (x, self.down(x)))
        if isinstance(self.attn, nn.MultiheadAttention):
            return [self.attn(x, y, y)[0]]
        return [self.attn[3](attended(*(layer(z) for layer, z in zip(self.attn, (x, y, y), strict=False))))]


class Encoder(nn.Module):
    """A transformer's layer, query, key and value in one Linear; or torch's, tokens first, which runs as one kernel."""

    def __init__(self, of_torch: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, stride=4)
        if of_torch:
            self.layer = nn.TransformerEncoderLayer(4, 2, 8)
            return
        self.attn = nn.ModuleList(nn.Linear(*sides) for sides in ((4, 12), (4, 4), (4, 8), (8, 4)))
        self.norm = nn.ModuleList(nn.LayerNorm(4) for _ in range(2))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.patches(x).flatten(2)
        if hasattr(self, "layer"):
            return [self.layer(x.permute(2, 0, 1))]
        x = x.transpose(1, 2)
        x = self.norm[0](x + self.attn[1](attended(*self.attn[0](x).chunk(3, -1))))
        return [self.norm[1](x + self.attn[3](self.attn[2](x).relu()))]


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.unflatten(-1, (2, 2)).transpose(1, 2) for x in (q, k, v))
    return ((q @ k.transpose(-1, -2) * 0.5**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


def test_query_and_key_of_two_inputs_are_seen(tmp_path: Path) -> None:
    torch.manual_seed(0)
    text = MAP.replace("[patches,      patches,", "[<x:patches|down>, <x:patches|down>,")
    found = settled(text, Crossing(of_torch=False), Crossing(of_torch=True), tmp_path)
    assert found.settled, found
    rows = {row.target[0]: row.source for row in found.rows}
    assert rows["attn.in_proj_weight"] == ("attn.0.weight", "attn.1.weight", "attn.2.weight")
    assert rows["attn.out_proj.bias"] == ("attn.3.bias",)


def test_a_whole_layer_of_a_transformer_is_seen_that_torch_runs_as_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    text = f"{MAP}  - [norm.<i>, norm.<i>, layer_norm]\n"
    found = settled(text, Encoder(of_torch=False), Encoder(of_torch=True), tmp_path)
    assert found.settled, found
    rows = {row.target[0]: row.source for row in found.rows if row.target[0].endswith("weight")}
    ends = ["self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight"]
    assert [rows[f"layer.{end}"] for end in ends] == [(f"attn.{at}.weight",) for at in range(4)]
    assert [rows[f"layer.norm{at + 1}.weight"] for at in range(2)] == [(f"norm.{at}.weight",) for at in range(2)]
