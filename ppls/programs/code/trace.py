"""What a program asks of torch, call by call, with the sizes of its images open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.overrides import TorchFunctionMode

from ppls.errors import ConversionError, first_line
from ppls.programs.calls import FAILURES
from ppls.programs.module import ProgramModule

# Sizes that stand for any: of images, multiples of 32 that differ from each other; the second where the first are too
# small
_TRIED = ((3, 224, 352), (3, 736, 1056))
_MOST_CALLS = 20_000  # ten times those of the largest network; a loop may make any number


class Value(NamedTuple):
    """A tensor that a call gives, or an input."""

    number: int


class Weight(NamedTuple):
    """A parameter or a buffer, by its name in the module."""

    name: str


class Kind(NamedTuple):
    """What a tensor is: its shape, of numbers and of expressions of open sizes, and its type."""

    shape: tuple[Any, ...]
    dtype: torch.dtype


@dataclass
class Call:
    """One call.

    Attributes:
        place: the number of the operation.
        function: torch's; or, of a layer, the layer.
        given, named: arguments, in which `Value` and `Weight` stand for tensors.
        gives: what it returns, in which `Value` stands for tensors.
        layer: the name of a layer's module; empty for a function.
    """

    place: int
    function: Any
    given: tuple[Any, ...]
    named: dict[str, Any]
    gives: Any
    layer: str = ""


@dataclass
class Trace:
    """All calls of a network.

    Attributes:
        inputs, outputs: of the network.
        kinds: of every value, by its number.
        weights: kind of every weight that calls take, by its name, and whether it is a parameter.
        conditions: what must be true of the open sizes, as expressions.
        sizes: the symbol of each open side: which input, and which of its sides.
    """

    inputs: tuple[Value, ...]
    outputs: list[Any] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    kinds: dict[int, Kind] = field(default_factory=dict)
    weights: dict[str, tuple[Kind, bool]] = field(default_factory=dict)
    conditions: list[Any] = field(default_factory=list)
    sizes: dict[Any, tuple[int, int]] = field(default_factory=dict)


def traced(module: ProgramModule) -> Trace:
    """The calls of a module in eval mode.

    Raises:
        ConversionError: it needs the numbers in a tensor to go on, so that no code without them can be written.
    """
    failed: Exception | None = None
    for sizes in _TRIED:
        try:
            return _traced(module, sizes)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            failed = error
            break
        except (*FAILURES, ConversionError) as error:
            failed = failed or error
    assert failed is not None
    raise ConversionError(f"{module.program.source}: no code can be written for it: {first_line(failed)}") from failed


def _traced(module: ProgramModule, sizes: Sequence[int]) -> Trace:
    environment = ShapeEnv(duck_shape=False)
    fake = FakeTensorMode(shape_env=environment, allow_non_fake_inputs=True)
    inputs = [_fake(fake, each.shape, each.dtype, sizes) for each in module.program.inputs]
    with fake, enable_python_dispatcher(), torch.no_grad():
        recorder = _Recorder(module, inputs)
        like = torch.zeros(())
        recorder.like = like
        values: dict[int, Any] = {each.value: given for each, given in zip(module.program.inputs, inputs, strict=True)}
        for weight in module.weights():
            values[weight.value] = getattr(weight.owner, weight.name)
        for call in module.calls():
            recorder.place = call.place
            with recorder:
                if isinstance(call.run, nn.Module):
                    call._replace(run=recorder.layer(call.run)).into(values, like)
                else:
                    call.into(values, like)
        outputs = module.outputs(values, like)
        trace = recorder.trace
        trace.outputs = [recorder.plain(output) for output in outputs]
        for number, kind in list(trace.kinds.items()):
            trace.kinds[number] = kind._replace(shape=tuple(_expression(side) for side in kind.shape))
        trace.conditions = [guard.expr for guard in environment.guards]
    for place, given in enumerate(trace.inputs):
        for side, size in enumerate(trace.kinds[given.number].shape):
            if not isinstance(size, int) and size.is_Symbol:
                trace.sizes[size] = place, side
    return trace


def _fake(fake: FakeTensorMode, shape: Sequence[int], dtype: str, sizes: Sequence[int]) -> Tensor:
    """An input whose open sides may be any."""
    open_sides = [side for side, size in enumerate(shape) if size == -1]
    hints = {side: sizes[min(place, 2)] + 32 * max(place - 2, 0) for place, side in enumerate(open_sides)}
    if open_sides and open_sides[0] != 0:  # the batch is told
        hints = {side: sizes[1 + place % 2] for place, side in enumerate(open_sides)}
    real = torch.empty([hints.get(side, size) for side, size in enumerate(shape)], dtype=getattr(torch, dtype))
    how = [DimDynamic.DYNAMIC if side in hints else DimDynamic.STATIC for side in range(len(shape))]
    return fake.from_tensor(real, symbolic_context=StatelessSymbolicContext(dynamic_sizes=how))


def _expression(size: Any) -> Any:
    """A number, or an expression of the symbols of open sizes."""
    if isinstance(size, (torch.SymInt, torch.SymFloat)):
        expression = size.node.shape_env.simplify(size.node.expr)
        return int(expression) if expression.is_Integer else expression
    return size


class _Recorder(TorchFunctionMode):
    """Writes down every call of torch that is given or gives a tensor."""

    def __init__(self, module: ProgramModule, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.place = -1
        self.like: Tensor | None = None
        self._names = {id(tensor): name for name, tensor in module.state_dict(keep_vars=True).items()}
        self._layers = {id(layer): name for name, layer in module.named_modules()}
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no other takes its `id`
        self.trace = Trace(())
        self.trace.inputs = tuple(self._new(given) for given in inputs)

    def layer(self, layer: nn.Module) -> Callable[..., Any]:
        """Writes a layer down as one call."""

        def run(*given: Tensor) -> Any:
            with torch._C.DisableTorchFunction():
                result = layer(*given)
            self._write(layer, given, {}, result, self._layers[id(layer)])
            return result

        return run

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if getattr(func, "__name__", "") == "__setitem__":
            self._write(func, args, kwargs, None)
        if any(True for _ in _tensors(result)) and getattr(func, "__name__", "") != "__get__":
            self._write(func, args, kwargs, result)
        return result

    def plain(self, given: Any) -> Any:
        """Arguments with names in the place of tensors, and expressions in that of open sizes."""
        if isinstance(given, Tensor):
            if id(given) in self._numbers:
                return Value(self._numbers[id(given)])
            if id(given) in self._names:
                name = self._names[id(given)]
                is_parameter = isinstance(given, nn.Parameter)
                self.trace.weights[name] = Kind(tuple(given.shape), given.dtype), is_parameter
                return Weight(name)
            raise ConversionError("a tensor comes from nowhere")
        if isinstance(given, (list, tuple)):
            return [self.plain(each) for each in given] if isinstance(given, list) else tuple(map(self.plain, given))
        if isinstance(given, slice):
            return slice(*(self.plain(each) for each in (given.start, given.stop, given.step)))
        return _expression(given)

    def _write(self, function: Any, given: Any, named: Any, result: Any, layer: str = "") -> None:
        if given and given[0] is self.like and getattr(function, "__name__", "").startswith("new_"):
            given = (None, *given[1:])  # of any tensor's type
        if len(self.trace.calls) >= _MOST_CALLS:
            raise ConversionError(f"it makes more than {_MOST_CALLS} calls")
        plain = tuple(map(self.plain, given))
        words = {name: self.plain(value) for name, value in named.items()}
        self.trace.calls.append(Call(self.place, function, plain, words, self._result(result), layer))

    def _result(self, result: Any) -> Any:
        if isinstance(result, Tensor):
            return self._new(result)
        return [self._result(each) for each in result] if isinstance(result, (list, tuple)) else None

    def _new(self, tensor: Tensor) -> Value:
        number = len(self._kept)
        self._kept.append(tensor)
        self._numbers[id(tensor)] = number
        self.trace.kinds[number] = Kind(tuple(tensor.shape), tensor.dtype)
        return Value(number)


def _tensors(given: Any) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, (list, tuple)):
        for each in given:
            yield from _tensors(each)
