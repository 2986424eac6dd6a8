"""What an exported program computes, as data: the same of a `.pdmodel` and of PIR's `.json`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.graph import Graph
from ppls.checkpoint.operation import NOTHING, Guards, Operation
from ppls.checkpoint.operation import Body as BodyInFile
from ppls.errors import CheckpointError, ConversionError, UsageError
from ppls.programs.operators import find
from ppls.programs.registry import Form, Operator, Role
from ppls.shown import listed, shown

_BLOCKS = ("while", "conditional_block", "select_input", "select_output", "yield", "recurrent", "pylayer")
_LISTS = ("write_to_array", "read_from_array", "lod_array_length", "tensor_array_to_tensor")  # that grow in loops
_WRITES = ("1.array_write_", "1.array_write")
_ENDINGS = ("argmax", "arg_max", "softmax")
_SAME = ("assign", "cast", "scale", "squeeze", "squeeze2")  # what an exporter puts behind those
_MOST_NAMED = 5  # places of one problem
_MOST_VALUES = 1 << 20  # that operations take and give; in PIR one number may stand for many


class Step(NamedTuple):
    """One operation.

    Attributes:
        place: its number in the program, from 0.
        kind: the operator, by the file's name for it.
        inputs, outputs: the values of each role that is given.
        attributes: by Paddle's names.
        layer: the modules that it was made in, as the exporter says: `/PPLiteSeg/STDCNet/Conv2D/`; may be empty.
        guards: of an operation in a branch the truth values that it asks, each with what it must be for it to run.
        body: of a loop, what it runs again and again.
    """

    place: int
    kind: str
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    attributes: Mapping[str, Any]
    layer: str
    guards: Guards = ()
    body: Body | None = None

    def taken(self) -> Iterator[int]:
        """All values that it rests on."""
        yield from _values(self.inputs)
        for value, _ in self.guards:
            yield value


class Input(NamedTuple):
    """What goes in: its name, value, type, and its shape, -1 where a side may be any."""

    name: str
    value: int
    dtype: str
    shape: tuple[int, ...]


class Body(NamedTuple):
    """What a loop runs again and again.

    Attributes:
        steps: the operations, in order.
        inputs: what a round begins with, and behind these what it takes from around the loop.
        outputs: whether another round follows, and what that begins with.
    """

    steps: tuple[Step, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[int, ...]


class Program(NamedTuple):
    """A program.

    Attributes:
        source: the file, for messages.
        form: which of the two forms it was read from: operators have other names there.
        steps: the operations, in order, but those that nothing returned rests on.
        inputs: what goes in, in order.
        outputs: the values that it returns, in order.
        weights: the name of each weight's tensor in the checkpoint, by its value.
    """

    source: str
    form: Form
    steps: tuple[Step, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[int, ...]
    weights: Mapping[int, str]

    def returning(self, places: Sequence[int]) -> Program:
        """The part of it that gives some of its outputs, by their places; what goes in stays."""
        return _pruned(self._replace(outputs=tuple(self.outputs[place] for place in places)))

    def until(self, name: str) -> Program:
        """The part of it up to an operation, which it returns.

        Args:
            name: the number of an operation, as messages tell it; or a layer as the exporter calls it, whose last
                operation it is: `STDCNet`, `PPLiteSeg/STDCNet/ConvBNRelu_1`.

        Raises:
            UsageError: there is no such operation.
        """
        wanted = f"/{name.strip('/')}/"
        found = [step for step in self.steps if str(step.place) == name or wanted in f"/{step.layer.strip('/')}/"]
        given = [value for step in found[-1:] for value in _values(step.outputs)]
        if not given:
            raise UsageError(
                f"{self.source}: --until {shown(name, 80)}: no operation has this number, and no layer this name"
            )
        return _pruned(self._replace(outputs=(given[0],)))

    def logits(self) -> Program:
        """The part of it that gives what its first output is made of by an argmax or a softmax; else that output."""
        return _pruned(self._replace(outputs=(self.before_choice(self.outputs[0]),)))

    def before_choice(self, value: int) -> int:
        """The value that one is made of by an argmax or a softmax; else the value."""
        made = {value: step for step in self.steps for value in _values(step.outputs)}
        at = value
        while (step := made.get(at)) is not None and (step.kind in _SAME or step.kind in _ENDINGS):
            if len(step.inputs.get("X", ())) != 1:
                break
            (at,) = step.inputs["X"]
            value = at if step.kind in _ENDINGS else value
        return value

    def counts(self) -> Counter[str]:
        """How often each operator occurs."""
        return Counter(step.kind for step in self.steps)

    def operator(self, step: Step) -> Operator | None:
        """How an operation is run; None for one that is not known."""
        return find(self.form, step.kind)

    def error(self, what: str, problems: Sequence[tuple[str, Step]]) -> ConversionError:
        """Every problem once, with how often and where it occurs."""
        places: dict[str, list[Step]] = {}
        for problem, step in problems:
            places.setdefault(problem, []).append(step)
        return ConversionError(f"{self.source}: {what}", [_at(problem, steps) for problem, steps in places.items()])


def _at(problem: str, steps: Sequence[Step]) -> str:
    where = [f"{step.place}" + (f" in {shown(step.layer, 100)}" if step.layer else "") for step in steps]
    times = f", {len(steps)} times" if len(steps) > 1 else ""
    return f"{problem}{times}: operation {listed(where, _MOST_NAMED)}"


def read_program(checkpoint: Checkpoint) -> Program:
    """The program that an export was saved with.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    graph = checkpoint.graph()
    if graph is None:
        raise CheckpointError(f"{checkpoint.path}: no export: no program (.pdmodel or .json) is beside the weights")
    return _Reader(graph, checkpoint).read()


