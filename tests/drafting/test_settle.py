"""What a search found, as rows of a map: layers that the port has in one, as another kind, or folded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.drafting.toys import MAP, Attention, settled


@pytest.mark.parametrize("order", ["qkv", "vkq"])
def test_query_key_and_value_in_one_layer_are_put_together_in_its_order(order: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = settled(MAP, Attention(), Attention(order), tmp_path)
    assert found.settled, found
    expected = [f"attn.{'qkv'.index(name)}" for name in order]
    rows = {row.target: row for row in found.rows}
    assert rows["attn.0.weight",].source == tuple(f"{name}.weight" for name in expected)
    assert rows["attn.0.weight",].operation == "transpose, concat"
    assert rows["attn.0.bias",].source == tuple(f"{name}.bias" for name in expected)
    assert rows["attn.1.weight",].source == ("attn.3.weight",)
    sources = ", ".join(f"{name}.weight" for name in expected)
    assert found.tensors[0].text == f"from: [{sources}], to: attn.0.weight, transpose: [1, 0], concat: {{dim: 0}}"


class OfMaps(nn.Module):
    """The attention with convolutions of one pixel in the place of Linears, and the other way for the patches' own."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, stride=4)
        self.attn = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(4))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.patches(x)
        q, k, v = (self.attn[at](x).flatten(2) for at in (2, 0, 1))
        weights = (q.transpose(1, 2) @ k).softmax(-1)
        return [self.attn[3]((v @ weights.transpose(1, 2)).view_as(x))]


@pytest.mark.parametrize("port_has_maps", [True, False])
def test_a_linear_and_a_convolution_of_one_pixel_are_each_known_as_the_other(
    port_has_maps: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    source, port = (Attention(), OfMaps()) if port_has_maps else (OfMaps(), Attention())
    text = MAP if port_has_maps else MAP.replace("linear", "conv")
    found = settled(text, source, port, tmp_path)
    assert found.settled, found
    rows = {row.target[0]: row for row in found.rows}
    places = (1, 2, 0, 3) if port_has_maps else (2, 0, 1, 3)
    assert [rows[f"attn.{at}.weight"].source for at in range(4)] == [(f"attn.{at}.weight",) for at in places]
    said = "transpose, {unsqueeze: [2, 3]}" if port_has_maps else "{squeeze: [2, 3]}"
    assert {rows[f"attn.{at}.weight"].operation for at in range(4)} == {said}
    assert rows["attn.0.bias"].operation == rows["patches.weight"].operation == ""
    kind, options = (
        ("linear", "weight: {unsqueeze: [2, 3]}") if port_has_maps else ("conv", "weight: {squeeze: [2, 3]}")
    )
    assert {(row.kind, row.options) for row in found.layers if row.source != "patches"} == {(kind, options)}


FOLDED = """\
format: 2
architecture: Toy
target: none
modules:
  - [<x:a|b|out>,  <x:a|b|out>,  conv]
  - [bn_<x:a|b>,   bn_<x:a|b>,   batch_norm]
"""


class Folded(nn.Module):
    """Two convolutions, each with a BatchNorm behind it, or none where it was folded, and one without."""

    def __init__(self, bias: bool, norms: bool) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(3, 3, 3, bias=bias) for _ in range(2))
        self.out = nn.Conv2d(3, 5, 1)
        if norms:
            self.bn_a, self.bn_b = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> list[Tensor]:
        for name in "ab":
            x = getattr(self, name)(x)
            x = (getattr(self, f"bn_{name}")(x) if hasattr(self, f"bn_{name}") else x).relu()
        return [self.out(x)]


@pytest.mark.parametrize("bias", [False, True])
def test_a_folded_normalisation_is_unmatched_and_the_reason_is_said(bias: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = settled(FOLDED, Folded(bias, norms=True), Folded(True, norms=False), tmp_path)
    assert {name for name in found.unmatched_source if name.startswith("bn_")} == {
        f"bn_{conv}.{name}" for conv in "ab" for name in ("weight", "bias", "_mean", "_variance")
    }
    assert any("bn_a" in note and "bn_b" in note and "folded" in note for note in found.notes), found.notes
    assert not [row for row in found.rows if row.confidence == "certain" and row.source[0][:2] in ("a.", "b.")]
    whole = settled(FOLDED, Folded(bias, norms=True), Folded(bias, norms=True), tmp_path)
    assert whole.settled
    assert not whole.notes
