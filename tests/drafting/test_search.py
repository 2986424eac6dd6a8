"""Small networks in which it is easy to take one layer for another: what is not shown is not called certain.

The source and the port are written apart here; `right` says which layer of the port is which of the source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.drafting.attempt import Attempt, Decision, Match
from ppls.drafting.confidence import confidence_of
from ppls.drafting.matching import Port
from ppls.drafting.networks import ModelNetwork
from ppls.drafting.recording import record
from ppls.drafting.search import Search
from ppls.drafting.units import Unit, units_of

Found = dict[str, tuple[str, bool]]  # by layer of the port: that of the source, and whether it is certain


class Net(nn.Module):
    """Layers by name, and a function that runs them."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.run = run

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.run(self, x)]


def conv(channels: int = 3, out: int = 3) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=1)


def searched(source: nn.Module, port: nn.Module) -> Found:
    torch.manual_seed(0)
    recording = record(ModelNetwork(source), (16, 24))
    search = Search(Port(port.double(), units_of(port), recording, lambda ours, theirs: 0.0), 60)
    search.run()
    return {
        unit.name: (match.source.name, confidence_of(match, search, lambda unit: unit.name)[0] == "certain")
        for unit, match in search.best.matches.items()
    }


def test_two_branches_that_are_added_are_exchangeable_and_stay_open() -> None:
    def added(net: nn.Module, x: Tensor) -> Tensor:
        return F.relu(net.a(x) + net.b(x))

    found = searched(Net(added, a=conv(), b=conv()), Net(added, a=conv(), b=conv()))
    assert not any(certain for _, certain in found.values())


@pytest.mark.parametrize("names", ["abc", "cab", "bca", "cba"])
def test_branches_of_one_input_are_told_apart_by_what_follows(names: str) -> None:
    def joined(net: nn.Module, x: Tensor) -> Tensor:
        return net.out(torch.cat([net.a(x), net.b(x), net.c(x)], 1))

    def otherwise(net: nn.Module, x: Tensor) -> Tensor:
        return net.out(torch.cat([getattr(net, name)(x) for name in names], 1))

    source = Net(joined, a=conv(), b=conv(), c=conv(), out=conv(9))
    found = searched(source, Net(otherwise, a=conv(), b=conv(), c=conv(), out=conv(9)))
    right = dict(zip(names, "abc", strict=True))
    assert found == {**{name: (right[name], True) for name in "abc"}, "out": ("out", True)}


def attention(net: nn.Module, x: Tensor, q: str = "q", k: str = "k", v: str = "v", scale: float = 1.0) -> Tensor:
    query, key, value = (getattr(net, name)(x).flatten(2) for name in (q, k, v))
    weights = (query.transpose(1, 2) @ key * scale).softmax(-1)
    return net.out((value @ weights.transpose(1, 2)).view_as(x))


def test_query_key_and_value_of_equal_shape_are_told_apart_whatever_they_are_called() -> None:
    layers = {name: conv() for name in ("q", "k", "v", "out")}
    port = Net(lambda net, x: attention(net, x, "v", "q", "k"), **{name: conv() for name in ("q", "k", "v", "out")})
    found = searched(Net(attention, **layers), port)
    assert found == {"v": ("q", True), "q": ("k", True), "k": ("v", True), "out": ("out", True)}


def test_behind_a_fault_query_and_key_are_right_or_not_certain() -> None:
    layers = {name: conv() for name in ("q", "k", "v", "out")}
    port = Net(
        lambda net, x: attention(net, x, "v", "q", "k", scale=0.1), **{name: conv() for name in ("q", "k", "v", "out")}
    )
    found = searched(Net(attention, **layers), port)
    right = {"v": "q", "q": "k", "k": "v", "out": "out"}
    assert not [name for name, (source, certain) in found.items() if certain and source != right[name]]


def chain(length: int, fault: float = 0.0) -> Net:
    """Layers of one shape in a row: one too many taken would move all others on."""

    def run(net: nn.Module, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=bool(fault))
        for number in range(length):
            x = F.relu(getattr(net, f"l{number}")(x)) + (0.5 * x if number == 2 else 0)
        return x

    return Net(run, **{f"l{number}": conv() for number in range(length)})


class Told:
    """A port of layers a, b and c; what a run of it comes to is told: a may be one of two, and the rest rests on it."""

    def __init__(self) -> None:
        self.a, self.b, self.c, self.first, self.second, self.third = (
            Unit(name, nn.Identity(), "conv", {}, at) for at, name in enumerate("abcxyz")
        )

    def attempt(self, decided: Mapping[Unit, Decision], stop: object = None) -> Attempt:
        decision = decided.get(self.a, Decision(self.first))
        if decision.source is None:
            return Attempt()
        a = Match(self.a, decision.source, (self.first, self.second), exact=False, input_error=0.3)
        other = self.b if decision.source is self.first else self.c
        return Attempt({self.a: a, other: Match(other, self.third)})


