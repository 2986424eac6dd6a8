"""The public ports of PP-LiteSeg: what is drafted says what the maps of the package say.

Their code is not here: ppls's model computes what they compute, under the names of their state dicts
(`tests/mappings/ports`), with their swapped roles, their missing biases and their pools that count the padding.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ppls.converter.expected import recipe_config
from ppls.drafting.draft import draft
from ppls.drafting.source import source_of
from ppls.drafting.units import units_of
from ppls.mappings.map_file import architectures, load_map, named_file
from ppls.mappings.maps import Map
from ppls.models.pp_liteseg import FusionModule, PPLiteSeg
from ppls.models.resize import resize
from tests.drafting.ports import Port

NAMES = Path(__file__).parents[1] / "mappings" / "ports"


def config_of(map: Map) -> dict[str, Any]:
    """PP-LiteSeg-T, narrower: its names are the same."""
    narrow = {"arm_out_chs": [8, 16, 16], "cm_out_ch": 16, "seg_head_inter_chs": [8, 8, 8]}
    backbone = {"type": "STDCNet", "base": 16, "layers": [2, 2, 2]}
    return {**recipe_config(map, "PP-LiteSeg-T"), **narrow, "backbone": backbone}


class SwappedFusion(nn.Module):
    """super-gradients' fusion: the attention sees the coarse map first, and weighs it."""

    def __init__(self, fusion: FusionModule) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        fusion = self.fusion
        assert fusion.attention is not None
        low = fusion.conv_low(low)
        high = resize(high, low.shape[-2:], "bilinear")
        pooled = [map(1) for x in (high, low) for map in (_mean(x), _maximum(x))]
        weight = fusion.attention.excite(fusion.attention.squeeze(torch.cat(pooled, 1))).sigmoid()
        return fusion.conv_out(high * weight + low * (1 - weight))  # type: ignore[no-any-return]


def _mean(x: Tensor) -> Any:
    return lambda dim: x.mean(dim, keepdim=True)


def _maximum(x: Tensor) -> Any:
    return lambda dim: x.amax(dim, keepdim=True)


def under_names_of(port: str, model: nn.Module, own: nn.Module) -> Port:
    """The model with each layer under the port's name, by the package's map: that is what is to be found out."""
    map = architectures()["PPLiteSeg"]
    other = load_map(named_file(port))
    origins = source_of(map, config_of(map)).origins
    modules = dict(own.named_modules())
    names: dict[str, str] = {}
    for unit in units_of(own):
        for tensor in unit.tensors:
            (source,) = origins[unit.tensor_name(tensor)].sources
            for rule, _, indices in other.forward.matches(source):
                if len(rule.sources) == 1:
                    names[unit.name] = rule.targets[0].fill(indices).rpartition(".")[0]
        if unit.kind == "pool":
            sources = [row.source.fill(i) for row in map.rows if (i := row.target.match(unit.name)) is not None]
            names.update((unit.name, pair.target) for pair in other.pair_modules(sources))
    held = {name: new for name, new in names.items() if name in modules}
    return Port(own, held)


def super_gradients() -> Port:
    map = architectures()["PPLiteSeg"]
    torch.manual_seed(0)
    model = PPLiteSeg(**{**config_of(map), "auxiliary_heads": False})
    for module in model.modules():
        if isinstance(module, nn.AvgPool2d):
            module.count_include_pad = True
    for conv in (*(branch.conv for branch in model.context.branches), model.context.conv_out.conv):
        conv.bias = None
    port = under_names_of("ports/super_gradients", model, model)
    for at, fusion in enumerate(model.decoder):
        model.decoder[at] = SwappedFusion(fusion)
    return port


def midasklr() -> Port:
    map = architectures()["PPLiteSeg"]
    torch.manual_seed(0)
    model = PPLiteSeg(**{**config_of(map), "resize_mode": "nearest", "context_resize_mode": "nearest"})
    for module in model.modules():
        if isinstance(module, nn.AvgPool2d):
            module.count_include_pad = True
    port = under_names_of("ports/midasklr", model, model)
    port.backbone.conv_last = nn.Sequential()
    port.backbone.conv_last.conv = nn.Conv2d(16, 16, 1, bias=False)
    port.backbone.x2 = nn.Sequential(nn.Sequential(port.backbone.features.get_submodule("0")))  # an alias
    return port


def table(map: Map, sources: list[str]) -> dict[str, tuple[tuple[str, ...], Any]]:
    """What each tensor of the port is made of, and how."""
    stored = dict.fromkeys(sources)
    found: dict[str, tuple[tuple[str, ...], Any]] = {}
    for name in stored:
        for rule, at, indices in map.forward.matches(name):
            whole = tuple(pattern.fill(indices) for pattern in rule.sources)
            if at == 0 and set(whole) <= stored.keys():
                found |= {target.fill(indices): (whole, rule.operation) for target in rule.targets}
    return found


@pytest.mark.parametrize(
    ("shipped", "build"), [("ports/super_gradients", super_gradients), ("ports/midasklr", midasklr)]
)
def test_the_shipped_map_comes_out(shipped: str, build: Any, tmp_path: Path) -> None:
    map = architectures()["PPLiteSeg"]
    port = build()
    found = draft(map, config_of(map), port)
    (tmp_path / "drafted.yaml").write_text(found.text)
    drafted = load_map(tmp_path / "drafted.yaml")
    sources = [name for origin in source_of(map, config_of(map)).origins.values() for name in origin.sources]
    wanted = table(load_map(named_file(shipped)), sources)
    got = table(drafted, sources)
    has = json.loads((NAMES / f"{shipped.removeprefix('ports/')}_t.json").read_text())
    wanted = {name: row for name, row in wanted.items() if name in has}
    assert got == wanted
    assert found.settled, (found.rows.counted(), found.rows.open)
    assert not any(".x2." in target for row in found.rows.rows for target in row.target)  # an alias
    said = found.text.partition("modules:")[2].partition("\n\n")[0]
    assert len(said.splitlines()) < 16, said  # as a person would write it
    unused = {"backbone.conv_last.conv.weight": "never runs"}
    assert found.rows.keep == (unused if build is midasklr else {})
    assert sum(".skip" in note for note in found.rows.notes) == 3  # the pools that count their padding
