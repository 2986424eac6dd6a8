"""Ports that nobody would write: whatever they are called, no row is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from ppls.drafting.draft import Draft, draft
from ppls.mappings.map_file import architectures
from ppls.models.mix_transformer import Attention
from tests.drafting.ports import (
    SMALL,
    Port,
    backwards,
    flattened,
    misleading,
    port_of,
    renamed,
    reordered,
    scrambled,
    truth,
)


def drafted(name: str, port: Port) -> Draft:
    return draft(architectures()[name], SMALL[name], port)


def check_rows(name: str, found: Draft, layers: Mapping[str, str]) -> None:
    """No row is wrong, whatever it is called."""
    map = architectures()[name]
    for row in found.rows.rows:
        if row.confidence == "open":
            continue
        for target in row.target:
            wanted = truth(map, layers, target)
            if len(row.target) > 1 and wanted is None:  # a part of what ppls's own model has in one
                continue
            assert wanted is not None, (target, row)
            assert set(wanted) <= set(row.source), (target, row)


@pytest.mark.parametrize(
    ("name", "rename"),
    [
        ("PPLiteSeg", renamed),
        ("PPLiteSeg", reordered),
        ("PPLiteSeg", flattened),
        ("PPLiteSeg", scrambled),
        ("PPLiteSeg", backwards),
        ("PPLiteSeg", misleading),
        ("SegFormer", scrambled),
        ("SegFormer", misleading),
    ],
)
def test_names_that_say_nothing_or_something_wrong_mislead_nobody(
    name: str, rename: Callable[..., dict[str, str]]
) -> None:
    port, layers = port_of(name, rename)
    found = drafted(name, port)
    check_rows(name, found, layers)
    assert found.settled, (found.rows.counted(), found.rows.unmatched_source)
    filled = {target for row in found.rows.rows for target in row.target}
    assert filled == {key for key in port.state_dict() if not key.endswith("num_batches_tracked")}


def padded(model: nn.Module) -> None:
    """Pools that count their padding, as every public port has them."""
    for module in model.modules():
        if isinstance(module, nn.AvgPool2d):
            module.count_include_pad = True


def test_a_fault_of_the_port_is_gone_past_and_named() -> None:
    port, layers = port_of("PPLiteSeg", scrambled, padded)
    found = drafted("PPLiteSeg", port)
    check_rows("PPLiteSeg", found, layers)
    assert not found.rows.unmatched_source
    assert sum("what comes to it is not what comes to" in note for note in found.rows.notes) == 3


def other_epsilon(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5


def test_another_epsilon_passes_and_is_named() -> None:
    port, layers = port_of("SegFormer", scrambled, other_epsilon)
    found = drafted("SegFormer", port)
    check_rows("SegFormer", found, layers)
    assert found.settled
    assert any("an epsilon of 1e-05, where the source has 1e-06" in note for note in found.rows.notes)


class SplitAttention(nn.Module):
    """Attention whose key and value are layers of their own, as in transformers."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        width = attention.key_value.in_features
        self.attention = attention
        self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)
        del attention.key_value

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return Attention.forward(self.attention, x, size)


class Fused(nn.Module):
    """Runs two layers in the place of one that was both."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "layers", layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([layer(x) for layer in self.layers], -1)


def split(model: nn.Module) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Attention):
                other = SplitAttention(child)
                child.key_value = Fused(other.key, other.value)
                setattr(module, name, other)


@pytest.mark.parametrize("rename", [renamed, scrambled])
def test_a_fused_key_and_value_is_split_and_neither_taken_for_the_other(rename: Callable[..., dict[str, str]]) -> None:
    port, layers = port_of("SegFormer", rename, split)
    found = drafted("SegFormer", port)
    assert found.settled, (found.rows.counted(), found.rows.open)
    rows = [row for row in found.rows.rows if len(row.target) == 2]
    assert len(rows) == 10  # five blocks, weight and bias
    for row in rows:
        key, value = (layers[target.rpartition(".")[0]] for target in row.target)
        assert key.endswith(".key")
        assert value == key.removesuffix("key") + "value"
        assert ".attn.kv." in row.source[0]
        assert row.operation == ("transpose, split" if row.source[0].endswith("weight") else "split")
        block = key.removeprefix("backbone.stages.").partition(".attention")[0].split(".blocks.")
        assert row.source[0].startswith(f"backbone.block{int(block[0]) + 1}.{block[1]}.attn.kv.")
    check_rows("SegFormer", found, layers)


def test_a_split_that_is_only_likely_is_marked_in_the_map() -> None:
    port, _ = port_of("SegFormer", renamed, split)
    found = draft(architectures()["SegFormer"], SMALL["SegFormer"], port, seconds=0.0)
    assert {row.confidence for row in found.rows.rows if len(row.target) == 2} == {"likely"}
    lines = [line for line in found.text.splitlines() if "split:" in line]
    assert len(lines) >= 2
    assert all(line.endswith("}  # likely: not every alternative was tried in the time there was") for line in lines)


def test_a_layer_that_the_source_lacks_and_one_that_the_port_lacks_are_said() -> None:
    def changed(model: nn.Module) -> None:
        model.extra = nn.Conv2d(7, 7, 1)

    port, layers = port_of("PPLiteSeg", flattened, changed)
    last = max(layers, key=lambda name: int(name[1:]))
    found = drafted("PPLiteSeg", port)
    check_rows("PPLiteSeg", found, {k: v for k, v in layers.items() if k != last})
    assert found.rows.keep == {f"{last}.weight": "never runs", f"{last}.bias": "never runs"}


def test_what_is_filled_is_put_in_float64_and_nothing_else_of_torch_is_changed() -> None:
    state = torch.random.get_rng_state()
    port, _ = port_of("PPLiteSeg", renamed)
    before = torch.random.get_rng_state()
    drafted("PPLiteSeg", port)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.random.set_rng_state(state)
