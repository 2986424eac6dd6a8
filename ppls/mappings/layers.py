"""The layers of a map and their counterparts, and how the activations of the two compare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ppls.mappings.operations import Negate, Operation, Permute, Squeeze, Unsqueeze, steps_of
from ppls.mappings.patterns import Pattern, shape_of_name
from ppls.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHANNELS_LAST = ("linear", "layer_norm")
_ELEMENTWISE = ("batch_norm", "layer_norm", "group_norm", "pool")


@dataclass(eq=False, repr=False)
class ModuleRow:
    """A layer and its counterpart; `operations` by the source's name of a tensor, where it is more than renamed."""

    source: Pattern
    target: Pattern
    kind: str
    operations: Mapping[str, Operation]
    numerics: Mapping[str, float]
    line: int


@dataclass(eq=False, repr=False)
class ModulePair:
    """One layer of the reference and its counterpart, and how their activations compare.

    `input_steps` and `output_steps` bring the reference's activation into the target's layout. Where
    `output_comparable` is False (a bias was folded into the BatchNorm that follows) only the input can be compared.
    """

    source: str
    target: str
    kind: str
    input_steps: tuple[Operation, ...] = ()
    output_steps: tuple[Operation, ...] = ()
    output_comparable: bool = True

    def input(self, activation: NDArray[Any]) -> NDArray[Any]:
        """The reference's input of the layer, as the target should receive it."""
        return _apply(self.input_steps, activation)

    def output(self, activation: NDArray[Any]) -> NDArray[Any]:
        """The reference's output of the layer, as the target should return it."""
        return _apply(self.output_steps, activation)


def pairs_of(rows: Sequence[ModuleRow], folded: Sequence[Pattern], source_names: Iterable[str]) -> list[ModulePair]:
    """The layers among the reference's modules `source_names` with their counterparts, in the order given.

    A layer that the target has as another kind, a Linear as a convolution, is none of them: what it takes and gives is
    laid out otherwise there, and what follows tells whether it is right.

    Args:
        folded: the biases that were folded into what follows.
    """
    by_shape: dict[str, list[ModuleRow]] = defaultdict(list)
    for row in rows:
        if not any(
            isinstance(step, (Squeeze, Unsqueeze)) for each in row.operations.values() for step in steps_of(each)
        ):
            by_shape[row.source.template].append(row)
    pairs = []
    for name in source_names:
        for row in by_shape[shape_of_name(name)]:
            indices = row.source.match(name)
            if indices is None:
                continue
            inputs, outputs = _activation_steps(row)
            comparable = not any(pattern.match(f"{name}.bias") is not None for pattern in folded)
            pairs.append(ModulePair(name, row.target.fill(indices), row.kind, inputs, outputs, comparable))
    return pairs


def _activation_steps(row: ModuleRow) -> tuple[tuple[Operation, ...], tuple[Operation, ...]]:
    """What the operations on a layer's weight mean for its input and its output."""
    channels = -1 if row.kind in _CHANNELS_LAST else 1
    inputs: list[Operation] = []
    outputs: list[Operation] = []
    for step in steps_of(row.operations.get("weight", Operation())):
        if isinstance(step, Negate):
            outputs.append(step)
        elif isinstance(step, Permute):
            permuted = Permute(channels, step.order)
            if row.kind in _ELEMENTWISE:
                inputs.append(permuted)
                outputs.append(permuted)
            else:
                (outputs if step.dim == 0 else inputs).append(permuted)
    return tuple(inputs), tuple(outputs)


def _apply(steps: Sequence[Operation], activation: NDArray[Any]) -> NDArray[Any]:
    for step in steps:
        (activation,) = step.apply([activation], str(activation.dtype))
    return activation
