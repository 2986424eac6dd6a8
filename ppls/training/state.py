"""What an optimizer keeps of each parameter, from a `.pdopt` to PyTorch's names and back.

Paddle calls it by its variable: `conv2d_12.w_0_velocity_0`; the last number counts the optimizers of the process. The
`.pdparams` beside it says which parameter that is, and each tensor takes the way of its weight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.reader import read
from ppls.checkpoint.state_dict import MASTER_WEIGHTS
from ppls.checkpoint.tensors import StoredTensor
from ppls.converter.back import BackConversion
from ppls.converter.conversion import Conversion
from ppls.converter.translate import translate_back_by_rules, translate_by_rules
from ppls.errors import ConversionError
from ppls.shown import listed

# What each class of ppls.training keeps, by its name there: Paddle's name.
SLOTS = {
    "velocity": "velocity",
    "moment1": "moment1",
    "moment2": "moment2",
    "beta1_pow": "beta1_pow_acc",
    "beta2_pow": "beta2_pow_acc",
}
KINDS: dict[str, tuple[str, ...]] = {
    "SGD": (),  # whose file has the schedule alone
    "Momentum": ("velocity",),
    "Adam": ("moment1", "moment2", "beta1_pow", "beta2_pow"),  # and AdamW, which no file tells from it
}
POWERS = ("beta1_pow", "beta2_pow")  # one number, whatever the shape of the parameter

MASTER = "master_weight"  # of a parameter in half precision: what is updated, in float32
_ACCUMULATOR = re.compile(
    rf"(?P<variable>.+?)(_fp32_master_(?P<master>\d+))?_(?P<kind>{'|'.join(SLOTS.values())})_(?P<number>\d+)"
)
_OURS = {paddles: ours for ours, paddles in SLOTS.items()}
_SCHEDULER = "LR_Scheduler."
_MASTERS = f"{MASTER_WEIGHTS}."

Slots = dict[str, dict[str, StoredTensor]]  # by slot, by parameter


@dataclass
class OptimizerState:
    """What an optimizer keeps.

    Attributes:
        slots: tensors, not yet read, by slot (`velocity`) and by the parameter's name in ppls's model.
        schedule: where the schedule of the rate is, as `Schedule.load_state_dict` takes it; empty without one.
        count: which optimizer of its process it was: the last number of Paddle's names.
        masters: of a run in pure float16 or bfloat16 (O2) the weights in float32, by the parameter's name.
        master_count: the number of Paddle's names for these.
        warnings: what a user should know.
    """

    slots: Slots
    schedule: dict[str, Any]
    count: str = "0"
    masters: dict[str, StoredTensor] = field(default_factory=dict)
    master_count: str = "0"
    warnings: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The class of ppls.training that keeps such tensors; `Adam` for `AdamW` too."""
        return next(kind for kind, slots in KINDS.items() if set(slots) == set(self.slots))

    @property
    def iteration(self) -> int | None:
        """How many were done, by the schedule, which never sticks as the powers of betas do."""
        epoch = self.schedule.get("last_epoch")
        return epoch if isinstance(epoch, int) else None