class _Reader:
    """The steps so far.

    PIR hands several values on as one, made by `combine` and taken apart by `split` and `slice`: here a role simply has
    several, as in a `.pdmodel`.
    """

    def __init__(self, graph: Graph, checkpoint: Checkpoint) -> None:
        self._graph = graph
        self._form: Form = "pir" if any("." in operation.written for operation in graph.operations) else "pdmodel"
        self._lists: dict[int, tuple[int, ...]] = {}  # values that stand for several
        self._same: dict[int, int] = {}  # values that are another
        self._writes: dict[int, list[tuple[Guards, int]]] = {}  # what a list is after each write, in which branch
        self._around: Guards = ()  # the branches of the loops that are read
        self._where: Guards = ()  # the branches of the operation that is read
        lowest = min(_lowest(graph.operations), *graph.parameters.values(), 0)
        self._new = itertools.count(lowest - 1, -1)  # values that the file does not number
        self._parts = _parts(graph.operations, self._new)
        self._places = itertools.count()
        names = {variable: name for name, variable in checkpoint.name_table.items()}
        self._weights = {
            value: names.get(variable, variable)
            for variable, value in graph.parameters.items()
            if names.get(variable, variable) in checkpoint
        }
        missing = [name for name, value in graph.parameters.items() if value not in self._weights]
        self._missing = {graph.parameters[name]: name for name in missing}
        self._checkpoint = checkpoint
        self._fed = {fed.value: Input(name, *fed) for name, fed in graph.fed.items()}
        self._inputs: dict[int, Input] = {}  # by their places
        self._values_left = _MOST_VALUES
        self._outputs: dict[int, int] = {}
        self._steps: list[Step] = []

    def read(self) -> Program:
        for operation in self._graph.operations:
            self._operation(operation)
        if not self._outputs or sorted(self._outputs) != list(range(len(self._outputs))):
            raise self._damaged("it does not number what it returns")
        inputs = tuple(self._inputs[place] for place in sorted(self._inputs))
        outputs = tuple(self._outputs[place] for place in range(len(self._outputs)))
        program = Program(self._graph.name, self._form, tuple(self._steps), inputs, outputs, self._weights)
        program = _pruned(program)
        check(program, self._damaged, missing=self._missing, same=self._same)
        return program

    def _operation(self, operation: Operation) -> None:
        place, kind, attributes = next(self._places), operation.written, operation.attributes
        self._where = (*self._around, *operation.guards)
        if kind == "feed":
            self._feed(operation)
        elif kind == "1.data":
            self._data(operation)
        elif kind in ("fetch", "1.fetch"):
            position = attributes.get("col", 0)
            if len(operation.inputs) != 1 or type(position) is not int or position in self._outputs:
                raise self._damaged("it does not number what it returns")
            self._outputs[position] = self._one(operation.inputs[0])
        elif kind == "0.combine" and len(operation.outputs) == 1:
            self._lists[operation.outputs[0]] = tuple(map(self._one, operation.inputs))
        elif kind in ("0.split", "0.slice") and len(operation.inputs) == 1:
            self._take_apart(operation)
        elif operation.body is not None:
            self._loop(place, operation, operation.body)
        elif kind in _WRITES and operation.inputs and operation.outputs:  # what it gives is the list that it takes
            given = next(self._new)
            self._step(place, operation._replace(outputs=(given, *operation.outputs[1:])))
            self._write(operation.inputs[0], given)
        else:
            self._step(place, operation)

    def _write(self, value: int, given: int) -> None:
        """A list is another from here on."""
        writes = self._writes.setdefault(value, [])
        while writes and writes[-1][0][: len(self._where)] == self._where:
            writes.pop()
        writes.append((self._where, given))

    def _loop(self, place: int, operation: Operation, body: BodyInFile) -> None:
        """A list that is written to in a loop is handed on from round to round, as what the file hands on is."""
        where, around, lists = self._where, self._around, _written_to(body)
        begins = [self._one(value) for value in (*operation.inputs, *lists)]
        arguments = [*body.arguments, *(next(self._new) for _ in lists)]
        for value, given in zip(lists, arguments[len(body.arguments) :], strict=True):
            self._write(value, given)
        outside, self._steps = self._steps, []
        before = len(self._inputs), len(self._outputs)
        self._around = where
        for inner in body.operations:
            self._operation(inner)
        self._where, self._around = where, around
        if before != (len(self._inputs), len(self._outputs)):
            raise self._damaged("an input or an output is in a loop")
        ends = tuple(self._one(value) for value in (*body.ends, *lists))
        steps, self._steps = self._steps, outside
        results = (*operation.outputs, *(next(self._new) for _ in lists))
        for value, given in zip(lists, results[len(operation.outputs) :], strict=True):
            self._write(value, given)
        steps = _needed_for(ends, steps)
        made = {*arguments, *(value for step in steps for value in _values(step.outputs))}
        taken = dict.fromkeys([*(value for step in steps for value in step.taken()), *ends])
        captured = tuple(value for value in taken if value not in made)
        inputs = {"Cond": (begins[0],), "X": tuple(begins[1:]), "Y": captured}
        self._steps.append(
            Step(
                place,
                "while",
                {role: values for role, values in inputs.items() if values},
                {"Out": results},
                {},
                _layer_of(operation),
                self._guards_of(operation),
                Body(tuple(steps), tuple(Input("", value, "", ()) for value in (*arguments, *captured)), ends),
            )
        )

    def _feed(self, operation: Operation) -> None:
        place = operation.attributes.get("col", 0)
        if len(operation.outputs) != 1 or operation.outputs[0] not in self._fed:
            raise self._damaged("an input is no tensor")
        if type(place) is not int or place in self._inputs:
            raise self._damaged("it does not number what it takes")
        self._inputs[place] = self._fed[operation.outputs[0]]

    def _data(self, operation: Operation) -> None:
        name, dtype, shape = (operation.attributes.get(key) for key in ("name", "dtype", "shape"))
        if not isinstance(name, str) or not isinstance(dtype, str) or len(operation.outputs) != 1:
            raise self._damaged("an input is no tensor")
        if name in self._checkpoint:  # what an optimizer keeps is an input of the program
            self._weights[operation.outputs[0]] = name
            return
        if not isinstance(shape, list) or any(type(side) is not int for side in shape):
            raise self._damaged("an input is without a shape")
        self._inputs[len(self._inputs)] = Input(name, operation.outputs[0], dtype, tuple(shape))

    def _take_apart(self, operation: Operation) -> None:
        """Of a list that `combine` made; those that other operations make have their parts already."""
        whole = self._lists.get(operation.inputs[0])
        if whole is None:
            raise self._damaged("several values are taken apart that are one")
        first = 0 if operation.written == "0.split" else operation.attributes.get("index")
        for at, value in enumerate(operation.outputs):
            if type(first) is not int or not 0 <= first + at < len(whole):
                raise self._damaged("a part is taken of several values that is not there")
            self._same[value] = whole[first + at]

    def _step(self, place: int, operation: Operation) -> None:
        kind = operation.written.removeprefix("1.").removesuffix("_") if self._form == "pir" else operation.written
        operator = find(self._form, kind)
        asked = operation.inputs[:1] if kind == "if" else ()
        branches = {role: ((value, role == "X"),) for value in asked for role in ("X", "Y")}
        inputs = self._roles(operation.inputs, operation.input_roles, operator.takes if operator else (), branches)
        gives = operator.gives if operator else ()
        unused = {role.name for role in operator.takes if role.unused} if operator else set()
        for at, value in enumerate(operation.outputs):
            if value in self._parts:
                if operator is not None and not (at < len(gives) and gives[at].several):
                    raise self._damaged("several values are taken apart that are one")
                self._lists[value] = self._parts[value]
        outputs = self._roles(operation.outputs, operation.output_roles, gives)
        inputs = {name: values for name, values in inputs.items() if name not in unused}
        for role, source in (operator.same if operator else {}).items():
            for value, taken in zip(outputs.get(role, ()), inputs.get(source, ()), strict=False):
                self._same[value] = taken
        layer, guards = _layer_of(operation), self._guards_of(operation)
        self._steps.append(Step(place, kind, inputs, outputs, operation.attributes, layer, guards))

    def _guards_of(self, operation: Operation) -> Guards:
        return tuple((self._one(value), truth) for value, truth in operation.guards)

    def _roles(
        self,
        values: Sequence[int],
        names: Sequence[str],
        roles: Sequence[Role],
        branches: Mapping[str, Guards] = MappingProxyType({}),
    ) -> dict[str, tuple[int, ...]]:
        """The values of each role; `branches` are those that a role's values come from."""
        if self._form == "pir":
            names = [role.name for role in roles[: len(values)]]
            names += [f"#{at}" for at in range(len(names), len(values))]
        found: dict[str, list[int]] = {}
        for name, value in zip(names, values, strict=True):
            several = self._several(value, branches.get(name, ())) if value != NOTHING else ()
            self._values_left -= len(several)
            if self._values_left < 0:
                raise self._damaged("it hands on more values than any network")
            if several:
                found.setdefault(name, []).extend(several)
        return {name: tuple(each) for name, each in found.items()}

    def _several(self, value: int, branch: Guards = ()) -> tuple[int, ...]:
        return self._lists[value] if value in self._lists else (self._now(value, branch),)

    def _now(self, value: int, branch: Guards) -> int:
        """What a value is here, or in a branch that has just ended: of a list the last write that may have run."""
        others = {(asked, not truth) for asked, truth in (*self._where, *branch)}
        for where, given in reversed(self._writes.get(value, ())):
            if others.isdisjoint(where):
                return given
            self._values_left -= 1  # so that there are not many for each of many
            if self._values_left < 0:
                raise self._damaged("it hands on more values than any network")
        return self._same.get(value, value)

    def _one(self, value: int) -> int:
        several = self._several(value)
        if len(several) != 1:
            raise self._damaged("several values stand where one belongs")
        return several[0]

    def _damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self._graph.name}: damaged program: {what}")


