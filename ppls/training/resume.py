"""Where a run goes on: the folder that PaddleSeg or ppls saved, and its optimizer's state put into ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ppls.checkpoint.reader import read
from ppls.checkpoint.tensors import StoredTensor
from ppls.converter.back import convert_back
from ppls.converter.convert import convert
from ppls.errors import ConversionError
from ppls.mappings.maps import Map
from ppls.models.stored import to_torch
from ppls.training.folder import MODEL, OPTIMIZER, RUN, WEIGHTS, read_ours
from ppls.training.optimizers import Adam, PaddleOptimizer
from ppls.training.state import KINDS, POWERS, OptimizerState, read_state


@dataclass
class Point:
    """Where a run goes on."""

    map: Map
    config: dict[str, Any]
    tensors: Mapping[str, StoredTensor]
    metadata: dict[str, str]
    state: OptimizerState
    warnings: list[str]


def open_point(folder: Path, config: str | Path, settings: Mapping[str, Any]) -> Point:
    """What a folder holds, PaddleSeg's or ppls's.

    Args:
        folder: see `ppls.Training`.
        config: PaddleSeg's, which a conversion takes what no tensor shows from.
        settings: values in place of the config's, of which those of the model count.
    """
    if (folder / RUN).is_file():
        state, checkpoint = read_ours(folder), read(folder / MODEL)
        back = convert_back(folder / MODEL)
        return Point(back.map, back.config, checkpoint.tensors, checkpoint.metadata, state, [])
    own = {key.removeprefix("model."): value for key, value in settings.items() if key.startswith("model.")}
    conversion = convert(folder / WEIGHTS, config=config, overrides=own)
    state = read_state(folder / OPTIMIZER, conversion)
    said = [*conversion.warnings, *state.warnings]
    return Point(conversion.map, conversion.config, conversion.tensors, conversion.metadata, state, said)


def paddles_name(map: Map, name: str) -> str:
    """What PaddleSeg calls a parameter: of several that it is made of, the first."""
    return next((r.targets[0].fill(indices) for r, _, indices in map.backward.matches(name)), name)


def iteration_of(folder: Path, state: OptimizerState) -> int:
    """The iterations done: by the schedule; PaddleSeg goes by the folder's name, which must not say another."""
    named = folder.resolve().name.rpartition("_")[2]
    if state.iteration is None:
        raise ConversionError(f"{folder}: its optimizer has no schedule, which says how many iterations were done")
    if named.isdecimal() and int(named) != state.iteration:
        raise ConversionError(f"{folder}: is named for {named} iterations, its optimizer has done {state.iteration}")
    return state.iteration


def load_state(
    optimizer: PaddleOptimizer, parameters: Mapping[str, nn.Parameter], state: OptimizerState, folder: Path
) -> None:
    """Gives each parameter what the file has of it, its master weight first; those without had no gradient yet."""
    kind = next((kind for kind in KINDS if kind == type(optimizer).__name__ or _is_adam(kind, optimizer)), None)
    if kind != state.kind:
        raise ConversionError(
            f"{folder}: its optimizer is {state.kind}, the config's optimizer is {type(optimizer).__name__}"
        )
    if unknown := sorted(
        {name for kept in [*state.slots.values(), state.masters] for name in kept} - parameters.keys()
    ):
        raise ConversionError(f"{folder}: its optimizer has parameters that the model has not:", unknown)
    with torch.no_grad():
        for name, tensor in to_torch(state.masters).items():  # which were rounded to what the model was saved with
            parameters[name].copy_(tensor)
    for slot, kept in state.slots.items():
        for name, tensor in to_torch(kept).items():
            parameter = parameters[name]
            place = "cpu" if slot in POWERS else parameter.device
            optimizer.state[parameter][slot] = tensor.to(place, parameter.dtype).contiguous()


def _is_adam(kind: str, optimizer: PaddleOptimizer) -> bool:
    return kind == "Adam" and isinstance(optimizer, Adam)
