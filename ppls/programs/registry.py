"""The operators that can be run in torch, by what either form of a program calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from torch import nn

from ppls.programs.attributes import Attributes

Form = Literal["pdmodel", "pir"]
Run = Callable[..., Any]
Make = Callable[[Attributes], Run]


class Role(NamedTuple):
    """An input or an output.

    Attributes:
        name: that in a `.pdmodel`.
        several: whether several values may stand in its place.
        numbers: whether it is read as numbers, a size or a place, and not given as a tensor.
        unused: whether nothing is computed with it.
    """

    name: str
    several: bool
    numbers: bool
    unused: bool


class Operator(NamedTuple):
    """How an operation is run.

    Attributes:
        name: the first of its names in PIR, or of those in a `.pdmodel` where PIR has none.
        names: what each form calls it.
        make: from the attributes of an operation what computes it: a function of the inputs, in the order of `takes`,
            None for one that is not given; of several values a list. It returns the outputs in the order of `gives`.
            Of a layer, its module, which is called with the inputs that are no weights.
        takes, gives: the roles; those of `takes` stand in PIR's order, those that a `.pdmodel` alone has behind them.
        same: outputs that are one of the inputs, by name: what training would have updated.
        numbers: whether it takes numbers for any of its inputs; others are given tensors of them.
        like: whether it is given, as `like`, a tensor of the type and on the device that the network computes in.
        weights: of a layer, the name of each weight in its module, by role.
        constants: of a layer, inputs that the program must hold itself, each with the attribute that it then is.
        layer: whether `make` makes a module.
    """

    name: str
    names: Mapping[Form, tuple[str, ...]]
    make: Make
    takes: tuple[Role, ...]
    gives: tuple[Role, ...]
    same: Mapping[str, str]
    numbers: bool
    like: bool
    weights: Mapping[str, str]
    constants: Mapping[str, str]
    layer: bool

    @property
    def given(self) -> tuple[Role, ...]:
        """The roles of `takes` that what computes it is given."""
        return tuple(role for role in self.takes if not role.unused)


_OPERATORS: dict[tuple[Form, str], Operator] = {}


def operator(
    *,
    pir: str = "",
    pdmodel: str = "",
    takes: str = "X",
    gives: str = "Out",
    numbers: bool = False,
    like: bool = False,
) -> Callable[[Make], Make]:
    """Registers what makes an operator.

    Args:
        pir, pdmodel: its names in either form, with spaces between them.
        takes, gives: the roles, with spaces between them; a star stands behind one that may be of several values, a
            `#` before one that is read as numbers, a `-` before one that nothing is computed with.

    Raises:
        ValueError: one of the names is registered already.
    """

    def register(make: Make) -> Make:
        _add(make, pir, pdmodel, takes, gives, numbers=numbers, like=like)
        return make

    return register


def layer(
    *,
    pir: str = "",
    pdmodel: str = "",
    takes: str = "X",
    gives: str = "Out",
    same: Mapping[str, str] | None = None,
    weights: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
) -> Callable[[Callable[[Attributes], nn.Module]], Callable[[Attributes], nn.Module]]:
    """Registers what makes a module, for an operator that is another in training; see `operator`."""

    def register(make: Callable[[Attributes], nn.Module]) -> Callable[[Attributes], nn.Module]:
        _add(make, pir, pdmodel, takes, gives, same=same, weights=weights, constants=constants, layer=True)
        return make

    return register


def find(form: Form, name: str) -> Operator | None:
    """The operator of this name."""
    return _OPERATORS.get((form, name))


def every() -> list[Operator]:
    """All of them, by name."""
    return sorted({id(found): found for found in _OPERATORS.values()}.values(), key=lambda found: found.name)


def _add(
    make: Make,
    pir: str,
    pdmodel: str,
    takes: str,
    gives: str,
    *,
    numbers: bool = False,
    like: bool = False,
    same: Mapping[str, str] | None = None,
    weights: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
    layer: bool = False,
) -> None:
    names: dict[Form, tuple[str, ...]] = {"pir": tuple(pir.split()), "pdmodel": tuple(pdmodel.split())}
    found = Operator(
        (names["pir"] or names["pdmodel"])[0],
        names,
        make,
        _roles(takes),
        _roles(gives),
        same or {},
        numbers,
        like,
        weights or {},
        constants or {},
        layer,
    )
    for form, own in names.items():
        for name in own:
            if (form, name) in _OPERATORS:
                raise ValueError(f"the operator {name} of {form} is registered twice")
            _OPERATORS[form, name] = found


def _roles(text: str) -> tuple[Role, ...]:
    return tuple(
        Role(name.strip("#*-"), name.endswith("*"), name.startswith("#"), name.startswith("-")) for name in text.split()
    )