def check(
    program: Program,
    damaged: Callable[[str], CheckpointError],
    *,
    missing: Mapping[int, str] = MappingProxyType({}),
    same: Mapping[int, int] = MappingProxyType({}),
) -> None:
    """Every value is there before it is taken, and is made once.

    Args:
        damaged: makes the error to raise.
        missing: the names of weights that no file has, by their values.
        same: values that are another, and may be given again.
    """
    known = {*program.weights, *(fed.value for fed in program.inputs)}
    inside: dict[int, Guards] = {}  # the branch that a value is made in
    for step in program.steps:
        for value in step.taken():
            if value in missing:
                raise damaged(f"the weight '{shown(missing[value])}' is not in the weights file")
            if value not in known:
                raise damaged(f"operation {step.place}, {shown(step.kind)}, takes what is not there yet")
        places = [(values, _place_of(step, role)) for role, values in step.inputs.items()]
        places += [((value,), step.guards[:at]) for at, (value, _) in enumerate(step.guards)]
        if any(place[: len(made)] != made for values, place in places for made in (inside.get(v, ()) for v in values)):
            raise damaged(f"operation {step.place}, {shown(step.kind)}, takes what is in a branch that may not run")
        operator = program.operator(step)
        updated = {value for role in (operator.same if operator else ()) for value in step.outputs.get(role, ())}
        made = list(_values(step.outputs))
        again = same.keys() if same else updated
        if len(set(made)) != len(made) or any(value in known and value not in again for value in made):
            raise damaged(f"operation {step.place}, {shown(step.kind)}, gives what is there already")
        if step.body is not None:
            _check_body(step, step.body, program, damaged, same)
        known.update(made)
        inside.update(dict.fromkeys(made, step.guards) if step.guards else {})
    if not known.issuperset(program.outputs) or not inside.keys().isdisjoint(program.outputs):
        raise damaged("it returns what nothing gives")


