"""What one run of the port comes to: which layer was filled with which, and how near what it gave is."""

from __future__ import annotations

from dataclasses import dataclass, field

from ppls.drafting.comparing import NEAR
from ppls.drafting.units import OTHER, Unit
from ppls.drafting.words import likeness


@dataclass(frozen=True)
class Decision:
    """What a layer of the port is to be filled with, in place of what it would be: a source, none, or with another
    sign."""

    source: Unit | None
    negated: bool = False
    noise: bool = False


@dataclass(eq=False)
class Match:
    """A layer of the port and what it was filled with.

    Attributes:
        rivals: other layers of the source that saw this input too.
        exact: the input was the very same; else it was the nearest, and was put in the place of what came.
        order: of the input's channels, where it is another.
        negated: the weights have the other sign.
        folded: the layer of the source whose bias went into this normalisation's mean.
        lacks_bias: the port's layer has none, where the source's has.
        activates: it is a normalisation that agrees before the activation that its own class puts behind it.
        input_error, output_error: how far they are from the source's; of an input that is not the same its `distance`.
    """

    target: Unit
    source: Unit
    rivals: tuple[Unit, ...] = ()
    exact: bool = True
    order: tuple[int, ...] | None = None
    negated: bool = False
    folded: Unit | None = None
    lacks_bias: bool = False
    activates: bool = False
    input_error: float = 0.0
    output_error: float = 0.0

    @property
    def good(self) -> bool:
        return self.exact and self.output_error <= NEAR


class FailedTrialError(Exception):
    """A trial has failed, and need not be run to its end."""


@dataclass(eq=False)
class Attempt:
    """What one run of the port came to.

    Attributes:
        matches: in the order of execution.
        lost: layers that ran and found no source.
        conflicts: by such a layer, those that have what it would have.
        outputs: whether those in eval mode are the source's; None where they cannot be compared.
        stopped: the run was ended early, for it failed where a better one did not.
    """

    matches: dict[Unit, Match] = field(default_factory=dict)
    lost: dict[Unit, list[Unit]] = field(default_factory=dict)
    wrong_calls: set[Unit] = field(default_factory=set)
    outputs: bool | None = None
    stopped: bool = False

    @property
    def score(self) -> float:
        """The number of layers that agree; of two ways that do equally, the one that needs no operation is better."""
        good = sum(match.good and match.target not in self.wrong_calls for match in self.matches.values())
        special = sum(match.negated or match.order is not None for match in self.matches.values())
        return -1.0 if self.stopped else good + (0.5 if self.outputs else 0.0) - 0.1 * special / (1 + special)

    def faults(self) -> list[Unit]:
        """Layers that did not see, or did not give, what the source's did, in the order of execution."""
        found = [unit for unit, match in self.matches.items() if not match.good or unit in self.wrong_calls]
        return [*found, *self.lost]


def pairs_of_tensors(target: Unit, source: Unit) -> dict[str, str]:
    """The tensors of the port's layer, each with the source's: by name in a layer, by shape in anything else."""
    if target.kind != OTHER:
        return {name: name for name in target.tensors if name in source.tensors}
    left = dict(source.shapes)
    found = {}
    for name, shape in target.shapes.items():
        fitting = [other for other in left if left[other] == shape]
        if fitting:
            found[name] = max(fitting, key=lambda other: likeness(name, other))
            del left[found[name]]
    return found