def read_state(path: str | Path, conversion: Conversion) -> OptimizerState:
    """Reads a `.pdopt` that lies beside a checkpoint.

    Args:
        path: the `.pdopt`.
        conversion: what became of the checkpoint.

    Raises:
        CheckpointError: the file cannot be read.
        ConversionError: it is none, of an optimizer that ppls does not have, or of another model; all offenders are
            listed.
    """
    path = Path(path)
    checkpoint = read(path)
    if "optimizer state" not in checkpoint.format:
        raise ConversionError(f"{path}: is a {checkpoint.format}, not an optimizer's state")
    if not conversion.checkpoint.name_table:
        raise ConversionError(
            f"{conversion.source}: has no table of Paddle's variable names, by which {path.name} calls its tensors; "
            "only what paddle.save wrote has one"
        )
    accumulators, masters, problems = _sorted(checkpoint)
    counts = sorted({key.number for key in accumulators})
    if len(counts) > 1:
        problems.append(f"of several optimizers, which end in {listed([f'_{count}' for count in counts])}")
    of_master = {key.variable: key.master for key in accumulators if key.master is not None}
    master_counts = sorted(set(of_master.values()))
    if len(master_counts) > 1:
        problems.append(f"with master weights of several optimizers: {listed([f'_{n}' for n in master_counts])}")
    problems += [f"{name}: no master weight, of which it has an accumulator" for name in of_master.keys() - masters]
    kinds = {_OURS[key.kind] for key in accumulators}
    if kinds and not any(kinds == set(slots) for slots in KINDS.values()):
        problems.append(f"keeps {listed(sorted(kinds))}, as no optimizer does that ppls has: {listed(list(KINDS))}")
    state = OptimizerState(
        {slot: {} for slot in SLOTS if slot in kinds},
        schedule_of(checkpoint),
        (counts or ["0"])[0],
        master_count=(master_counts or ["0"])[0],
    )
    structured = _structured(conversion)
    gone: set[str] = set()
    by_slot = {
        slot: {key.variable: tensor for key, tensor in accumulators.items() if _OURS[key.kind] == slot}
        for slot in state.slots
    }
    for slot, tensors in [*by_slot.items(), (MASTER, masters)]:
        named: dict[str, StoredTensor] = {}
        for variable, tensor in tensors.items():
            names = structured.get(variable)
            if names is None:
                problems.append(f"unknown: {slot} of {variable}: the checkpoint has no parameter {variable}")
            elif not names:
                gone.add(variable)
            else:
                named |= dict.fromkeys(names, tensor)
        found = state.masters if slot == MASTER else state.slots[slot]
        found |= _translated(slot, named, conversion, problems)
    if gone:
        state.warnings.append(f"left out, since the model does not have it: the state of {listed(sorted(gone))}")
    first, *others = state.slots.values() or [{}]
    for slot, found in zip(list(state.slots)[1:], others, strict=True):
        odd = sorted(first.keys() ^ found.keys())
        problems += [f"{name}: has one of {next(iter(state.slots))} and {slot}, but not both" for name in odd]
    if problems:
        raise ConversionError(f"{path}: does not fit {conversion.source}:", problems)
    if not accumulators and not masters and not state.schedule:
        raise ConversionError(f"{path}: holds nothing of any parameter, nor a schedule")
    return state


class _Accumulator(NamedTuple):
    """What Paddle's name of one says; `master` is None where it is not of a master weight."""

    variable: str
    master: str | None
    kind: str
    number: str


def _sorted(
    checkpoint: Checkpoint,
) -> tuple[dict[_Accumulator, StoredTensor], dict[str, StoredTensor], list[str]]:
    """Accumulators; master weights by variable; and what is neither."""
    accumulators, masters, problems = {}, {}, []
    for name, tensor in checkpoint.tensors.items():
        if name.startswith(_MASTERS):
            masters[name.removeprefix(_MASTERS)] = tensor
        elif match := _ACCUMULATOR.fullmatch(name):
            accumulators[_Accumulator(**match.groupdict())] = tensor
        else:
            problems.append(f"{name}: nothing that an optimizer of ppls keeps")
    return accumulators, masters, problems


def _structured(conversion: Conversion) -> dict[str, list[str]]:
    """Of every variable of the checkpoint the tensors that the model is made of: none of what was dropped."""
    used = {name for origins in conversion.origins.values() for name in origins}
    folded = {
        name
        for name in used
        for rule, _, _ in conversion.map.forward.matches(conversion.renamed.get(name, name))
        if not rule.operation.invertible
    }
    found: dict[str, list[str]] = {}
    for name, variable in conversion.checkpoint.name_table.items():
        found.setdefault(variable, [])
        if name in used - folded:
            found[variable].append(conversion.renamed.get(name, name))
    return found