def _check_body(
    step: Step, body: Body, program: Program, damaged: Callable[[str], CheckpointError], same: Mapping[int, int]
) -> None:
    begins, around, given = (len(step.inputs.get(role, ())) for role in ("X", "Y", "Cond"))
    results = sum(map(len, step.outputs.values()))
    if given != 1 or len(body.inputs) != begins + around or len(body.outputs) != begins + 1 or results != begins:
        raise damaged(f"operation {step.place}, a loop, does not end in what it begins with")
    check(Program(program.source, program.form, *body, {}), damaged, same=same)


def _layer_of(operation: Operation) -> str:
    layer = operation.attributes.get("struct_name") or operation.attributes.get("op_namescope") or ""
    return layer if isinstance(layer, str) and layer != "/" else ""


def _all_of(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Operations and what is in loops among them."""
    for operation in operations:
        yield operation
        if operation.body is not None:
            yield from _all_of(operation.body.operations)


def _lowest(operations: Iterable[Operation]) -> int:
    """The lowest number of a value: those that a loop begins with are below 0."""
    every = (
        value
        for operation in _all_of(operations)
        for value in (*operation.outputs, *(operation.body.arguments if operation.body else ()))
    )
    return min(every, default=0)


def _written_to(body: BodyInFile) -> list[int]:
    """The lists from around a loop that are written to in it."""
    made, written = set(body.arguments), []
    for each in _all_of(body.operations):
        made.update(each.outputs, each.body.arguments if each.body else ())
        if each.written in _WRITES and each.inputs:
            written.append(each.inputs[0])
    return [value for value in dict.fromkeys(written) if value not in made]


def _place_of(step: Step, role: str) -> Guards:
    """The branch in which an input may be made: of an `if`, `X` where what it asks is true, `Y` where it is not."""
    asked = step.inputs.get("Cond", ())
    if step.kind != "if" or role not in ("X", "Y") or len(asked) != 1:
        return step.guards
    return (*step.guards, (asked[0], role == "X"))


def _parts(operations: Sequence[Operation], new: Iterator[int]) -> dict[int, tuple[int, ...]]:
    """Of each value that stands for several, and is taken apart later, its parts."""
    combined: set[int] = set()
    for operation in _all_of(operations):
        combined.update(operation.outputs if operation.written == "0.combine" else ())
    parts: dict[int, dict[int, int]] = {}
    for operation in _all_of(operations):
        if operation.written in ("0.split", "0.slice") and len(operation.inputs) == 1:
            first = 0 if operation.written == "0.split" else operation.attributes.get("index")
            if operation.inputs[0] in combined or type(first) is not int or not 0 <= first < 1 << 10:
                continue
            own = parts.setdefault(operation.inputs[0], {})
            own.update({first + at: value for at, value in enumerate(operation.outputs) if first + at not in own})
    found: dict[int, tuple[int, ...]] = {}
    for value, own in parts.items():
        each = []
        for at in range(max(own) + 1):
            each.append(own[at] if at in own else next(new))  # a part that nothing takes
        found[value] = tuple(each)
    return found


def _values(roles: Mapping[str, tuple[int, ...]]) -> Iterator[int]:
    for values in roles.values():
        yield from values


def _pruned(program: Program) -> Program:
    steps = _needed_for(program.outputs, program.steps)
    needed = {*program.outputs, *(value for step in steps for value in step.taken())}
    weights = {value: name for value, name in program.weights.items() if value in needed}
    return program._replace(steps=tuple(steps), weights=weights)


def _needed_for(values: Iterable[int], steps: Sequence[Step]) -> list[Step]:
    needed, found = set(values), []
    for step in reversed(steps):
        if not needed.isdisjoint(_values(step.outputs)):
            needed.update(step.taken())
            found.append(step)
    return found[::-1]


def is_control_flow(kind: str) -> bool:
    """Whether an operator runs another block, or has the list that one fills."""
    return kind in _BLOCKS or kind in _LISTS
