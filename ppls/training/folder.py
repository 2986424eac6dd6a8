"""A run's folder with the optimizer's state: PaddleSeg's `iter_400`, and ppls's, either made of the other.

PaddleSeg's has `model.pdparams` and `model.pdopt`; ppls's `model.safetensors`, `optimizer.safetensors` with the tensors
of each parameter as `NAME.velocity` (and `NAME.master_weight`), and `training.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ppls.budget import Budget
from ppls.checkpoint.converted_file import write_converted_file
from ppls.checkpoint.paddle_file import write_optimizer_file, write_paddle_file
from ppls.checkpoint.reader import read
from ppls.checkpoint.tensors import StoredTensor
from ppls.converter.back import BackConversion, convert_back
from ppls.converter.conversion import Conversion
from ppls.converter.convert import convert
from ppls.destination import check_destinations, file_that_becomes
from ppls.documents import load_json
from ppls.errors import CheckpointError, ConversionError, first_line
from ppls.training.state import KINDS, MASTER, OptimizerState, paddles_state, read_state

PADDLES = WEIGHTS, OPTIMIZER = "model.pdparams", "model.pdopt"
OURS = MODEL, STATE, RUN = "model.safetensors", "optimizer.safetensors", "training.json"
_LARGEST = 1 << 20  # bytes of training.json


def convert_run(source: str | Path, destination: str | Path, *, force: bool = False, **options: Any) -> Conversion:
    """Converts a folder that PaddleSeg saved, the optimizer's state with the model, to one of ppls.

    Args:
        source: with `model.pdparams` and `model.pdopt`.
        destination: a folder, which is made where it is not there.
        force: replace files of those names there.
        options: of `ppls.convert`.

    Raises:
        CheckpointError, ConversionError, UsageError: as `ppls.convert`; the state does not fit the checkpoint.
    """
    source, destination = Path(source), Path(destination)
    inputs = _there(source, PADDLES)
    check_destinations([destination / name for name in OURS], force=force, inputs=inputs, new_folders=True)
    conversion = convert(source / WEIGHTS, **options)
    if conversion.dtype is not None:
        raise ConversionError(f"{source}: an optimizer goes on with the weights as they are: --dtype and --optimizer")
    state = read_state(source / OPTIMIZER, conversion)
    write_run(destination, conversion.tensors, conversion.metadata, state, force=force)
    conversion.destination = destination
    conversion.warnings += state.warnings
    return conversion


def convert_run_back(
    source: str | Path, destination: str | Path, *, force: bool = False, **options: Any
) -> BackConversion:
    """Converts a folder of ppls back to one from which PaddleSeg resumes.

    Args:
        source: with `model.safetensors`, `optimizer.safetensors` and `training.json`.
        destination: a folder, which is made where it is not there; PaddleSeg takes the iterations done from the number
            at the end of its name.
        force: replace files of those names there.
        options: of `ppls.convert_back`.

    Raises:
        CheckpointError, ConversionError, UsageError: as `ppls.convert_back`; the state does not fit the model.
    """
    source, destination = Path(source), Path(destination)
    inputs = _there(source, (MODEL, RUN))
    inputs["source"].append(source / STATE)
    files = [destination / name for name in PADDLES]
    check_destinations(files, force=force, inputs=inputs, new_folders=True)
    state = read_ours(source)
    back = convert_back(source / MODEL, **options)
    tensors, variables = paddles_state(state, back)
    destination.mkdir(parents=True, exist_ok=True)
    write_paddle_file(files[0], back.tensors, back.name_table, force=force)
    beside = {"LR_Scheduler": state.schedule} if state.schedule else {}
    write_optimizer_file(files[1], tensors, variables, beside=beside, force=force)
    back.destination = destination
    if not destination.name.endswith(f"_{state.iteration}"):
        back.warnings.append(
            f"{destination}: PaddleSeg resumes at the number that ends a folder's name: call it iter_{state.iteration}"
        )
    return back


def write_run(
    folder: Path,
    tensors: Mapping[str, StoredTensor],
    metadata: Mapping[str, str],
    state: OptimizerState,
    *,
    force: bool = False,
) -> None:
    """Writes a folder of ppls: each file whole or not at all, `training.json` last."""
    folder.mkdir(parents=True, exist_ok=True)
    slots = state.slots | {MASTER: state.masters}
    kept = {f"{name}.{slot}": tensor for slot, found in slots.items() for name, tensor in found.items()}
    run = {
        "schema": 1,
        "iteration": state.iteration,
        "optimizer": state.kind,
        "count": state.count,
        "schedule": state.schedule,
    } | ({"master_count": state.master_count} if state.masters else {})
    write_converted_file(folder / MODEL, tensors, metadata, force=force)
    if kept:  # plain SGD has none
        write_converted_file(folder / STATE, kept, {"format": "pt", "optimizer": state.kind}, force=force)
    with file_that_becomes(folder / RUN, force=force) as file:
        file.write(json.dumps(run, indent=2).encode() + b"\n")


def read_ours(folder: Path) -> OptimizerState:
    """The optimizer's state of a folder of ppls.

    Raises:
        CheckpointError: a file cannot be read, or is not what ppls writes.
    """
    run = _read_run(folder / RUN)
    state = OptimizerState({slot: {} for slot in KINDS[run["optimizer"]]}, run["schedule"], run["count"])
    if "master_count" in run:
        state.master_count = run["master_count"]
    elif not state.slots:
        return state
    checkpoint = read(folder / STATE)
    strange = []
    for key, tensor in checkpoint.tensors.items():
        name, _, slot = key.rpartition(".")
        if slot in state.slots:
            state.slots[slot][name] = tensor
        elif slot == MASTER and "master_count" in run:
            state.masters[name] = tensor
        else:
            strange.append(key)
    if strange:
        raise CheckpointError(f"{folder / STATE}: holds what {run['optimizer']} does not keep:", strange[:20])
    return state


def _read_run(path: Path) -> dict[str, Any]:
    def error(why: str) -> CheckpointError:
        return CheckpointError(f"{path}: {why}; convert the run anew")

    try:
        with open(path, "rb") as file:
            text = file.read(_LARGEST + 1)
    except OSError as problem:
        raise CheckpointError(f"{path}: cannot be read: {problem.strerror}") from None
    try:
        run = load_json(text, Budget(len(text), error))
    except ValueError as why:
        raise error(f"is damaged: {first_line(why)}") from None
    wanted = {"schema": int, "iteration": int, "optimizer": str, "count": str, "schedule": dict}
    if not isinstance(run, dict) or any(type(run.get(name)) is not kind for name, kind in wanted.items()):
        raise error(f"is not what ppls writes, a table with {', '.join(wanted)}")
    counts = run["count"], run.get("master_count", "0")
    if run["schema"] != 1 or run["optimizer"] not in KINDS or not all(type(n) is str and n.isdecimal() for n in counts):
        raise error("is of another version of ppls")
    return run


def _there(folder: Path, names: Iterable[str]) -> dict[str, list[Path]]:
    """What is read of a folder that has to have all of these files."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no folder; with --optimizer it has {' and '.join(names)}")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder}: has no {' and no '.join(missing)}; with --optimizer it needs them")
    return {"source": [folder / name for name in names]}
