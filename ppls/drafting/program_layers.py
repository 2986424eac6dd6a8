"""The layers of an exported program: its operators that have weights, each with the addition that is its bias."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ppls.drafting.units import OTHER, Unit
from ppls.programs.module import ProgramModule
from ppls.programs.program import Step

_CONVOLUTIONS = {
    "conv2d": "conv",
    "depthwise_conv2d": "conv",
    "conv3d": "conv",
    "conv2d_transpose": "transposed_conv",
}
_PRODUCTS = ("matmul", "matmul_v2", "mul")
_TRANSPOSED = ("transpose_y", "trans_y", "transpose_Y"), ("transpose_x", "trans_x", "transpose_X")  # weight, input
_NORMS = {"layer_norm": "layer_norm", "instance_norm": "layer_norm", "group_norm": "group_norm"}
_POOLS = ("pool2d", "max_pool2d_with_index")
_STATISTICS = {"Scale": "weight", "Bias": "bias", "Mean": "running_mean", "Variance": "running_var"}
_RESHAPED = ("reshape", "unsqueeze", "flatten")
_EPSILON = 1e-5  # of every operator that has one


class Operator(nn.Module):
    """What a layer's operator says of itself, where a torch module would."""

    eps: float

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        for name, value in facts.items():
            setattr(self, name, value)


@dataclass(eq=False)
class ProgramLayer:
    """A layer of a program.

    Attributes:
        weights: by its tensors' names in `unit`, what the checkpoint calls each.
        turned: those that Paddle has transposed.
        calls: of each time that it runs, the place of its first operation and the value that goes in, the place of its
            last operation and the value that comes out.
    """

    unit: Unit
    weights: dict[str, str]
    turned: frozenset[str] = frozenset()
    calls: list[tuple[int, int, int, int]] = field(default_factory=list)


def layers_of(module: ProgramModule) -> list[ProgramLayer]:
    """Every layer of the program, in the order of execution, and every pooling; `module` has the weights."""
    reader = _Reader(module)
    for step in module.program.steps:
        reader.read(step)
    return list(reader.layers.values())