def _translated(
    slot: str, tensors: dict[str, StoredTensor], conversion: Conversion, problems: list[str]
) -> dict[str, StoredTensor]:
    """One slot's tensors under PyTorch's names; what is wrong is added to the problems."""
    if slot in POWERS:  # each parameter has that of what it is made of
        powers: dict[str, StoredTensor] = {}
        for target, origins in conversion.origins.items():
            names = [conversion.renamed.get(name, name) for name in origins]
            found = [tensors[name] for name in names if name in tensors]
            if not found:
                continue
            if any(tensor.shape not in ((1,), ()) for tensor in found):
                problems.append(f"{', '.join(names)}: {slot} is not one number")
                continue
            if len({float(tensor.load().reshape(())) for tensor in found}) > 1:
                problems.append(f"{', '.join(names)}: did not make as many steps as one another, by their {slot}")
            powers[target] = found[0]
        return powers
    result = translate_by_rules(tensors, conversion.map)
    problems += [f"{slot}: {problem}" for problem in result.problems]
    for name, tensor in result.tensors.items():
        shape = conversion.tensors[name].shape
        if tensor.shape != shape:
            made_of = ", ".join(result.origins[name])
            problems.append(f"{made_of}: {slot} {list(tensor.shape)}, the weight is {list(shape)}")
    return result.tensors


def schedule_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The `LR_Scheduler` of a `.pdopt`, nested as Paddle nests it."""
    state: dict[str, Any] = {}
    for key, text in checkpoint.metadata.items():
        if key.startswith(_SCHEDULER):
            *levels, name = key.removeprefix(_SCHEDULER).split(".")
            table = state
            for level in levels:
                table = table.setdefault(level, {})
            try:
                table[name] = int(text)
            except ValueError:
                try:
                    table[name] = float(text)
                except ValueError:
                    raise ConversionError(f"{checkpoint.path}: {key} is {text}, which is no number") from None
    return state


def paddles_state(state: OptimizerState, back: BackConversion) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Tensors under the names that Paddle's optimizer looks for, in the order of its model, and their variables.

    Args:
        state: by the names of ppls's model.
        back: the way back of the model.

    Raises:
        ConversionError: the model's file does not know Paddle's variable names, or the state does not fit it; all
            offenders are listed.
    """
    if not back.name_table:
        raise ConversionError(
            f"{back.source}: does not say what Paddle called its variables, by which an optimizer's state is kept; "
            "only what was converted from a .pdparams does"
        )
    tensors: dict[str, StoredTensor] = {}
    problems: list[str] = []
    found: Mapping[str, StoredTensor]
    weights = {name: tensor.shape for name, tensor in back.tensors.items()}
    variables: dict[str, str] = {}
    masters: set[str] = set()  # of Paddle's names
    for slot, kept in [(MASTER, state.masters), *state.slots.items()]:
        if slot in POWERS:
            found = _powers_back(kept, back)
        else:
            translation = translate_back_by_rules(kept, back.map)
            problems += [f"{slot}: {problem}" for problem in translation.problems]
            found = translation.tensors
        for name, tensor in found.items():
            if slot not in POWERS and tensor.shape != weights.get(name):
                problems.append(f"{name}: {slot} {list(tensor.shape)}, the weight is {list(weights.get(name, ()))}")
            elif name not in back.name_table:
                problems.append(f"{name}: without a variable name of Paddle's")
            elif slot == MASTER:
                masters.add(name)
                key = f"{_MASTERS}{back.name_table[name]}"
                tensors[key], variables[key] = tensor, f"{back.name_table[name]}_fp32_master_{state.master_count}"
            else:
                owner = back.name_table[name] + (f"_fp32_master_{state.master_count}" if name in masters else "")
                key = f"{owner}_{SLOTS[slot]}_{state.count}"
                tensors[key], variables[key] = tensor, key
    if problems:
        raise ConversionError(f"{back.source}: the optimizer's state does not fit it:", problems)
    return tensors, variables


def _powers_back(kept: Mapping[str, StoredTensor], back: BackConversion) -> dict[str, StoredTensor]:
    """Each of Paddle's parameters has the power of what it is made of."""
    found = {}
    for name, tensor in kept.items():
        for rule, _, indices in back.map.backward.matches(name):
            for pattern in rule.targets:
                found[pattern.fill(indices)] = tensor
    return found