def test_what_is_otherwise_in_a_run_in_which_as_many_agree_is_not_certain() -> None:
    port = Told()
    search = Search(port, 60)  # type: ignore[arg-type]
    search.run()
    best = search.best.matches
    assert {unit.name: match.source.name for unit, match in best.items()} == {"a": "x", "b": "z"}
    found = {unit.name: confidence_of(match, search, lambda source: source.name)[0] for unit, match in best.items()}
    assert found == {"a": "open", "b": "likely"}


def test_a_layer_is_not_certain_whose_input_is_like_none_of_the_sources() -> None:
    port = Told()
    search = Search(port, 60)  # type: ignore[arg-type]
    for off, confidence in ((0.3, "certain"), (1.3, "likely")):
        match = Match(port.a, port.first, exact=False, input_error=off)
        assert confidence_of(match, search, lambda source: source.name)[0] == confidence


def test_in_a_chain_of_equal_layers_a_fault_at_its_beginning_moves_none() -> None:
    found = searched(chain(6), chain(6, fault=1.0))
    assert {name: source for name, (source, _) in found.items()} == {f"l{i}": f"l{i}" for i in range(6)}


@pytest.mark.parametrize(("theirs", "ours"), [(5, 6), (6, 5)])
def test_a_layer_too_many_or_too_few_leaves_no_wrong_row_certain(theirs: int, ours: int) -> None:
    found = searched(chain(theirs), chain(ours, fault=1.0))
    assert not [name for name, (source, certain) in found.items() if certain and source != name]


def test_a_branch_that_the_source_does_not_have_is_not_taken_for_one_that_it_has() -> None:
    def one(net: nn.Module, x: Tensor) -> Tensor:
        return net.out(F.relu(net.a(x)))

    def two(net: nn.Module, x: Tensor) -> Tensor:
        net.extra(x)
        return net.out(F.relu(net.a(x)))

    port = Net(two, extra=conv(), a=conv(), out=conv())
    found = searched(Net(one, a=conv(), out=conv()), port)
    assert found["a"] == ("a", True)
    assert found["out"] == ("out", True)
    assert "extra" not in found


def test_one_layer_that_runs_for_two_of_the_source_is_not_certain() -> None:
    def two(net: nn.Module, x: Tensor) -> Tensor:
        return net.out(F.relu(net.b(F.relu(net.a(x)))))

    def twice(net: nn.Module, x: Tensor) -> Tensor:
        return net.out(F.relu(net.a(F.relu(net.a(x)))))

    found = searched(Net(two, a=conv(), b=conv(), out=conv()), Net(twice, a=conv(), out=conv()))
    assert found["a"] == ("a", False)
    assert not [name for name, (source, certain) in found.items() if certain and source != name]


def test_channels_in_another_order_and_another_sign_are_found() -> None:
    def gate(net: nn.Module, x: Tensor) -> Tensor:
        y = net.a(x)
        w = net.bn(net.mix(torch.cat([x, y], 1))).sigmoid()
        return net.out(x * w + y * (1 - w))

    def swapped(net: nn.Module, x: Tensor) -> Tensor:
        y = net.a(x)
        w = net.bn(net.mix(torch.cat([y, x], 1))).sigmoid()
        return net.out(y * w + x * (1 - w))

    def layers() -> dict[str, nn.Module]:
        return {"a": conv(), "mix": conv(6, 1), "bn": nn.BatchNorm2d(1), "out": conv()}

    source, port = Net(gate, **layers()), Net(swapped, **layers())
    recording = record(ModelNetwork(source), (16, 24))
    search = Search(Port(port.double(), units_of(port), recording, lambda ours, theirs: 0.0), 60)
    search.run()
    found = {unit.name: match for unit, match in search.best.matches.items()}
    assert found["mix"].order == (3, 4, 5, 0, 1, 2)
    assert found["bn"].negated
    assert search.best.outputs
    assert not search.best.faults()


def test_a_table_that_changes_nothing_is_not_certain() -> None:
    class Table(nn.Module):
        def __init__(self, used: bool) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(3, 1, 1))
            self.used = used

        def forward(self, x: Tensor) -> Tensor:
            return x * (self.table if self.used else 1)

    def run(net: nn.Module, x: Tensor) -> Tensor:
        return net.out(net.scale(x))

    used = searched(Net(run, scale=Table(True), out=conv()), Net(run, scale=Table(True), out=conv()))
    assert used["scale"] == ("scale", True)
    unused = searched(Net(run, scale=Table(False), out=conv()), Net(run, scale=Table(False), out=conv()))
    assert unused["scale"][1] is False