class _Reader:
    def __init__(self, module: ProgramModule) -> None:
        program = self.program = module.program
        self.layers: dict[Any, ProgramLayer] = {}
        self.tensors = {weight.value: getattr(weight.owner, weight.name).detach() for weight in module.weights()}
        self.runs = {call.place: call.run for call in module.calls()}
        self.made: dict[int, Step] = {}
        self.takers: dict[int, list[Step]] = defaultdict(list)
        for step in program.steps:
            self.made |= dict.fromkeys(_values(step.outputs), step)
            for value in _values(step.inputs):
                self.takers[value].append(step)
        self.biases: set[int] = set()  # places of additions that belong to a layer
        self.names: set[str] = set()

    def read(self, step: Step) -> None:
        """Adds the layer that an operation is, if it is one."""
        operator = self.program.operator(step)
        name = operator.name if operator is not None else ""
        if step.place in self.biases:
            return
        if name in _CONVOLUTIONS:
            self._mixing(step, _CONVOLUTIONS[name], "Filter", "Input", "Output")
        elif name in _PRODUCTS:
            self._product(step)
        elif name == "batch_norm" or name in _NORMS:
            self._norm(step, _NORMS.get(name, name))
        elif name in _POOLS:
            self._add(step, "pool", {}, step.inputs["X"][0], step, step.outputs["Out"][0], Operator())
        else:
            self._other(step)

    def _mixing(self, step: Step, kind: str, weight: str, taken: str, given: str) -> None:
        value = step.inputs[weight][0]
        if value not in self.tensors:
            return
        tensor = self.tensors[value]
        channels = tensor.shape[0] if kind == "conv" else tensor.shape[1] * int(step.attributes.get("groups", 1))
        bias = step.inputs.get("Bias", ())
        found = {"weight": (value, tensor)}
        last, out = step, step.outputs[given][0]
        if bias and bias[0] in self.tensors:
            found["bias"] = bias[0], self.tensors[bias[0]]
        elif (added := self._added(out, channels)) is not None:
            found["bias"], last, out = added
        self._add(step, kind, found, step.inputs[taken][0], last, out, _convolution(step.attributes))

    def _product(self, step: Step) -> None:
        value = step.inputs["Y"][0]
        turned, odd = (any(step.attributes.get(name) for name in names) for names in _TRANSPOSED)
        tensor = self.tensors.get(value)
        if tensor is None or tensor.dim() != 2 or odd or float(step.attributes.get("alpha", 1.0)) != 1.0:
            self._other(step)
            return
        weight = tensor if turned else tensor.t()  # (out, in), as torch has it
        found = {"weight": (value, weight)}
        last, out = step, step.outputs["Out"][0]
        if (added := self._added(out, weight.shape[0])) is not None:
            found["bias"], last, out = added
        layer = self._add(step, "linear", found, step.inputs["X"][0], last, out, Operator(groups=1))
        if not turned:
            layer.turned = frozenset({"weight"})

    def _norm(self, step: Step, kind: str) -> None:
        run = self.runs[step.place]
        values = {name: step.inputs[role][0] for role, name in _STATISTICS.items() if step.inputs.get(role)}
        own = dict(run.named_parameters()) | dict(run.named_buffers()) if isinstance(run, nn.Module) else {}
        found = {
            name: (value, own[name].detach() if name in own else self.tensors[value])
            for name, value in values.items()
            if name in own or value in self.tensors
        }
        facts = Operator(eps=float(f"{step.attributes.get('epsilon', _EPSILON):.6g}"))  # float32 in the file
        if isinstance(run, nn.Module):
            run.eps = facts.eps  # type: ignore[assignment]
        self._add(step, kind, found, step.inputs["X"][0], step, step.outputs["Y"][0], facts)

    def _other(self, step: Step) -> None:
        """Whatever else takes a weight beside a value: a table that is added, a gate."""
        taken = list(_values(step.inputs))
        weights = [value for value in taken if self._weight(value) is not None]
        data = [value for value in taken if value not in weights and value not in self.tensors]
        if not weights or not data or step.kind.startswith(_RESHAPED):
            return
        found = {}
        for value in weights:
            origin = self._weight(value)
            assert origin is not None
            found[self.program.weights[origin].rpartition(".")[2]] = origin, self.tensors[origin]
        layer = self._add(step, OTHER, found, data[0], step, next(_values(step.outputs)), Operator())
        layer.unit.kept = frozenset(name for name, (_, tensor) in found.items() if tensor.numel() == 1)

    def _added(self, value: int, channels: int) -> tuple[tuple[int, Tensor], Step, int] | None:
        """The bias that alone is added to what an operation gives, the addition, and what that gives."""
        takers = self.takers[value]
        if len(takers) != 1 or value in self.program.outputs:
            return None
        (step,) = takers
        operator = self.program.operator(step)
        beside = [each for each in _values(step.inputs) if each != value]
        weight = self._weight(beside[0]) if len(beside) == 1 else None
        if operator is None or operator.name != "add" or weight is None or self.tensors[weight].numel() != channels:
            return None
        self.biases.add(step.place)
        return (weight, self.tensors[weight].flatten()), step, step.outputs["Out"][0]

    def _weight(self, value: int) -> int | None:
        """The weight that a value is, in another shape too."""
        while value not in self.tensors:
            step = self.made.get(value)
            if step is None or not step.kind.startswith(_RESHAPED) or len(step.inputs.get("X", ())) != 1:
                return None
            (value,) = step.inputs["X"]
        return value

    def _add(
        self,
        first: Step,
        kind: str,
        found: Mapping[str, tuple[int, Tensor]],
        taken: int,
        last: Step,
        given: int,
        facts: Operator,
    ) -> ProgramLayer:
        """One layer for all operations of the same weights."""
        key = tuple(value for value, _ in found.values()) or first.place
        if key not in self.layers:
            weights = {name: self.program.weights[value] for name, (value, _) in found.items()}
            tensors = {name: tensor for name, (_, tensor) in found.items()}
            unit = Unit(self._name(first, list(weights.values())), facts, kind, tensors, len(self.layers))
            self.layers[key] = ProgramLayer(unit, weights)
        self.layers[key].calls.append((first.place, taken, last.place, given))
        return self.layers[key]

    def _name(self, step: Step, weights: list[str]) -> str:
        """What its weights have in common; else a name that no other has."""
        name = weights[0].rpartition(".")[0] if weights else step.layer.strip("/")
        if not name or name in self.names:
            name = weights[0] if weights else f"{step.kind} {step.place}"
        self.names.add(name)
        return name


def _values(roles: Mapping[str, tuple[int, ...]]) -> Iterator[int]:
    for values in roles.values():
        yield from values


def _convolution(attributes: Mapping[str, Any]) -> Operator:
    padding = tuple(attributes.get("paddings", ()))
    none = attributes.get("padding_algorithm") == "VALID" or not any(padding)
    sides = len(attributes.get("strides", ())) or 2
    return Operator(
        groups=int(attributes.get("groups", 1)),
        stride=tuple(attributes.get("strides", ())),
        dilation=tuple(attributes.get("dilations", ())),
        padding=(0,) * sides if none else padding,
    )
