"""Toys whose maps are a few rows: a source and a port are written apart, and what is drafted between them is told."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ppls.converter.expected import SidesOfImages
from ppls.drafting.matching import Port
from ppls.drafting.networks import ModelNetwork
from ppls.drafting.recording import record
from ppls.drafting.rows import Rows
from ppls.drafting.search import Search
from ppls.drafting.settle import Settling
from ppls.drafting.source import source_of_model
from ppls.drafting.units import units_of
from ppls.mappings.map_file import load_map

MAP = """\
format: 2
architecture: Toy
target: none
modules:
  - [patches,      patches,      conv]
  - [attn.<i>,     attn.<i>,     linear]
"""


class Attention(nn.Module):
    """A layer of attention over patches; `order` is how the one layer has query, key and value, if there is one."""

    def __init__(self, order: str = "", scale: float = 1.0) -> None:
        super().__init__()
        self.order, self.scale = order, scale
        self.patches = nn.Conv2d(3, 4, 4, stride=4)
        layers = [nn.Linear(4, 12), nn.Linear(4, 4)] if order else [nn.Linear(4, 4) for _ in range(4)]
        self.attn = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.order:
            parts = dict(zip(self.order, self.attn[0](x).chunk(3, -1), strict=True))
        else:
            parts = {name: self.attn[at](x) for at, name in enumerate("qkv")}
        weights = (self.scale * parts["q"] @ parts["k"].transpose(1, 2)).softmax(-1)
        return [self.attn[-1](weights @ parts["v"])]


def settled(text: str, model: nn.Module, port: nn.Module, folder: Path) -> Rows:
    (folder / "toy.yaml").write_text(text)
    map = load_map(folder / "toy.yaml")
    source = source_of_model(map, {}, ModelNetwork(model), SidesOfImages())
    units = units_of(port.double())
    search = Search(Port(port, units, record(source.network, (16, 24)), lambda ours, theirs: 0.0), 60)
    search.run()
    return Settling(source, search, [], units, lambda unit: unit.name).all()