class ActivatingNorm(nn.BatchNorm2d):
    """A normalisation that activates what it gives itself, as timm's do."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


@pytest.mark.parametrize("activate", [F.relu, F.hardswish])
def test_a_normalisation_that_activates_is_one_and_no_sign_is_made_up_for_what_it_gives(
    activate: Callable[[Tensor], Tensor],
) -> None:
    def plain(net: nn.Module, x: Tensor) -> Tensor:
        for at in (1, 2, 3):
            x = activate(getattr(net, f"n{at}")(getattr(net, f"c{at}")(x)))
        return net.out(x)

    def activating(net: nn.Module, x: Tensor) -> Tensor:
        for at in (1, 2, 3):
            x = getattr(net, f"n{at}")(getattr(net, f"c{at}")(x))
        return net.out(x)

    def layers(norm: type[nn.Module]) -> dict[str, nn.Module]:
        pairs = [(f"c{at}", conv()) for at in (1, 2, 3)] + [(f"n{at}", norm(3)) for at in (1, 2, 3)]
        return {**dict(pairs), "out": conv()}

    source, port = Net(plain, **layers(nn.BatchNorm2d)), Net(activating, **layers(ActivatingNorm))
    recording = record(ModelNetwork(source), (16, 24))
    search = Search(Port(port.double(), units_of(port), recording, lambda ours, theirs: 0.0), 60)
    search.run()
    found = {unit.name: match for unit, match in search.best.matches.items()}
    assert {name: match.source.name for name, match in found.items()} == {name: name for name in found}
    assert len(found) == 7
    assert not any(match.negated for match in found.values())
    assert bool(search.best.faults()) == (activate is not F.relu)  # the other one is seen behind it


def test_no_sign_is_made_up_because_a_fault_is_not_seen_with_it_and_something_else_agrees() -> None:
    def run(net: nn.Module, x: Tensor, sign: float) -> tuple[Tensor, Tensor]:
        y = net.a(x)
        return net.pool(y), sign * y

    def plain(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        return run(net, x, 1.0)

    def faulty(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled, other = run(net, x, -1.0)
        return 2 * pooled, other

    def pool(counts: bool) -> nn.Module:
        return nn.AvgPool2d(3, 2, 1, count_include_pad=counts)

    source, port = Net(plain, a=conv(), pool=pool(False)), Net(faulty, a=conv(), pool=pool(True))
    recording = record(ModelNetwork(source), (16, 24))
    search = Search(Port(port.double(), units_of(port), recording, lambda ours, theirs: 0.0), 60)
    search.run()
    assert [unit.name for unit in search.best.faults()] == ["pool"]
    assert not any(match.negated for match in search.best.matches.values())


def fused(net: nn.Module, x: Tensor, order: str) -> Tensor:
    parts = dict(zip(order, net.qkv(x).flatten(2).chunk(3, 1), strict=True))
    weights = (parts["q"].transpose(1, 2) @ parts["k"]).softmax(-1)
    return net.out((parts["v"] @ weights.transpose(1, 2)).view_as(x))


@pytest.mark.parametrize("order", ["qkv", "vqk"])
def test_query_key_and_value_that_the_port_has_in_one_are_told_apart(order: str) -> None:
    layers: dict[str, nn.Module] = {name: nn.Conv2d(3, 3, 1) for name in ("q", "k", "v", "out")}
    port = Net(lambda net, x: fused(net, x, order), qkv=nn.Conv2d(3, 9, 1), out=nn.Conv2d(3, 3, 1))
    found = searched(Net(attention, **layers), port)
    assert found == {"qkv": (" + ".join(order), True), "out": ("out", True)}


@pytest.mark.parametrize("order", ["qkv", "vqk"])
def test_behind_a_fault_query_key_and_value_in_one_are_gone_past_as_three_are(order: str) -> None:
    def behind(net: nn.Module, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor], faulty: bool) -> Tensor:
        x = F.relu(net.a(x))
        return F.relu(net.last(run(net, F.avg_pool2d(x, 3, 1, 1, count_include_pad=faulty))))

    def layers(**more: nn.Module) -> dict[str, nn.Module]:
        return {"a": conv(), **more, "out": nn.Conv2d(3, 3, 1), "last": conv()}

    source = Net(lambda net, x: behind(net, x, attention, False), **layers(**{n: nn.Conv2d(3, 3, 1) for n in "qkv"}))
    port = Net(
        lambda net, x: behind(net, x, lambda net, x: fused(net, x, order), True), **layers(qkv=nn.Conv2d(3, 9, 1))
    )
    found = searched(source, port)
    expected = {"a": ("a", True), "qkv": (" + ".join(order), True), "out": ("out", True), "last": ("last", True)}
    assert found == expected


def test_in_one_layer_whose_parts_are_added_no_order_is_certain() -> None:
    def added(net: nn.Module, x: Tensor) -> Tensor:
        return net.out(F.relu(net.a(x) + net.b(x)))

    def in_one(net: nn.Module, x: Tensor) -> Tensor:
        return net.out(F.relu(sum(net.both(x).chunk(2, 1))))  # type: ignore[arg-type]

    def one() -> nn.Module:
        return nn.Conv2d(3, 3, 1)

    found = searched(Net(added, a=one(), b=one(), out=one()), Net(in_one, both=nn.Conv2d(3, 6, 1), out=one()))
    assert found["out"] == ("out", True)
    assert not found["both"][1]
